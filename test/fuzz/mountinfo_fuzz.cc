// Text of the kernel that others can shape: mount points have any name. What is read is what a kernel would
// have written for it, and a cgroup path that is accepted stays inside the hierarchy.
#include <string>

#include "base/strings.h"
#include "fuzz.h"
#include "sys/cgroup.h"
#include "sys/mounts.h"

namespace sys = davit::sys;

namespace {

// As the kernel's seq_file does it.
std::string Escape(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case ' ':
        out += "\\040";
        break;
      case '\t':
        out += "\\011";
        break;
      case '\n':
        out += "\\012";
        break;
      case '\\':
        out += "\\134";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string Line(const sys::MountInfo& mount) {
  std::string out = std::to_string(mount.id) + " " + std::to_string(mount.parent_id) + " 0:1 " + Escape(mount.root) +
                    " " + Escape(mount.mount_point) + " " + mount.options;
  for (const std::string& field : mount.optional_fields) out += " " + field;
  return out + " - " + Escape(mount.fs_type) + " " + Escape(mount.source) + " " + mount.super_options + "\n";
}

std::string Lines(const std::vector<sys::MountInfo>& mounts) {
  std::string out;
  for (const sys::MountInfo& mount : mounts) out += Line(mount);
  return out;
}

void CheckCgroupPath(std::string_view text) {
  auto path = sys::CleanCgroupPath(std::string(text));
  if (!path.ok()) return;
  FUZZ_REQUIRE(path->size() <= 4096 && path->find('\0') == std::string::npos);
  if (path->empty()) return;  // the root
  FUZZ_REQUIRE(path->front() == '/' && path->back() != '/');
  for (const std::string& part : davit::Split(path->substr(1), '/')) {
    FUZZ_REQUIRE(!part.empty() && part != "." && part != "..");
  }
  auto again = sys::CleanCgroupPath(*path);
  FUZZ_REQUIRE(again.ok() && *again == *path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  CheckCgroupPath(text);
  auto mounts = sys::ParseMountInfo(text);
  if (!mounts.ok()) return 0;
  std::string lines = Lines(*mounts);
  auto again = sys::ParseMountInfo(lines);
  FUZZ_REQUIRE(again.ok() && again->size() == mounts->size() && Lines(*again) == lines);
  auto layout = sys::CgroupLayout::FromMounts(*mounts);
  if (!layout.ok()) return 0;
  for (const std::string& directory : layout->Directories("/pods/a")) FUZZ_REQUIRE(directory.ends_with("/pods/a"));
  return 0;
}
