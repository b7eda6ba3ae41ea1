#include "sys/systemd_names.h"

#include <algorithm>

#include "base/strings.h"

namespace davit::sys {
namespace {

constexpr std::string_view kSlice = ".slice";
constexpr std::string_view kScope = ".scope";
constexpr size_t kMaxUnitName = 255;

std::string_view LastPart(std::string_view cgroup) {
  size_t slash = cgroup.rfind('/');
  return slash == std::string_view::npos ? cgroup : cgroup.substr(slash + 1);
}

// unit_name_is_valid(): '@' is for templates, and slices have none (systemd.unit(5)).
bool IsUnitCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view(":-_.\\").find(c) != std::string_view::npos;
}

Status BadSlice(std::string_view slice, const char* why) {
  return InvalidArgument("slice \"" + Printable(slice) + "\" " + why);
}

}  // namespace

Result<std::string> SlicePath(std::string_view slice) {
  if (!slice.ends_with(kSlice)) return BadSlice(slice, "does not end with \".slice\"");
  if (slice.size() > kMaxUnitName) return BadSlice(slice, "is longer than 255 bytes");
  std::string_view stem = slice.substr(0, slice.size() - kSlice.size());
  if (stem == "-") return std::string();
  if (stem.empty()) return BadSlice(slice, "has no name");
  if (!std::all_of(stem.begin(), stem.end(), IsUnitCharacter)) {
    return BadSlice(slice, "has a character that is not a letter, a digit or one of : - _ . \\");
  }
  std::string path;
  for (size_t dash = stem.find('-');; dash = stem.find('-', dash + 1)) {
    std::string_view prefix = stem.substr(0, dash);
    if (prefix.empty() || prefix.back() == '-') return BadSlice(slice, "has an empty part between dashes");
    path.append("/").append(prefix).append(kSlice);
    if (dash == std::string_view::npos) return path;
  }
}

Result<std::string> SliceOfParent(std::string_view cgroup_parent) {
  std::string_view text = cgroup_parent;
  if (text.size() > 1 && text.back() == '/') text.remove_suffix(1);
  ASSIGN_OR_RETURN(std::string path, SlicePath(LastPart(text)));
  if (path.empty()) return BadSlice(text, "is the root, where systemd's own units are");
  bool name_alone = text.find('/', text.starts_with('/') ? 1 : 0) == std::string_view::npos;
  if (!name_alone && text != path) {
    return InvalidArgument("\"" + Printable(cgroup_parent) + "\" is not where systemd has that slice: \"" + path +
                           "\"");
  }
  return path;
}

bool IsSlice(std::string_view cgroup) { return LastPart(cgroup).ends_with(kSlice); }
bool IsScope(std::string_view cgroup) { return LastPart(cgroup).ends_with(kScope); }
std::string UnitName(std::string_view cgroup) { return std::string(LastPart(cgroup)); }

std::string ChildCgroup(std::string_view parent, std::string_view name) {
  std::string path(parent);
  path.append("/").append(name);
  if (IsSlice(parent)) path.append(kScope);
  return path;
}

std::string RuntimeCgroupsPath(const std::string& cgroup) {
  std::string_view scope = LastPart(cgroup);
  size_t dash = scope.find('-');
  if (!IsScope(cgroup) || dash == std::string_view::npos) return cgroup;
  std::string_view parent = std::string_view(cgroup).substr(0, cgroup.size() - scope.size());
  if (!parent.empty()) parent.remove_suffix(1);
  std::string text(parent.empty() ? "-.slice" : LastPart(parent));
  text.append(":").append(scope.substr(0, dash)).append(":");
  return text.append(scope.substr(dash + 1, scope.size() - dash - 1 - kScope.size()));
}

}  // namespace davit::sys
