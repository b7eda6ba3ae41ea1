// MountOverlay, by fsconfig(2) and, on kernels that do not have what it needs, by mount(2).
// Source: Documentation/filesystems/overlayfs.rst of the kernel.

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "base/strings.h"
#include "sys/atomic_file.h"
#include "sys/idmap.h"
#include "sys/mounts.h"
#include "sys/overlay_mapped.h"

namespace davit::sys {
namespace {

constexpr const char* kSource = "davit";

// The C library declares these only in <sys/mount.h>, which clashes with <linux/mount.h>.
int FsOpen(const char* type) { return static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC)); }
int FsConfig(int fs, unsigned command, const char* key, const char* value) {
  return static_cast<int>(::syscall(SYS_fsconfig, fs, command, key, value, 0));
}
int FsMount(int fs) { return static_cast<int>(::syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0)); }

// What the kernel has to say about a failed fsconfig(2): one message per read(2), "e text".
std::string KernelMessages(int fs) {
  std::string messages;
  char buffer[512];
  for (int i = 0; i < 8; ++i) {
    ssize_t n = ::read(fs, buffer, sizeof buffer);
    if (n <= 0) break;
    std::string_view line = Trim(std::string_view(buffer, static_cast<size_t>(n)));
    if (line.size() > 2 && line[1] == ' ') line.remove_prefix(2);
    messages += (messages.empty() ? "" : "; ") + Printable(line, 256);
  }
  return messages;
}

// `value` empty: a flag.
Status SetOption(int fs, const char* key, const std::string& value) {
  int rc = value.empty() ? FsConfig(fs, FSCONFIG_SET_FLAG, key, nullptr)
                         : FsConfig(fs, FSCONFIG_SET_STRING, key, value.c_str());
  if (rc == 0) return {};
  int err = errno;
  std::string what = std::string("option ") + key + (value.empty() ? "" : " " + value);
  if (std::string said = KernelMessages(fs); !said.empty()) what += " (" + said + ")";
  return ErrnoError(err, what);
}

// upperdir and workdir are unescaped by the kernel, "lowerdir+" is taken as it is.
std::string EscapeBackslash(const std::string& path) {
  std::string escaped;
  for (char c : path) {
    if (c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

Status MountByFsconfig(const OverlayOptions& options, const std::string& target) {
  UniqueFd fs(FsOpen("overlay"));
  if (!fs.valid()) return ErrnoError(errno, "fsopen overlay");
  RETURN_IF_ERROR(SetOption(fs.get(), "source", kSource));
  for (const std::string& lower : options.lower) RETURN_IF_ERROR(SetOption(fs.get(), "lowerdir+", lower));
  if (!options.upper.empty()) {
    RETURN_IF_ERROR(SetOption(fs.get(), "upperdir", EscapeBackslash(options.upper)));
    RETURN_IF_ERROR(SetOption(fs.get(), "workdir", EscapeBackslash(options.work)));
    if (options.is_volatile) RETURN_IF_ERROR(SetOption(fs.get(), "volatile", ""));
  }
  if (!options.context.empty()) RETURN_IF_ERROR(SetOption(fs.get(), "context", options.context));
  if (FsConfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) {
    int err = errno;
    std::string said = KernelMessages(fs.get());
    return ErrnoError(err, said.empty() ? "create" : "create (" + said + ")");
  }
  UniqueFd mount(FsMount(fs.get()));
  if (!mount.valid()) return ErrnoError(errno, "fsmount");
  return AttachMount(mount.get(), target);
}

// In the option string ',' ends an option and ':' a directory; both and '\\' itself take a backslash.
std::string EscapeForMount(const std::string& path) {
  std::string escaped;
  for (char c : path) {
    if (c == '\\' || c == ':' || c == ',') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

Status MountOverlayByOptionString(const OverlayOptions& options, const std::string& target) {
  std::string data = "lowerdir=";
  for (size_t i = 0; i < options.lower.size(); ++i) data += (i > 0 ? ":" : "") + EscapeForMount(options.lower[i]);
  if (!options.upper.empty()) {
    data += ",upperdir=" + EscapeForMount(options.upper) + ",workdir=" + EscapeForMount(options.work);
    if (options.is_volatile) data += ",volatile";
  }
  // Quoted: a level ("s0:c1,c2") has a comma. The check below keeps quotes out of it.
  if (!options.context.empty()) data += ",context=\"" + options.context + "\"";
  // mount(2) cuts the string at one page without a word.
  if (data.size() >= static_cast<size_t>(::sysconf(_SC_PAGESIZE))) {
    return InvalidArgument(std::to_string(options.lower.size()) +
                           " lower directories do not fit into one page of mount options");
  }
  return Mount(kSource, target, "overlay", 0, data);
}

namespace {

Status CheckOptions(const OverlayOptions& options) {
  if (options.lower.empty()) return InvalidArgument("no lower directory");
  for (const std::string& lower : options.lower) {
    if (!lower.starts_with('/')) return InvalidArgument("lower directory \"" + lower + "\" is not absolute");
  }
  if (options.context.find_first_of("\"\\") != std::string::npos) {
    return InvalidArgument("context \"" + Printable(options.context) + "\" has a quote or a backslash");
  }
  if (options.upper.empty() != options.work.empty()) return InvalidArgument("upper and work go together");
  if (!options.upper.empty() && (!options.upper.starts_with('/') || !options.work.starts_with('/'))) {
    return InvalidArgument("upper \"" + options.upper + "\" or work \"" + options.work + "\" is not absolute");
  }
  return {};
}

// overlayfs refuses a directory that is named twice (ELOOP), and images do name layers twice: `docker build` adds
// the same empty one for each step that changes nothing. What stands lower has nothing to show: all of its entries,
// whiteouts too, are those of the upper one again, which has the last word on them.
OverlayOptions WithoutRepeats(OverlayOptions options) {
  std::set<std::string> seen;
  std::erase_if(options.lower, [&](const std::string& lower) { return !seen.insert(lower).second; });
  return options;
}

// The kernel refuses an overlay of one directory alone; a read-only bind mount shows the same.
Status MountSingle(const std::string& lower, const std::string& target) {
  RETURN_IF_ERROR(BindMount(lower, target, false));
  Status read_only = Mount(lower, target, "", MS_BIND | MS_REMOUNT | MS_RDONLY, "");
  if (!read_only.ok()) return read_only.WithUndoError(Unmount(target));
  return {};
}

Status MountChecked(const OverlayOptions& options, const std::string& target) {
  RETURN_IF_ERROR(CheckOptions(options));
  if (options.user_namespace >= 0) {
    // The kernel takes what a path names when it is configured: the copies live until the overlay is mounted.
    ASSIGN_OR_RETURN(std::vector<UniqueFd> copies, MapLowers(options));
    OverlayOptions plain = options;
    plain.user_namespace = -1;
    plain.lower.clear();
    for (const UniqueFd& copy : copies) plain.lower.push_back("/proc/thread-self/fd/" + std::to_string(copy.get()));
    // A bind mount, which one lower directory alone becomes, cannot be made from a detached copy.
    if (plain.lower.size() == 1 && plain.upper.empty()) return InvalidArgument("one id-mapped lower directory alone");
    Status mounted = MountChecked(plain, target);
    if (mounted.code() != StatusCode::kInvalidArgument) return mounted;
    Status apart = MountMappedOverlayApart(options, target);
    if (apart.ok()) return apart;
    return Status(apart.code(), apart.message() + " (with detached copies: " + mounted.message() + ")");
  }
  if (options.upper.empty() && options.lower.size() == 1) return MountSingle(options.lower[0], target);
  if (!options.upper.empty()) {
    // A volatile overlay that was not unmounted (crash, power loss) leaves this mark, and the kernel
    // refuses the next mount over it.
    RETURN_IF_ERROR(RemoveTree(options.work + "/work/incompat"));
  }
  Status mounted = MountByFsconfig(options, target);
  // Before 6.7 there is no "lowerdir+" (EINVAL), before 5.2 no fsopen (ENOSYS), and a seccomp filter
  // that does not know it says EPERM. The other way then tells what is really wrong.
  bool maybe_unknown = mounted.code() == StatusCode::kInvalidArgument || mounted.code() == StatusCode::kInternal ||
                       mounted.code() == StatusCode::kPermissionDenied;
  if (mounted.ok() || !maybe_unknown) return mounted;
  Status second = MountOverlayByOptionString(options, target);
  if (second.ok()) return second;
  return Status(second.code(), second.message() + " (fsconfig: " + mounted.message() + ")");
}

}  // namespace

Status MountOverlay(const OverlayOptions& options, const std::string& target) {
  return MountChecked(WithoutRepeats(options), target).Annotate("mount overlay on " + target);
}

}  // namespace davit::sys
