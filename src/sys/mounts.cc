#include "sys/mounts.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"

namespace davit::sys {
namespace {

// umount2(2); their header is out of reach here (see mount.h).
constexpr int kDetach = 2;    // MNT_DETACH
constexpr int kNoFollow = 8;  // UMOUNT_NOFOLLOW

constexpr size_t kMaxMountInfoBytes = size_t{64} << 20;

// The kernel writes blank, tab, newline, backslash and '#' as \ooo (seq_file's mangling).
std::string Unescape(std::string_view text) {
  auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string plain;
  plain.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
std::optional<MountInfo> ParseLine(std::string_view line) {
  constexpr size_t kOptionalFields = 6;
  std::vector<std::string> fields = Split(line, ' ');
  size_t separator = kOptionalFields;
  while (separator < fields.size() && fields[separator] != "-") ++separator;
  if (separator + 3 >= fields.size()) return std::nullopt;
  auto id = ParseUint64(fields[0]);
  auto parent = ParseUint64(fields[1]);
  if (!id || !parent) return std::nullopt;
  MountInfo mount;
  mount.id = *id;
  mount.parent_id = *parent;
  mount.root = Unescape(fields[3]);
  mount.mount_point = Unescape(fields[4]);
  mount.options = fields[5];
  mount.optional_fields.assign(fields.begin() + kOptionalFields, fields.begin() + static_cast<ptrdiff_t>(separator));
  mount.fs_type = Unescape(fields[separator + 1]);
  mount.source = Unescape(fields[separator + 2]);
  mount.super_options = fields[separator + 3];
  return mount;
}

struct statx StatMount(const std::string& path, int flags, unsigned mask, int* err) {
  struct statx st = {};
  *err = ::statx(AT_FDCWD, path.c_str(), flags | AT_NO_AUTOMOUNT, mask, &st) == 0 ? 0 : errno;
  return st;
}

}  // namespace

Result<std::vector<MountInfo>> ParseMountInfo(std::string_view text) {
  std::vector<MountInfo> mounts;
  while (!text.empty()) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    std::optional<MountInfo> mount = ParseLine(line);
    if (!mount) return InvalidArgument("mountinfo line \"" + Printable(line) + "\" is malformed");
    mounts.push_back(std::move(*mount));
  }
  return mounts;
}

Result<std::vector<MountInfo>> ReadMountInfo() {
  // thread-self: a thread may be in a mount namespace of its own.
  ASSIGN_OR_RETURN(std::string text, ReadFile("/proc/thread-self/mountinfo", kMaxMountInfoBytes));
  return ParseMountInfo(text);
}

Status Mount(const std::string& source, const std::string& target, const std::string& fs_type, unsigned long flags,
             const std::string& data) {
  const char* type = fs_type.empty() ? nullptr : fs_type.c_str();
  const char* options = data.empty() ? nullptr : data.c_str();
  if (::syscall(SYS_mount, source.c_str(), target.c_str(), type, flags, options) == 0) return {};
  int err = errno;
  return ErrnoError(err, "mount " + (fs_type.empty() ? source : fs_type) + " on " + target);
}

Status BindMount(const std::string& source, const std::string& target, bool recursive) {
  return Mount(source, target, "", MS_BIND | (recursive ? static_cast<unsigned long>(MS_REC) : 0UL), "");
}

Status Unmount(const std::string& target) {
  if (::syscall(SYS_umount2, target.c_str(), kDetach | kNoFollow) == 0) return {};
  // EINVAL is the answer for what is no mount point.
  if (errno == EINVAL || errno == ENOENT) return {};
  return ErrnoError(errno, "unmount " + target);
}

Result<bool> IsMountPoint(const std::string& path) {
  int err = 0;
  struct statx st = StatMount(path, AT_SYMLINK_NOFOLLOW, 0, &err);
  if (err != 0) return ErrnoError(err, "stat " + path);
  if ((st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0) {
    return Unimplemented("stat " + path + ": this kernel does not tell mount roots (before 5.8)");
  }
  return (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

Result<Propagation> PropagationOf(const std::string& path) {
  int err = 0;
  struct statx st = StatMount(path, 0, STATX_MNT_ID, &err);
  if (err != 0) return ErrnoError(err, "stat " + path);
  if ((st.stx_mask & STATX_MNT_ID) == 0) return Unimplemented("stat " + path + ": no mount id (kernel before 5.8)");
  ASSIGN_OR_RETURN(std::vector<MountInfo> mounts, ReadMountInfo());
  for (const MountInfo& mount : mounts) {
    if (mount.id != st.stx_mnt_id) continue;
    Propagation propagation;
    for (const std::string& field : mount.optional_fields) {
      if (field.starts_with("shared:")) propagation.shared = true;
      if (field.starts_with("master:")) propagation.slave = true;
    }
    return propagation;
  }
  return NotFound("mount of " + path + " is not in mountinfo");
}

}  // namespace davit::sys
