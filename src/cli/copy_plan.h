// What davit cp is to do: which names of an archive become which names where, by the rules of docker cp.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace davit::cli {

struct CopyEnd {
  std::string container;  // empty: this machine
  std::string path;
  [[nodiscard]] bool stream() const { return container.empty() && path == "-"; }
};
// "CONTAINER:PATH", "PATH" or "-". A path of this machine with a colon is written with a / in front of it.
CopyEnd ParseCopyEnd(const std::string& text);

enum class PathKind { kAbsent, kFile, kDirectory };

struct CopyPlan {
  std::string directory;  // that the archive is unpacked into
  std::string name;       // of what is copied, in there; empty: the directory takes the contents
  bool make_directory = false;
};
// `source` of kind `what` to `target` of kind `there`. kInvalidArgument, kFailedPrecondition: a directory over a file;
// kNotFound: a file to a directory that is not there.
Result<CopyPlan> PlanCopy(const std::string& source, PathKind what, const std::string& target, PathKind there);

// The last component; "." and "/" have none.
std::string BaseName(const std::string& path);
std::string ParentOf(const std::string& path);

}  // namespace davit::cli
