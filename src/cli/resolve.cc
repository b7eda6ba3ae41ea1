#include "cli/resolve.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "cli/format.h"

namespace davit::cli {
namespace {

bool HasPrefix(std::string_view id, std::string_view text) {
  size_t colon = id.find(':');
  return id.starts_with(text) || (colon != std::string_view::npos && id.substr(colon + 1).starts_with(text));
}

Status Ambiguous(const std::vector<const Candidate*>& found, std::string_view text, std::string_view what) {
  constexpr size_t kShown = 5;
  std::vector<std::string> names;
  for (size_t i = 0; i < found.size() && i < kShown; ++i) {
    names.push_back(found[i]->name.empty()
                        ? DisplayId(found[i]->id, false)
                        : fmt::format("{} ({})", DisplayId(found[i]->id, false), Printable(found[i]->name)));
  }
  std::string more = found.size() > kShown ? fmt::format(" and {} more", found.size() - kShown) : "";
  return InvalidArgument(fmt::format("{} \"{}\" is ambiguous: {}{}", what, Printable(text), Join(names, ", "), more));
}

}  // namespace

Result<std::string> ResolveId(const std::vector<Candidate>& candidates, std::string_view text, std::string_view what) {
  if (text.empty()) return InvalidArgument(fmt::format("{} id is empty", what));
  std::vector<const Candidate*> by_name;
  std::vector<const Candidate*> by_prefix;
  for (const Candidate& candidate : candidates) {
    if (candidate.id == text) return candidate.id;
    if (candidate.name == text) by_name.push_back(&candidate);
    if (HasPrefix(candidate.id, text)) by_prefix.push_back(&candidate);
  }
  for (const auto* found : {&by_name, &by_prefix}) {
    if (found->size() == 1) return found->front()->id;
    if (found->size() > 1) return Ambiguous(*found, text, what);
  }
  return NotFound(fmt::format("no {} \"{}\"", what, Printable(text)));
}

}  // namespace davit::cli
