#include "cli/copy_plan.h"

#include <fmt/format.h>

#include "base/strings.h"

namespace davit::cli {
namespace {

std::string Bare(std::string path) {
  while (path.size() > 1 && path.ends_with("/")) path.pop_back();
  return path;
}

bool MeansContents(const std::string& path) { return path == "." || path == "/" || path.ends_with("/."); }

}  // namespace

CopyEnd ParseCopyEnd(const std::string& text) {
  size_t colon = text.find(':');
  // "./a:b" and "/a:b" are paths; so is what begins with the colon.
  if (colon == std::string::npos || colon == 0 || text.starts_with("/") || text.starts_with(".")) return {"", text};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string BaseName(const std::string& path) {
  std::string bare = Bare(path);
  std::string name = bare.substr(bare.rfind('/') == std::string::npos ? 0 : bare.rfind('/') + 1);
  return name == "." || name == ".." ? "" : name;
}

std::string ParentOf(const std::string& path) {
  std::string bare = Bare(path);
  size_t slash = bare.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : bare.substr(0, slash);
}

Result<CopyPlan> PlanCopy(const std::string& source, PathKind what, const std::string& target, PathKind there) {
  CopyPlan plan;
  if (what == PathKind::kAbsent) return NotFound(fmt::format("cp: there is no {}", Printable(source)));
  if (what == PathKind::kDirectory && there == PathKind::kFile) {
    return FailedPrecondition(
        fmt::format("cp: {} is a directory, and {} is none", Printable(source), Printable(target)));
  }
  const bool contents = what == PathKind::kDirectory && MeansContents(source);
  if (there == PathKind::kDirectory) {
    plan.directory = target;
    plan.name = contents ? "" : BaseName(source);
    return plan;
  }
  if (what == PathKind::kDirectory) {
    plan.directory = Bare(target);
    plan.make_directory = true;
    return plan;
  }
  if (target.ends_with("/")) {
    return there == PathKind::kAbsent ? NotFound(fmt::format("cp: there is no directory {}", Printable(target)))
                                      : FailedPrecondition(fmt::format("cp: {} is no directory", Printable(target)));
  }
  plan.directory = ParentOf(target);
  plan.name = BaseName(target);
  if (plan.name.empty()) return InvalidArgument(fmt::format("cp: \"{}\" names no file", Printable(target)));
  return plan;
}

}  // namespace davit::cli
