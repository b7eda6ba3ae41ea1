#include "sys/overlay_mapped.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "sys/atomic_file.h"
#include "sys/idmap.h"
#include "sys/namespaces.h"

namespace davit::sys {
namespace {

// Directories of a small file system that only this namespace sees: "0", "1", … for the copies (short names: the
// option string is one page at most), "m" for the overlay.
Status MakePlaces(const std::string& target, size_t lowers) {
  RETURN_IF_ERROR(Mount("davit", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=1m"));
  if (::chdir(target.c_str()) != 0) return ErrnoError(errno, "chdir " + target);
  for (size_t i = 0; i <= lowers; ++i) {
    std::string name = i < lowers ? std::to_string(i) : "m";
    if (::mkdir(name.c_str(), 0700) != 0) return ErrnoError(errno, "mkdir " + name);
  }
  return {};
}

Result<UniqueFd> MakeApart(const OverlayOptions& options, const std::string& target) {
  // CLONE_FS: the working directory below is this thread's.
  if (::unshare(CLONE_FS | CLONE_NEWNS) != 0) return ErrnoError(errno, "unshare the mount namespace");
  RETURN_IF_ERROR(Mount("", "/", "", MS_REC | MS_PRIVATE, ""));
  OverlayOptions plain = options;
  plain.lower.clear();
  ASSIGN_OR_RETURN(std::vector<UniqueFd> trees, MapLowers(options));
  RETURN_IF_ERROR(MakePlaces(target, trees.size()));
  for (size_t i = 0; i < trees.size(); ++i) {
    plain.lower.push_back(std::to_string(i));
    RETURN_IF_ERROR(AttachMount(trees[i].get(), plain.lower.back()));
  }
  plain.user_namespace = -1;
  // An attempt before this one that failed over a lower directory may have left the mark of a volatile overlay.
  if (!plain.upper.empty()) RETURN_IF_ERROR(RemoveTree(plain.work + "/work/incompat"));
  RETURN_IF_ERROR(MountOverlayByOptionString(plain, "m"));
  return CloneMount("m", /*recursive=*/false);
}

}  // namespace

Result<std::vector<UniqueFd>> MapLowers(const OverlayOptions& options) {
  std::vector<UniqueFd> trees;
  for (const std::string& lower : options.lower) {
    ASSIGN_OR_RETURN(UniqueFd tree, CloneMount(lower, /*recursive=*/false));
    RETURN_IF_ERROR(SetIdmap(tree.get(), options.user_namespace, lower, /*recursive=*/false));
    trees.push_back(std::move(tree));
  }
  return trees;
}

Status MountMappedOverlayApart(const OverlayOptions& options, const std::string& target) {
  UniqueFd made;
  RETURN_IF_ERROR(InThread([&]() -> Status {
    ASSIGN_OR_RETURN(made, MakeApart(options, target));
    return {};
  }));
  return AttachMount(made.get(), target);
}

}  // namespace davit::sys
