#include "trust/lookaside.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/strings.h"
#include "sys/unique_fd.h"
#include "trust/policy.h"

namespace davit::trust {
namespace {

bool IsLookaside(std::string_view url) {
  return (url.starts_with("http://") || url.starts_with("https://") || url.starts_with("file:///")) &&
         url.find_first_of("?#@ \t\r\n") == std::string_view::npos;
}

// One "docker" entry, or default-docker.
template <class Entry>
Status ReadEntry(const YAML::Node& node, const std::string& where, Entry& out) {
  if (!node.IsMap()) return InvalidArgument(where + ": expected a mapping");
  std::string old_name;
  for (const auto& item : node) {
    const std::string key = item.first.as<std::string>();
    if (key == "lookaside" || key == "sigstore") {
      const std::string url = item.second.as<std::string>();
      if (!IsLookaside(url))
        return InvalidArgument(fmt::format("{}.{}: \"{}\" is no http, https or file URL", where, key, Printable(url)));
      (key == "lookaside" ? out.lookaside : old_name) = url;
    } else if (key == "use-sigstore-attachments") {
      out.attachments = item.second.as<bool>();
    } else if (key != "lookaside-staging" && key != "sigstore-staging") {  // where signatures are written: not ours
      return InvalidArgument(fmt::format("{}: unknown key \"{}\"", where, Printable(key)));
    }
  }
  if (out.lookaside.empty()) out.lookaside = old_name;
  while (out.lookaside.ends_with('/') && out.lookaside != "file:///") out.lookaside.pop_back();
  return {};
}

}  // namespace

Result<Lookasides> Lookasides::Parse(const std::vector<std::pair<std::string, std::string>>& files) {
  Lookasides out;
  for (const auto& [file, text] : files) {
    try {
      const YAML::Node root = YAML::Load(text);
      if (root.IsNull()) continue;
      if (!root.IsMap()) return InvalidArgument(file + ": expected a mapping");
      for (const auto& item : root) {
        const std::string key = item.first.as<std::string>();
        if (key == "default-docker") {
          if (out.default_)
            return InvalidArgument(fmt::format("{}: default-docker is in {} too", file, out.default_->file));
          Entry entry{file, "", {}};
          RETURN_IF_ERROR(ReadEntry(item.second, file + ": default-docker", entry));
          out.default_ = std::move(entry);
        } else if (key == "docker") {
          if (item.second.IsNull()) continue;
          if (!item.second.IsMap()) return InvalidArgument(file + ": docker: expected a mapping");
          for (const auto& scope : item.second) {
            const std::string name = scope.first.as<std::string>();
            Entry entry{file, "", {}};
            RETURN_IF_ERROR(ReadEntry(scope.second, fmt::format("{}: docker[\"{}\"]", file, Printable(name)), entry));
            auto [known, added] = out.docker_.emplace(name, std::move(entry));
            if (!added)
              return InvalidArgument(
                  fmt::format("{}: docker[\"{}\"] is in {} too", file, Printable(name), known->second.file));
          }
        } else {
          return InvalidArgument(fmt::format("{}: unknown key \"{}\"", file, Printable(key)));
        }
      }
    } catch (const YAML::Exception& error) {
      return InvalidArgument(fmt::format("{}: {}", file, error.what()));
    }
  }
  return out;
}

Result<Lookasides> Lookasides::Load(const std::string& directory) {
  std::vector<std::pair<std::string, std::string>> files;
  std::error_code error;
  std::set<std::string> names;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".yaml") names.insert(it->path().string());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return FailedPrecondition(fmt::format("read {}: {}", directory, error.message()));
  if (names.size() > kMaxLookasideFiles)
    return ResourceExhausted(fmt::format("{} has more than {} files", directory, kMaxLookasideFiles));
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(name, kMaxLookasideBytes));
    files.emplace_back(name, std::move(text));
  }
  return Parse(files);
}

std::vector<const Lookasides::Entry*> Lookasides::Matching(const image::Reference& reference) const {
  std::vector<const Entry*> out;
  for (const std::string& scope : ScopesOf(reference)) {
    if (auto found = docker_.find(scope); found != docker_.end()) out.push_back(&found->second);
  }
  if (default_) out.push_back(&*default_);
  return out;
}

std::optional<std::string> Lookasides::For(const image::Reference& reference) const {
  // An entry that says only something else leaves this to the one around it.
  for (const Entry* entry : Matching(reference)) {
    if (!entry->lookaside.empty()) return entry->lookaside + "/" + reference.repository();
  }
  return std::nullopt;
}

bool Lookasides::Attachments(const image::Reference& reference) const {
  for (const Entry* entry : Matching(reference)) {
    if (entry->attachments) return *entry->attachments;
  }
  return true;
}

}  // namespace davit::trust
