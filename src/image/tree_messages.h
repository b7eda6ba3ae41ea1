// What davitd and `davit-pull --tree` say to each other about the files of a container (docs/formats/tree-protocol.md).
//
// The helper's descriptors: 0 the tar that is unpacked, 1 the tar that is made, 3 the root of the container (of a
// running one as its processes see it), 4 the job, 5 its reports, a line of JSON each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::image {

inline constexpr uint32_t kTreeProtocolVersion = 1;
inline constexpr int kTreeRootFd = 3;
inline constexpr int kTreeJobFd = 4;
inline constexpr int kTreeReportFd = 5;
inline constexpr size_t kMaxTreeJobBytes = 4 << 20;
inline constexpr size_t kMaxTreeReportBytes = 64 << 10;

struct TreeMount {
  std::string source;  // path of the node
  std::string target;  // in the container
  bool read_only = false;
};

struct TreeJob {
  uint32_t version = kTreeProtocolVersion;
  // "stat", "read" and "write": a path of the container; "export": the whole root; "layer": the upper directory of an
  // overlay as a layer.
  std::string verb;
  std::string path;
  // Of a container that does not run: where its root is mounted, and what belongs on top, parents first.
  std::string root;
  bool read_only = false;  // the root
  std::vector<TreeMount> mounts;
  uint32_t ids_outside = 0;  // of its user namespace
  uint32_t ids_length = 0;
  bool no_overwrite_dir_non_dir = false;
  bool copy_ids = false;
  std::vector<std::string> leave_out;
};

struct TreeStat {
  std::string name;
  int64_t size = 0;
  uint32_t mode = 0;
  int64_t modified_at = 0;  // nanoseconds
  std::string link_target;
};

struct TreeReport {
  uint32_t version = kTreeProtocolVersion;
  std::optional<TreeStat> stat;  // first, of "stat" and "read"
  bool done = false;             // the last report; then code and message are the result
  int code = 0;                  // StatusCode
  std::string message;
};

std::string EncodeTreeJob(const TreeJob& job);
Result<TreeJob> DecodeTreeJob(std::string_view text);
std::string EncodeTreeReport(const TreeReport& report);  // with its newline
Result<TreeReport> DecodeTreeReport(std::string_view line);

}  // namespace davit::image
