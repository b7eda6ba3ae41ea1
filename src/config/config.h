// Config: what an administrator can decide about davitd, typed, checked and with defaults.
//
// Source: one TOML file (usually /etc/davit/davit.toml) and drop-ins beside it, applied in lexical
// order, key by key: a drop-in changes only the keys it names, and a list replaces a list. An unknown
// key, a value of the wrong type or out of range is an error that names file, line and key; several
// are reported together. Defaults work without any file.
//
// A Config is a plain value: load once, pass parts of it down by value or const reference, load again
// to reload. The schema (names, checks, help) is one table in schema.cc, from which the reader, Dump()
// and DescribeKeys() all work; the defaults are the initialisers below.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "config/secret.h"

namespace davit::config {

inline constexpr size_t kMaxFileBytes = 1u << 20;
inline constexpr size_t kMaxDropins = 256;

struct ApiConfig {
  std::string listen = "/run/davit/davit.sock";  // absolute path; the file may say unix:///path
  int64_t event_queue = 1024;                    // events that wait for one subscriber
  std::string crio_socket;                       // absolute path of CRI-O's inspection API, for cAdvisor; empty: off
  bool show_standalone = false;                  // CRI's lists have pods and containers that people made, too
};

struct StreamConfig {
  std::string address = "127.0.0.1";  // IPv4 or IPv6 literal without brackets
  int64_t port = 0;                   // 0: the kernel picks one
  int64_t idle_timeout_seconds = 14400;
  int64_t max_sessions = 1024;
};

struct MetricsConfig {
  std::string address;  // "IP:PORT" (IPv6 in brackets) or "unix:///PATH"; empty: off
};

// An OCI runtime that pods can ask for by name (RunPodSandboxRequest.runtime_handler).
struct RuntimeHandlerConfig {
  std::string path;  // absolute after Load(); empty when a program of the handler's name is not installed
  std::string root;  // --root of the runtime; after Load() <state>/runtime/<name> unless set
  std::vector<std::string> arguments;  // global options of the runtime program, before its verb
  bool privileged_without_host_devices = false;
  std::vector<std::string> allowed_annotations;  // of container/annotations.h; others have no effect
  std::vector<std::string> allowed_devices = {"/dev/fuse", "/dev/net/tun"};  // for annotations that ask for devices
  std::string monitor_path;                                                  // empty: runtime.monitor_path
  int64_t max_log_line_bytes = 0;                                            // 0: runtime.max_log_line_bytes
};

// The handler that is Davit's own runtime: davit-oci, looked for beside davitd first.
inline constexpr char kNativeHandler[] = "native";

struct RuntimeConfig {
  std::string default_handler = "crun";      // key runtime.default; always one of handlers
  std::string cgroup_driver = "auto";        // "auto", "cgroupfs" or "systemd"
  std::string monitor_path;                  // empty: davit-monitor in the libexec directory
  std::string init_path;                     // empty: the init for shared PID namespaces in libexec
  int64_t max_log_line_bytes = 16384;        // longer lines become partial (P) entries of the CRI log
  int64_t standalone_log_bytes = 100 << 20;  // a log file of a container that people made is put aside then
  int64_t standalone_log_files = 2;          // with the current one
  // File of the seccomp profile RuntimeDefault, in Docker's or OCI's format. Empty: the one that the package
  // containers-common installs, when it is there.
  std::string seccomp_profile;
  bool add_user_entry = true;  // a line in a container's /etc/passwd for a user that has none
  int64_t pids_limit = -1;     // tasks per container; -1: no limit
  std::vector<std::string> cdi_spec_dirs = {"/etc/cdi", "/var/run/cdi"};  // the last one is the strongest
  // "CAP_CHOWN", …; nullopt: the usual default set. Names are stored with the prefix.
  std::optional<std::vector<std::string>> default_capabilities;
  std::map<std::string, RuntimeHandlerConfig> handlers = {{"crun", {}}, {"native", {}}, {"runc", {}}};
};

struct RegistryConfig {
  std::vector<std::string> mirrors;  // "scheme://host[:port][/prefix]", tried in order before the host itself
  bool fallback = true;              // whether the host itself is tried after the mirrors
  bool plain_http = false;           // the host itself: http instead of https
  bool skip_verify = false;          // the host itself: TLS without checking its certificate
  std::string ca_file;               // absolute path, PEM; empty: the system's
  std::string username;
  Secret password;
  std::string auth_file;  // absolute path of a docker config.json
};

// SIF files as images (docs/images-sif.md).
struct SifConfig {
  bool enabled = false;                   // the kernel's squashfs reads untrusted bytes
  std::vector<std::string> allowed_dirs;  // of local.file/…; empty: none
  // "DOMAIN=URL": what the references of a domain are looked up in.
  std::vector<std::string> libraries = {"cloud.sylabs.io=https://library.sylabs.io"};
};

struct ImageConfig {
  std::string pull_path;                         // empty: davit-pull in the libexec directory
  int64_t max_parallel_layers = 4;               // per pull
  int64_t connections_per_layer = 1;             // for a layer of 32 MiB and more
  int64_t max_layer_bytes = int64_t{32} << 30;   // one layer unpacked
  int64_t max_image_bytes = int64_t{200} << 30;  // one image unpacked
  int64_t max_entries = 4'000'000;               // files in one layer
  int64_t stall_timeout_seconds = 60;            // a transfer that brings no byte for so long fails
  int64_t min_bytes_per_second = 1024;           // one that brings fewer, on average over that time, too; 0: none
  std::string default_registry = "docker.io";
  // policy.json; empty: /etc/containers/policy.json where it is there, else any image is taken.
  std::string signature_policy;
  std::string signature_policy_dir;                                 // <namespace>.json of it goes before; empty: none
  std::string registries_d = "/etc/containers/registries.d";        // where signatures are
  bool accept_unnamed_signatures = false;                           // sigstore bundles that say a digest and no name
  std::string registries_conf = "/etc/containers/registries.conf";  // with drop-ins in <it>.d; empty: none
  // Of <host>/hosts.toml, *.crt, *.cert and *.key; empty: none.
  std::vector<std::string> hosts_dirs = {"/etc/containerd/certs.d", "/etc/docker/certs.d", "/etc/containers/certs.d"};
  std::string auth_file;                                 // credentials for any registry; empty: none
  std::string auth_dir;                                  // <namespace>.json of it goes before; empty: none
  std::string preload_dir = "/usr/share/davit/preload";  // archives that are loaded at the start; empty: none
  std::vector<std::string> pinned;                       // globs (* and ?) over references, never collected
  std::map<std::string, RegistryConfig> registries;      // by "host[:port]"
  SifConfig sif;
};

struct NetworkConfig {
  std::string conf_dir = "/etc/cni/net.d";
  std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
  int64_t plugin_timeout_seconds = 60;
  bool builtin = true;  // davitd makes what it can make by itself; false: plugins do it all
};

struct Config {
  std::string root = "/var/lib/davit";
  std::string state = "/run/davit";
  LogLevel log_level = LogLevel::kInfo;
  ApiConfig api;
  StreamConfig stream;
  MetricsConfig metrics;
  RuntimeConfig runtime;
  ImageConfig image;
  NetworkConfig network;
};

// Whether the file itself has to be there: a file that somebody named does, the customary one does not.
enum class MainFile { kOptional, kRequired };

// The defaults, then `path` (kNotFound when it is required and missing), then the *.toml files of dropin_dir (a missing
// directory is none; "": no drop-ins), then Resolve(). kInvalidArgument for what the files say,
// kResourceExhausted for a file or directory over the caps, else the error of reading.
Result<Config> Load(const std::string& path, const std::string& dropin_dir, MainFile main_file = MainFile::kOptional);
// The customary place of the drop-ins of `path`: "<path>.d".
std::string DropinDirectory(const std::string& path);

// Applies one file's text. Pure: no file is touched (this is what fuzzing calls). `file` is only for
// errors. On error `config` may have taken some of the keys.
Status Apply(Config& config, std::string_view text, const std::string& file);

// Fills what defaults derive from other values and from the machine: handler paths (PATH, then
// /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin, /sbin, /bin) and handler roots; and checks
// across keys: that the default handler is one of the handlers. Load() has done it.
Status Resolve(Config& config);

// The effective configuration as TOML that Apply() takes, secrets as "***".
std::string Dump(const Config& config);

// One key of the schema, for documentation and man pages. Keys of named tables have a placeholder:
// "image.registries.HOST.plain_http".
struct KeyHelp {
  std::string key;
  std::string type;           // "string", "integer", "boolean", "list of strings", "size"
  std::string default_value;  // as TOML; "" when there is none
  std::string help;           // one line
};
std::vector<KeyHelp> DescribeKeys();

}  // namespace davit::config
