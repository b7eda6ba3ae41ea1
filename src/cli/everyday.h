// The everyday verbs: what people type for containers, volumes, networks and images as they know it from Docker and
// Podman, on davit.control.v1. Names are resolved by the server; the kubelet's containers can be looked at, and are
// changed through CRI alone (`davit ctr`).
//
// A verb with several objects goes on after one that fails, says which, and the exit code is then 1.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace davit::control::v1 {
class Container;
class ListContainersAllResponse;
class Pod;
}  // namespace davit::control::v1

namespace davit::cli {

using Names = std::vector<std::string>;

// -------- the life of a container --------
Result<int> Create(const Context& context, const RunOptions& options);
struct StartOptions {
  Names containers;
  bool attach = false;
  bool interactive = false;
};
Result<int> Start(const Context& context, const StartOptions& options);
struct StopOptions {
  Names containers;
  bool all = false;
  std::optional<int64_t> timeout_seconds;
  std::string signal;
};
Result<int> Stop(const Context& context, const StopOptions& options);
Result<int> Restart(const Context& context, const StopOptions& options);
// Signal empty: SIGKILL.
Result<int> Kill(const Context& context, const StopOptions& options);
Result<int> Pause(const Context& context, const Names& containers);
Result<int> Unpause(const Context& context, const Names& containers);
Result<int> WaitFor(const Context& context, const Names& containers, const std::string& condition);
struct RemoveOptions {
  Names containers;
  bool all = false;
  bool force = false;
  bool volumes = false;
};
Result<int> Remove(const Context& context, const RemoveOptions& options);
Result<int> Rename(const Context& context, const std::string& container, const std::string& name);
// Limits and restart policy of `options`.
Result<int> Update(const Context& context, const Names& containers, const RunOptions& options);
Result<int> ContainerPrune(const Context& context, const Names& filters);

// -------- looking --------
struct PsOptions {
  bool all = false;
  bool quiet = false;
  size_t last = 0;  // 0: all
  Names filters;
};
Result<int> Ps(const Context& context, const PsOptions& options);
struct InspectOptions {
  Names objects;
  std::string type;    // container, image, volume, network, pod; empty: the first of these that has the name
  std::string format;  // "{{.State.Status}}"
};
Result<int> Inspect(const Context& context, const InspectOptions& options);
struct ContainerLogsOptions {
  std::string container;
  bool follow = false;
  std::optional<uint64_t> tail;
  std::string since;
  std::string until;
  bool timestamps = false;
};
Result<int> ContainerLogs(const Context& context, const ContainerLogsOptions& options);
Result<int> Top(const Context& context, const std::string& container);
struct StatsOptions {
  Names containers;  // none: all that run
  bool once = false;
};
Result<int> ContainerStats(const Context& context, const StatsOptions& options);
Result<int> Port(const Context& context, const std::string& container, const std::string& port);
struct EventOptions {
  std::string since;
  std::string until;
  Names filters;
  bool no_follow = false;
};
Result<int> EngineEvents(const Context& context, const EventOptions& options);

// -------- processes and streams --------
struct ContainerExecOptions {
  std::string container;
  std::vector<std::string> command;
  bool interactive = false;
  bool terminal = false;
  bool detach = false;
  bool privileged = false;
  std::string user;
  std::string workdir;
  Names env;
  Names env_files;
};
Result<int> ContainerExec(const Context& context, const ContainerExecOptions& options);
Result<int> AttachTo(const Context& context, const std::string& container, bool no_stdin);
// Starts it, passes its streams on until it ends: its exit code. 0 when it was left by ctrl-p ctrl-q.
struct AttachedRun {
  std::string container;
  bool input = false;
  bool removed_at_end = false;
};
Result<int> RunAttached(const Context& context, const AttachedRun& run);

// -------- files --------
struct CopyOptions {
  std::string from;  // PATH, CONTAINER:PATH or "-", a tar
  std::string to;
  bool archive = false;  // owners as they are
};
Result<int> Copy(const Context& context, const CopyOptions& options);
Result<int> Diff(const Context& context, const std::string& container);
Result<int> Export(const Context& context, const std::string& container, const std::string& output);
struct CommitOptions {
  std::string container;
  std::string reference;
  Names changes;
  std::string author;
  std::string message;
  bool pause = true;
  bool quiet = false;
};
Result<int> Commit(const Context& context, const CommitOptions& options);

// -------- images --------
struct ImagesOptions {
  std::string reference;
  bool quiet = false;
  bool digests = false;
  bool all = false;
  Names filters;
};
Result<int> Images(const Context& context, const ImagesOptions& options);
Result<int> RemoveImages(const Context& context, const Names& images, bool force);
Result<int> TagImage(const Context& context, const std::string& image, const Names& references);
Result<int> History(const Context& context, const std::string& image);
Result<int> ImagePrune(const Context& context, bool all, const Names& filters);
struct BuildOptions {
  std::string context;
  std::string file;
  Names tags;
  Names arguments;
  Names labels;
  std::string target;
  bool no_cache = false;
  bool pull = false;
  bool quiet = false;
  std::string id_file;
};
Result<int> Build(const Context& context, const BuildOptions& options);

// -------- volumes --------
struct VolumeOptions {
  std::string name;
  std::string driver;
  Names labels;
  Names options;
};
Result<int> VolumeCreate(const Context& context, const VolumeOptions& options);
Result<int> VolumeList(const Context& context, const Names& filters, bool quiet);
Result<int> VolumeInspect(const Context& context, const Names& volumes);
Result<int> VolumeRemove(const Context& context, const Names& volumes, bool force);
Result<int> VolumePrune(const Context& context, bool all, const Names& filters);

// -------- networks --------
struct NetworkOptions {
  std::string name;
  std::string driver;
  Names labels;
  Names options;
  Names subnets;
  Names gateways;
  Names ranges;  // CIDR
  bool internal = false;
  bool ipv6 = false;
  bool no_dns = false;
};
Result<int> NetworkCreate(const Context& context, const NetworkOptions& options);
Result<int> NetworkList(const Context& context, const Names& filters, bool quiet);
Result<int> NetworkInspect(const Context& context, const Names& networks);
Result<int> NetworkRemove(const Context& context, const Names& networks);
Result<int> NetworkPrune(const Context& context);
struct ConnectOptions {
  std::string network;
  std::string container;
  Names aliases;
  std::string ipv4;
  std::string ipv6;
  bool force = false;
};
Result<int> NetworkConnect(const Context& context, const ConnectOptions& options);
Result<int> NetworkDisconnect(const Context& context, const ConnectOptions& options);

// -------- pods of several containers --------
// Of `options`: name, labels, ports, networks, hostname, DNS, hosts, sysctls, runtime.
Result<int> PodCreate(const Context& context, const RunOptions& options);
Result<int> PodStart(const Context& context, const Names& pods);
Result<int> PodPs(const Context& context, const Names& filters, bool quiet);

// Images, stopped containers, networks, and with `volumes` volumes, that nothing uses.
Result<int> SystemPrune(const Context& context, bool all, bool volumes);

// -------- shared --------

// Does `one` with each name: prints the name, or its error. kUnavailable and kUnimplemented end it at once.
Result<int> ForEach(const Names& names, const std::function<Status(const std::string&)>& one);

// kNotFound unless the server has exactly one. With its pod, in full.
Result<control::v1::ListContainersAllResponse> FindContainer(const Context& context, const std::string& name);
// Of the answer's, that of a container; null when it is not in it.
const control::v1::Pod* PodOf(const control::v1::ListContainersAllResponse& list,
                              const control::v1::Container& container);

// kPermissionDenied gets what to do instead behind it.
Status WithKubeletHint(Status status, std::string_view instead);

// Asks on the terminal unless `force`; false: no.
bool Confirmed(bool force, const std::string& question);

}  // namespace davit::cli
