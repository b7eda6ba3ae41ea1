#include "image/short_names.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace davit::image {

Result<std::vector<Reference>> ShortNames::Candidates(std::string_view text) const {
  ASSIGN_OR_RETURN(Reference first, Reference::Parse(text, registries_.front()));
  if (Reference::HasRegistry(text)) return std::vector<Reference>{first};
  const std::string_view name = text.substr(0, text.find_first_of(":@"));  // no registry, so no port
  if (auto alias = aliases_.find(std::string(name)); alias != aliases_.end() && !alias->second.empty()) {
    ASSIGN_OR_RETURN_WITH(Reference meant, Reference::Parse(alias->second + std::string(text.substr(name.size()))),
                          fmt::format("alias \"{}\" of registries.conf", Printable(name)));
    return std::vector<Reference>{meant};
  }
  std::vector<Reference> out = {first};
  for (size_t i = 1; i < registries_.size(); ++i) {
    ASSIGN_OR_RETURN(Reference next, Reference::Parse(text, registries_[i]));
    out.push_back(std::move(next));
  }
  return out;
}

Result<std::vector<Reference>> ShortNames::ForPull(std::string_view text) const {
  ASSIGN_OR_RETURN(std::vector<Reference> names, Candidates(text));
  if (names.size() == 1 || !ask_nobody_) return names;
  std::string list;
  for (const Reference& name : names) list += (list.empty() ? "" : ", ") + name.Name();
  return FailedPrecondition(fmt::format(
      "\"{}\" may be any of {}: write the one that is meant, or an alias into registries.conf (short-name-mode is "
      "enforcing)",
      Printable(text, 300), list));
}

std::vector<std::string> ShortNames::Spellings(const Reference& reference) const {
  const std::string name = reference.Name();
  const std::string tail = reference.String().substr(name.size());  // tag, digest or both
  std::vector<std::string> names = {name, reference.FamiliarName()};
  for (const std::string& registry : registries_) {
    if (reference.domain() == registry) names.push_back(reference.repository());
  }
  for (const auto& [alias, meant] : aliases_) {
    Result<Reference> parsed = meant.empty() ? Result<Reference>(NotFound(alias)) : Reference::Parse(meant);
    if (parsed.ok() && parsed->Name() == name) names.push_back(alias);
  }
  std::vector<std::string> out;
  for (const std::string& written : names) {
    out.push_back(written);
    if (!tail.empty()) out.push_back(written + tail);
  }
  return out;
}

}  // namespace davit::image
