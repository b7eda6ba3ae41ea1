#include "cli/cri_run.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/ids.h"
#include "base/rollback.h"
#include "cli/commands.h"
#include "cli/log_follow.h"
#include "cli/run_spec.h"
#include "cli/standalone_spec.h"
#include "cli/stream_client.h"
#include "runtime/v1/cri.pb.h"
#include "sys/atomic_file.h"

namespace davit::cli {
namespace {

constexpr int64_t kStopGraceSeconds = 10;
constexpr int kMostEndPolls = 100;

// What a run has made on the server.
struct Made {
  std::string pod;
  std::string container;
  std::string log_path;
};

Status TakeDown(const Context& context, const std::string& pod, const std::string& log_directory) {
  cri::StopPodSandboxRequest stop;
  stop.set_pod_sandbox_id(pod);
  RETURN_IF_ERROR(context.client.Call(stop).status());
  cri::RemovePodSandboxRequest remove;
  remove.set_pod_sandbox_id(pod);
  RETURN_IF_ERROR(context.client.Call(remove).status());
  IgnoreError(sys::RemoveTree(log_directory));  // the server made it, perhaps where only it may write
  return {};
}

// ^C stops the container; its exit then ends the run as any exit does.
std::function<void(int)> StopOnSignal(const Context& context, const std::string& id) {
  return [&context, id](int signal) {
    if (signal == SIGWINCH) return;
    cri::StopContainerRequest request;
    request.set_container_id(id);
    request.set_timeout(kStopGraceSeconds);
    IgnoreError(context.client.Call(request).status());  // a container that has just ended needs none
  };
}

Result<StreamClient> Attach(const Context& context, const RunOptions& options, const std::string& id) {
  cri::AttachRequest request;
  request.set_container_id(id);
  request.set_stdin(options.interactive);
  request.set_tty(options.terminal);
  request.set_stdout(true);
  request.set_stderr(!options.terminal);
  ASSIGN_OR_RETURN(cri::AttachResponse response, context.client.Call(request));
  return StreamClient::Connect(response.url());
}

// A container that runs is the user's: from here on only --rm takes it down, whatever becomes of davit.
Status Start(const Context& context, const RunOptions& options, const std::string& id, Rollback& undo) {
  cri::StartContainerRequest request;
  request.set_container_id(id);
  RETURN_IF_ERROR(context.client.Call(request).status());
  if (!options.remove) undo.Commit();
  return {};
}

// The output as the log has it: complete whenever we come, and it survives a restart of the server.
Result<std::optional<int>> FollowOutput(const Context& context, const RunOptions& options, const Made& made,
                                        Rollback& undo) {
  RETURN_IF_ERROR(Start(context, options, made.container, undo));
  ASSIGN_OR_RETURN_WITH(client::LogFile file, client::LogFile::Open(made.log_path), "read the container's log");
  LogFollower follower(std::move(file), false);
  return follower.Follow(context, made.container, StopOnSignal(context, made.container));
}

// The streams themselves, for what is typed. Attached before the start where the server allows it, so that
// no output is missed.
Result<std::optional<int>> AttachedOutput(const Context& context, const RunOptions& options, const Made& made,
                                          Rollback& undo) {
  Result<StreamClient> client = Attach(context, options, made.container);
  RETURN_IF_ERROR(Start(context, options, made.container, undo));
  if (!client.ok()) client = Attach(context, options, made.container);
  RETURN_IF_ERROR(client.status());
  StreamOptions stream = OwnStreams(options.interactive, options.terminal, context.signals);
  stream.on_signal = StopOnSignal(context, made.container);
  ASSIGN_OR_RETURN(StreamResult result, client->Run(stream));
  if (result.end == StreamEnd::kDetached) return std::optional<int>();
  // The streams may end a little before the exit is recorded.
  for (int i = 0; i < kMostEndPolls; ++i) {
    ASSIGN_OR_RETURN(std::optional<int> code, ExitCodeOf(context, made.container));
    if (code) return code;
    ::usleep(50'000);
  }
  return Unavailable("the connection to the container ended, and it still runs: davit ctr attach " +
                     made.container.substr(0, 13));
}

Result<Made> Create(const Context& context, const RunOptions& options, const cri::PodSandboxConfig& pod,
                    const cri::ContainerConfig& container, Rollback& undo) {
  cri::RunPodSandboxRequest run;
  *run.mutable_config() = pod;
  run.set_runtime_handler(options.handler);
  ASSIGN_OR_RETURN(cri::RunPodSandboxResponse ran, context.client.Call(run));
  Made made;
  made.pod = ran.pod_sandbox_id();
  undo.Add("pod", [&context, id = made.pod, logs = pod.log_directory()] { return TakeDown(context, id, logs); });
  cri::CreateContainerRequest create;
  create.set_pod_sandbox_id(made.pod);
  *create.mutable_config() = container;
  *create.mutable_sandbox_config() = pod;
  ASSIGN_OR_RETURN(cri::CreateContainerResponse created, context.client.Call(create));
  made.container = created.container_id();
  made.log_path = pod.log_directory() + "/" + container.log_path();
  return made;
}

}  // namespace

Result<int> RunByCri(const Context& context, const RunOptions& options) {
  if (options.detach && options.remove)
    return InvalidArgument("run: --rm needs the foreground; without it: davit pod remove -f");
  if (std::string flag = FlagOfDavitd(options); !flag.empty()) {
    return Unimplemented("run: " + flag + " needs davitd: this socket is another runtime's, which makes pods alone");
  }
  std::string uid = MintId().substr(0, 32);
  std::string name = options.name.empty() ? "run-" + uid.substr(0, 8) : options.name;
  ASSIGN_OR_RETURN(cri::PodSandboxConfig pod, RunPodConfig(options, name, uid));
  ASSIGN_OR_RETURN(cri::ContainerConfig container, RunContainerConfig(options, name));

  Rollback undo;
  ASSIGN_OR_RETURN(Made made, Create(context, options, pod, container, undo));
  if (options.detach) {
    RETURN_IF_ERROR(Start(context, options, made.container, undo));
    PrintLine(made.pod);
    PrintLine(made.container);
    return 0;
  }
  bool attached = options.interactive || options.terminal;
  Result<std::optional<int>> code =
      attached ? AttachedOutput(context, options, made, undo) : FollowOutput(context, options, made, undo);
  RETURN_IF_ERROR(code.status());
  if (!*code) undo.Commit();  // left by its keys, or removed by another: nothing to take down
  RETURN_IF_ERROR(undo.Run());
  return code->value_or(0);
}

}  // namespace davit::cli
