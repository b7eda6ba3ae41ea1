// CDI specifications: files in which the vendor of a device says what a container needs to use it. Parsing and
// checking of one file; pure.
//
// Source: Container Device Interface specification 1.1.0 (SPEC.md). A file with a key that the specification does
// not have, or with one that is newer than the version it declares, is an error, as there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace davit::container {

inline constexpr size_t kMaxCdiFile = size_t{1} << 20;
inline constexpr size_t kMaxCdiDepth = 16;
inline constexpr size_t kMaxCdiNodes = 65536;  // values in one file, YAML's aliases counted as often as they occur
inline constexpr size_t kMaxCdiDevices = 4096;
inline constexpr size_t kMaxCdiEdits = 1024;  // entries of one list of edits

struct CdiDeviceNode {
  std::string path;       // in the container
  std::string host_path;  // empty: the same
  char type = 0;          // 'b', 'c', 'u', 'p'; 0: as on the host
  std::optional<int64_t> major;
  std::optional<int64_t> minor;
  std::optional<uint32_t> file_mode;
  std::string permissions;  // of r, w, m; empty: all
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
};

struct CdiMount {
  std::string host_path;
  std::string container_path;
  std::string type;  // empty: bind
  std::vector<std::string> options;
};

struct CdiHook {
  std::string name;  // "createRuntime", …
  std::string path;  // absolute
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::optional<int64_t> timeout;  // seconds
};

struct CdiEdits {
  std::vector<std::string> env;
  std::vector<CdiDeviceNode> device_nodes;
  std::vector<CdiMount> mounts;
  std::vector<CdiHook> hooks;
  std::vector<uint32_t> additional_gids;
};

struct CdiDevice {
  std::string name;
  CdiEdits edits;
};

struct CdiSpec {
  std::string version;
  std::string kind;  // "vendor.com/class"
  std::vector<CdiDevice> devices;
  CdiEdits edits;  // for a container with any of the devices
};

enum class CdiFormat { kJson, kYaml };

// kInvalidArgument naming the key; kResourceExhausted beyond the caps; kUnimplemented for edits that Davit does
// not make (intelRdt, netDevices).
Result<CdiSpec> ParseCdiSpec(std::string_view text, CdiFormat format);

// "vendor.com/class=name".
struct CdiName {
  std::string kind;
  std::string device;
};
// kInvalidArgument naming the text.
Result<CdiName> ParseCdiName(std::string_view text);

}  // namespace davit::container
