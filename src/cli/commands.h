// The commands, one function each, free of command-line parsing (command_line.cc fills the options).
//
// The value is the exit code. Ids may be beginnings or names (resolve.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/output.h"
#include "cli/run_options.h"
#include "cli/terminal.h"
#include "client/client.h"

namespace davit::cli {

namespace cri = ::runtime::v1;
using client::Client;

struct Context {
  Client& client;
  const Output& out;
  // SIGWINCH, and for Run SIGINT and SIGTERM: blocked before gRPC's threads start, which inherit that.
  Signals& signals;
};

// -------- pods --------
struct PodRunOptions {
  std::string config;
  std::string handler;
};
struct ListOptions {
  std::vector<std::string> labels;  // "key=value"
  std::string state;                // "ready", "running", …; empty: all
  std::string pod;                  // containers only
  bool quiet = false;
};
Result<int> PodRun(const Context& context, const PodRunOptions& options);
Result<int> PodStatus(const Context& context, const std::string& id);
Result<int> PodStop(const Context& context, const std::vector<std::string>& ids);
Result<int> PodRemove(const Context& context, const std::vector<std::string>& ids, bool force);
Result<int> PodList(const Context& context, const ListOptions& options);

// -------- containers --------
struct CtrCreateOptions {
  std::string pod;
  std::string config;
  std::string pod_config;  // empty: the pod's metadata and log directory are all that the server is told
};
Result<int> CtrCreate(const Context& context, const CtrCreateOptions& options);
Result<int> CtrStart(const Context& context, const std::vector<std::string>& ids);
Result<int> CtrStatus(const Context& context, const std::string& id);
Result<int> CtrStop(const Context& context, const std::vector<std::string>& ids, int64_t grace_seconds);
Result<int> CtrRemove(const Context& context, const std::vector<std::string>& ids, bool force);
Result<int> CtrList(const Context& context, const ListOptions& options);

// Zero and empty: unchanged.
struct CtrUpdateOptions {
  std::vector<std::string> ids;
  int64_t cpu_shares = 0;
  int64_t cpu_quota = 0;  // microseconds in a period
  int64_t cpu_period = 0;
  int64_t memory = 0;       // bytes
  int64_t memory_swap = 0;  // bytes of memory and swap together
  std::string cpuset_cpus;
  std::string cpuset_mems;
};
Result<int> CtrUpdate(const Context& context, const CtrUpdateOptions& options);

struct ExecOptions {
  std::string id;
  std::vector<std::string> command;
  bool interactive = false;
  bool terminal = false;
  bool sync = false;
  int64_t timeout_seconds = 0;  // of sync; 0: none
};
Result<int> CtrExec(const Context& context, const ExecOptions& options);
Result<int> CtrAttach(const Context& context, const std::string& id, bool interactive);

struct LogsOptions {
  std::string id;
  bool follow = false;
  std::optional<uint64_t> tail;
  bool timestamps = false;
};
Result<int> CtrLogs(const Context& context, const LogsOptions& options);

// -------- images --------
struct ImagePullOptions {
  std::string reference;
  std::string credentials;  // "user:password"
  std::string credentials_file;
  bool explain = false;  // print who was asked, and what came of it
};
Result<int> ImagePull(const Context& context, const ImagePullOptions& options);
// `input`: a file, a directory or "-" for standard input.
Result<int> ImageLoad(const Context& context, const std::string& input, bool quiet);
struct ImageImportOptions {
  std::vector<std::string> changes;
  std::string message;
  std::string platform;
  std::string input;  // a file, or "-" for standard input
  std::string reference;
  bool quiet = false;
};
Result<int> ImageImport(const Context& context, const ImageImportOptions& options);
// 1 when damage was found, or something could not be looked at.
Result<int> ImageVerify(const Context& context, const std::vector<std::string>& images, bool quiet);
struct ImageSaveOptions {
  std::vector<std::string> images;
  std::string output = "-";               // standard output
  std::string format = "docker-archive";  // oci-archive, oci-dir
  bool compress = false;
  bool quiet = false;
};
Result<int> ImageSave(const Context& context, const ImageSaveOptions& options);
Result<int> ImageList(const Context& context, const std::string& filter, bool quiet);
Result<int> ImageStatus(const Context& context, const std::string& reference);
Result<int> ImageRemove(const Context& context, const std::vector<std::string>& references);

// -------- the engine --------
// Until a signal; `ports` are "[LOCAL:]REMOTE".
Result<int> PortForward(const Context& context, const std::string& pod, const std::vector<std::string>& ports);
// One line for each event, until a signal or the end of the stream.
Result<int> Events(const Context& context);
// `details`: every image, layer, container and directory. Waits so long for a measurement that is going on.
Result<int> DiskFree(const Context& context, bool details, int64_t wait_seconds);
Result<int> Info(const Context& context);
Result<int> RuntimeVersion(const Context& context);

// -------- run: a pod with one container --------
// Where the server makes standalone containers, one of those; with another runtime a pod and a container of CRI.
Result<int> Run(const Context& context, const RunOptions& options);

// -------- shared by commands --------

// A full id as it is, else by asking the server for its list.
Result<std::string> ResolvePod(const Context& context, const std::string& text);
Result<std::string> ResolveContainer(const Context& context, const std::string& text);
// Pulls with a progress line on a terminal; the image's ID.
Result<std::string> PullWithProgress(const Context& context, const std::string& reference,
                                     const std::string& credentials);
// "key=value"; kInvalidArgument naming `flag` otherwise.
Result<std::pair<std::string, std::string>> ParsePair(const std::string& text, const std::string& flag);

}  // namespace davit::cli
