#include "native/masks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "native/devices.h"
#include "native/target.h"
#include "sys/mounts.h"

namespace davit::native {
namespace {

class Mask {
 public:
  static Result<Mask> Make(const RootSetup& setup) {
    Mask mask(setup);
    ASSIGN_OR_RETURN(mask.null_, OpenNull());
    return mask;
  }

  Status Apply(const std::string& path) {
    Result<sys::UniqueFd> target = OpenTarget(setup_.root, path);
    if (target.code() == StatusCode::kNotFound) return {};
    if (!target.ok()) return target.status();
    struct stat st;
    if (::fstat(target->get(), &st) != 0) return ErrnoError(errno, "look at it");
    return S_ISDIR(st.st_mode) ? CoverDirectory(target->get()) : CoverFile(target->get());
  }

 private:
  explicit Mask(const RootSetup& setup) : setup_(setup) {}

  Status CoverFile(int target) {
    ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(null_.get(), false));
    RETURN_IF_ERROR(SetMountPropagation(tree.get(), MS_PRIVATE, false));
    return Attach(tree.get(), target);
  }

  // One tmpfs for all directories: the first cover is the file system itself, the others are clones of it.
  Status CoverDirectory(int target) {
    if (empty_.valid()) {
      ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(empty_.get(), false));
      return Attach(tree.get(), target);
    }
    MountOptions options;
    options.attributes.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    options.data = {{"mode", "555"}, {"nr_inodes", "2"}, {"nr_blocks", "1"}};
    if (!setup_.spec.linux_.mount_label.empty()) options.data.emplace_back("context", setup_.spec.linux_.mount_label);
    ASSIGN_OR_RETURN(empty_, MakeFilesystem("tmpfs", "tmpfs", options));
    return Attach(empty_.get(), target);
  }

  const RootSetup& setup_;
  sys::UniqueFd null_;
  sys::UniqueFd empty_;
};

Status MakeReadonly(const RootSetup& setup, const std::string& path) {
  Result<sys::UniqueFd> target = OpenTarget(setup.root, path);
  if (target.code() == StatusCode::kNotFound) return {};
  if (!target.ok()) return target.status();
  ASSIGN_OR_RETURN(sys::UniqueFd tree, CloneTree(target->get(), true));
  RETURN_IF_ERROR(SetMountPropagation(tree.get(), MS_PRIVATE, true));
  RETURN_IF_ERROR(SetAttributes(tree.get(), {MOUNT_ATTR_RDONLY, 0}, true));
  return Attach(tree.get(), target->get());
}

}  // namespace

Status MaskPaths(const RootSetup& setup) {
  if (setup.spec.linux_.masked_paths.empty()) return {};
  ASSIGN_OR_RETURN_WITH(Mask mask, Mask::Make(setup), "linux.maskedPaths");
  for (const std::string& path : setup.spec.linux_.masked_paths) {
    RETURN_IF_ERROR(mask.Apply(path).Annotate("mask " + Printable(path)));
  }
  return {};
}

Status MakePathsReadonly(const RootSetup& setup) {
  for (const std::string& path : setup.spec.linux_.readonly_paths) {
    RETURN_IF_ERROR(MakeReadonly(setup, path).Annotate("make read-only " + Printable(path)));
  }
  return {};
}

}  // namespace davit::native
