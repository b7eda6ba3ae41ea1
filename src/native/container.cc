#include "native/container.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "native/channel.h"
#include "native/first_process.h"
#include "native/launch.h"
#include "oci/runtime_spec_reader.h"
#include "sys/process.h"
#include "sys/unix_socket.h"

namespace davit::native {
namespace {

// All that the caller makes ready before there is a process.
Result<FirstProcess> Prepare(const oci::RuntimeSpec& spec, const CreateOptions& options) {
  ASSIGN_OR_RETURN(Procfs procfs, Procfs::Open());
  FirstProcess first(spec, options, std::move(procfs));
  ASSIGN_OR_RETURN(first.plan, PlanProcess(spec.process, spec.linux_));
  ASSIGN_OR_RETURN(first.namespaces, PlanNamespaces(spec.linux_));
  if (!first.namespaces.Has(CLONE_NEWNS)) {
    return InvalidArgument("linux.namespaces: a container without a mount namespace would mount on the node");
  }
  ASSIGN_OR_RETURN(first.filter, SeccompOf(spec));
  ASSIGN_OR_RETURN(first.agent, ConnectAgent(first.filter));
  ASSIGN_OR_RETURN(first.mounts, PrepareMounts(spec, options.bundle));
  ASSIGN_OR_RETURN(first.channel, MakeChannel());
  return first;
}

// By the caller, who has the rights of the node: what root of a user namespace cannot do.
Status LimitsFromOutside(const FirstProcess& first, pid_t pid) {
  for (const auto& [resource, wanted] : first.plan.rlimits) {
    rlimit now = {};
    auto kind = static_cast<__rlimit_resource>(resource);
    if (::prlimit(pid, kind, nullptr, &now) != 0 || wanted.rlim_max <= now.rlim_max) continue;
    now.rlim_max = wanted.rlim_max;
    ::prlimit(pid, kind, &now, nullptr);  // refused: the process fails with the name of the limit
  }
  const std::optional<int32_t>& score = first.spec.process.oom_score_adj;
  if (!score) return {};
  // The file of a process that cannot be dumped belongs to root of the node.
  return first.procfs.Write(std::to_string(pid) + "/oom_score_adj", std::to_string(*score))
      .Annotate("process.oomScoreAdj");
}

// The conversation with the new process until it waits for its start, or runs.
class Creation {
 public:
  Creation(const FirstProcess& first, pid_t pid) : first_(first), pid_(pid) {}

  Status Run() {
    for (;;) {
      ASSIGN_OR_RETURN(std::optional<Note> note, Receive(first_.channel.caller.get()));
      if (!note) return Ended();
      if (note->word == Word::kCreated) return {};
      RETURN_IF_ERROR(Answer(*note));
    }
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  // Closed by an exec, or by a death.
  Status Ended() {
    bool waits = first_.options.start_listener >= 0;
    siginfo_t info = {};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
      return waits ? Internal("the new process did not wait for its start") : Status();
    }
    if (!waits && executed_) return {};
    if (info.si_code == CLD_EXITED)
      return Internal("the new process ended with code " + std::to_string(info.si_status));
    return Internal("the new process was killed by signal " + std::to_string(info.si_status) +
                    (info.si_status == 9 ? " (out of the memory that its cgroup allows?)" : ""));
  }

  Status Answer(const Note& note) {
    int fd = first_.channel.caller.get();
    switch (note.word) {
      case Word::kPid: {
        std::optional<uint64_t> real = ParseUint64(note.text);
        if (!real || *real < 1 || *real > 0x7fffffff) return Internal("no pid: " + Printable(note.text));
        pid_t between = std::exchange(pid_, static_cast<pid_t>(*real));
        while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
        }
        return Send(fd, Word::kGo);  // only now does it do or say anything
      }
      case Word::kMap:
        RETURN_IF_ERROR(WriteIdMaps(first_.procfs, pid_, first_.spec.linux_));
        return Send(fd, Word::kGo);
      case Word::kReady:
        RETURN_IF_ERROR(LimitsFromOutside(first_, pid_));
        if (first_.options.create_runtime) RETURN_IF_ERROR(first_.options.create_runtime(pid_));
        return Send(fd, Word::kGo, std::to_string(pid_));
      case Word::kExecuting:
        executed_ = true;
        return {};
      default:
        return Internal("unexpected word of the new process");
    }
  }

  const FirstProcess& first_;
  pid_t pid_;
  bool executed_ = false;
};

}  // namespace

Status CheckSpec(const oci::RuntimeSpec& spec) {
  RETURN_IF_ERROR(oci::ValidateRuntimeSpec(spec));
  for (size_t i = 0; i < spec.mounts.size(); ++i) {
    RETURN_IF_ERROR(ParseMountOptions(spec.mounts[i]).status().Annotate(MountName(spec, i)));
  }
  for (const auto& [name, value] : spec.linux_.sysctl) {
    RETURN_IF_ERROR(SysctlPath(name).status().Annotate("linux.sysctl"));
  }
  return PlanProcess(spec.process, spec.linux_).status();
}

Result<Created> CreateContainer(const oci::RuntimeSpec& spec, const CreateOptions& options) {
  RETURN_IF_ERROR(CheckSpec(spec));
  ASSIGN_OR_RETURN(FirstProcess first, Prepare(spec, options));
  CloneRequest request;
  request.cgroup = options.cgroup.unified;
  bool between = first.namespaces.NeedsBetween();
  if (!between) request.flags = first.namespaces.create;
  ASSIGN_OR_RETURN(Created made, Clone(request, [&] { between ? first.RunBetween() : first.Run(); }));
  first.channel.child.reset();
  Creation creation(first, made.pid);
  Status outcome = creation.Run();
  if (!outcome.ok()) {
    KillAndReap(creation.pid());
    return outcome;
  }
  if (creation.pid() != made.pid) {
    // Our child, not reaped: the pid cannot be another's.
    ASSIGN_OR_RETURN(made.pidfd, OpenPidfd(creation.pid()));
    made.pid = creation.pid();
  }
  return made;
}

Status Start(const std::string& socket, Deadline deadline) {
  Result<sys::UniqueFd> connection = sys::ConnectUnix(socket, SOCK_SEQPACKET);
  if (connection.code() == StatusCode::kNotFound || connection.code() == StatusCode::kUnavailable) {
    return FailedPrecondition("nobody waits to be started: the container runs already, or has ended");
  }
  if (!connection.ok()) return connection.status();
  return StartOn(connection->get(), deadline);
}

Status StartOn(int connection, Deadline deadline) {
  RETURN_IF_ERROR(Send(connection, Word::kStart));
  // Understood, and then closed by the exec; or an error, before or after.
  ASSIGN_OR_RETURN(std::string ignored, Await(connection, Word::kStart, deadline));
  ASSIGN_OR_RETURN(std::optional<Note> note, Receive(connection, deadline));
  return note ? Internal("unexpected word of the new process") : Status();
}

}  // namespace davit::native
