#include "native/exec.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/strings.h"
#include "native/channel.h"
#include "native/credentials.h"
#include "native/launch.h"
#include "native/process_setup.h"
#include "native/program.h"
#include "native/seccomp_agent.h"

namespace davit::native {
namespace {

struct Kind {
  const char* name;
  int flag;
};
constexpr std::array<Kind, 8> kKinds = {{{"user", CLONE_NEWUSER},
                                         {"mnt", CLONE_NEWNS},
                                         {"pid", CLONE_NEWPID},
                                         {"net", CLONE_NEWNET},
                                         {"ipc", CLONE_NEWIPC},
                                         {"uts", CLONE_NEWUTS},
                                         {"cgroup", CLONE_NEWCGROUP},
                                         {"time", CLONE_NEWTIME}}};

constexpr unsigned kMaxCpus = 1024;

// Made by the caller, run in the child.
struct ExecProcess {
  const oci::RuntimeSpec& spec;
  const oci::Process& process;
  const ExecOptions& options;
  Procfs procfs;
  ProcessPlan plan = {};
  SeccompFilter filter = {};
  sys::UniqueFd agent = {};
  sys::UniqueFd root = {};  // of the container's first process
  int namespaces = 0;       // CLONE_NEW* in which it is elsewhere
  Channel channel = {};
  pid_t pid = -1;

  void Run();
  void RunBetween();
  Status JoinAndClone();
  Status BecomeProcess();
  Status EnterRoot() const;
};

Result<struct stat> Look(const Procfs& procfs, const std::string& directory, const std::string& name) {
  ASSIGN_OR_RETURN(sys::UniqueFd parent, procfs.OpenFile(directory, O_PATH | O_DIRECTORY));
  struct stat st;
  if (::fstatat(parent.get(), name.c_str(), &st, 0) != 0)
    return ErrnoError(errno, "look at /proc/" + directory + "/" + name);
  return st;
}

// Namespaces in which the container's process is and we are not. A kind that the kernel lacks is none.
Result<int> Differing(const Procfs& procfs, pid_t pid) {
  int flags = 0;
  for (const Kind& kind : kKinds) {
    Result<struct stat> theirs = Look(procfs, std::to_string(pid) + "/ns", kind.name);
    Result<struct stat> ours = Look(procfs, std::to_string(::getpid()) + "/ns", kind.name);
    if (ours.code() == StatusCode::kNotFound) continue;
    if (!ours.ok()) return ours.status();
    if (!theirs.ok()) return theirs.status();
    if (theirs->st_ino != ours->st_ino || theirs->st_dev != ours->st_dev) flags |= kind.flag;
  }
  return flags;
}

Result<sys::UniqueFd> OpenRootOf(const Procfs& procfs, pid_t pid) {
  ASSIGN_OR_RETURN(sys::UniqueFd directory, procfs.OpenFile(std::to_string(pid), O_PATH | O_DIRECTORY));
  sys::UniqueFd root(::openat(directory.get(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return ErrnoError(errno, "open the root of process " + std::to_string(pid));
  return root;
}

Result<ExecProcess> Prepare(const oci::RuntimeSpec& spec, const oci::Process& process, const ExecOptions& options) {
  ASSIGN_OR_RETURN(Procfs procfs, Procfs::Open());
  ExecProcess exec{spec, process, options, std::move(procfs)};
  ASSIGN_OR_RETURN(exec.plan, PlanProcess(process, spec.linux_));
  ASSIGN_OR_RETURN(exec.filter, SeccompOf(spec));
  ASSIGN_OR_RETURN(exec.agent, ConnectAgent(exec.filter));
  ASSIGN_OR_RETURN(exec.namespaces, Differing(exec.procfs, options.init_pid));
  ASSIGN_OR_RETURN(exec.root, OpenRootOf(exec.procfs, options.init_pid));
  // Still the same process: nothing of the above was of another one that had got its number.
  if (::syscall(SYS_pidfd_send_signal, options.init_pidfd, 0, nullptr, 0) != 0) {
    return FailedPrecondition("the container's first process has ended");
  }
  ASSIGN_OR_RETURN(exec.channel, MakeChannel());
  return exec;
}

Status SetAffinity(const std::string& cpus, const char* field) {
  if (cpus.empty()) return {};
  ASSIGN_OR_RETURN_WITH(std::vector<unsigned> list, ParseNumberList(cpus, kMaxCpus), field);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (unsigned cpu : list) CPU_SET(cpu, &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0 ? Status() : ErrnoError(errno, field);
}

void ExecProcess::RunBetween() {
  channel.caller.reset();
  Status status = JoinAndClone();
  if (!status.ok()) IgnoreError(SendError(channel.child.get(), status));
  ::_exit(status.ok() ? 0 : 1);
}

Status ExecProcess::JoinAndClone() {
  const auto& affinity = process.exec_cpu_affinity;
  if (affinity) RETURN_IF_ERROR(SetAffinity(affinity->initial, "process.execCPUAffinity.initial"));
  // Before we can be seen from inside (CVE-2019-5736, CVE-2016-9962).
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoError(errno, "hide the process");
  RETURN_IF_ERROR(EnterCgroups(options.cgroup));
  if (affinity) RETURN_IF_ERROR(SetAffinity(affinity->final_, "process.execCPUAffinity.final"));
  if (namespaces != 0 && ::setns(options.init_pidfd, namespaces) != 0) {
    if (errno == ESRCH) return FailedPrecondition("the container's first process has ended");
    return ErrnoError(errno, "join the namespaces of the container");
  }
  CloneRequest request;
  request.flags = CLONE_PARENT;
  ASSIGN_OR_RETURN(Created made, Clone(request, [this] { Run(); }));
  return Send(channel.child.get(), Word::kPid, std::to_string(made.pid));
}

void ExecProcess::Run() {
  IgnoreError(SendError(channel.child.get(), BecomeProcess()));
  ::_exit(1);
}

// setns(2) leads to the root of the mount namespace; the container's may be elsewhere (no_pivot).
Status ExecProcess::EnterRoot() const {
  if (::fchdir(root.get()) != 0) return ErrnoError(errno, "enter the container's root");
  return ::chroot(".") == 0 ? Status() : ErrnoError(errno, "chroot to the container's root");
}

Status ExecProcess::BecomeProcess() {
  int fd = channel.child.get();
  ASSIGN_OR_RETURN(std::string number, Await(fd, Word::kGo));
  pid = static_cast<pid_t>(ParseUint64(number).value_or(0));
  if ((namespaces & CLONE_NEWUSER) != 0) RETURN_IF_ERROR(BecomeRoot());
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoError(errno, "hide the process");
  if (::setsid() < 0) return ErrnoError(errno, "setsid");
  RETURN_IF_ERROR(EnterRoot());
  if (process.terminal) {
    ASSIGN_OR_RETURN(sys::UniqueFd here, sys::Open("/", O_PATH | O_DIRECTORY));
    ASSIGN_OR_RETURN_WITH(Terminal terminal, OpenTerminal(procfs, here.get(), process), "terminal");
    RETURN_IF_ERROR(SendTerminal(options.console, terminal).Annotate("console socket"));
    RETURN_IF_ERROR(TakeTerminal(terminal));
  }
  ProcessSetup setup{process, plan, procfs, filter, options.streams, options.preserve_fds};
  if (!options.no_new_keyring) setup.keyring = "_ses." + options.id;
  setup.error_channel = fd;
  if (agent.valid()) {
    AgentState state{spec.oci_version, options.id, "", "running", options.init_pid, pid};
    setup.agent = agent.get();
    setup.agent_message = AgentMessage(filter, state);
  }
  RETURN_IF_ERROR(Send(fd, Word::kExecuting));
  return RunProgram(setup);
}

// Until the channel closes: by the exec, once the process has said that it is about to.
Status Converse(const ExecProcess& exec, pid_t& pid) {
  int fd = exec.channel.caller.get();
  bool executing = false;
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<Note> note, Receive(fd));
    if (!note && executing) return {};
    if (!note) return Internal("the new process ended before its exec");
    if (note->word == Word::kPid) {
      pid_t between = std::exchange(pid, static_cast<pid_t>(ParseUint64(note->text).value_or(0)));
      while (::waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
      }
      if (exec.process.oom_score_adj) {
        RETURN_IF_ERROR(
            exec.procfs.Write(std::to_string(pid) + "/oom_score_adj", std::to_string(*exec.process.oom_score_adj))
                .Annotate("process.oomScoreAdj"));
      }
      RETURN_IF_ERROR(Send(fd, Word::kGo, std::to_string(pid)));
    } else if (note->word == Word::kExecuting) {
      executing = true;
    } else {
      return Internal("unexpected word of the new process");
    }
  }
}

}  // namespace

Result<Created> ExecInContainer(const oci::RuntimeSpec& spec, const oci::Process& process, const ExecOptions& options) {
  ASSIGN_OR_RETURN(ExecProcess exec, Prepare(spec, process, options));
  CloneRequest request;
  request.cgroup = options.cgroup.unified;
  ASSIGN_OR_RETURN(Created made, Clone(request, [&] { exec.RunBetween(); }));
  exec.channel.child.reset();
  pid_t pid = made.pid;
  Status outcome = Converse(exec, pid);
  if (!outcome.ok()) {
    KillAndReap(pid);
    return outcome;
  }
  ASSIGN_OR_RETURN(sys::UniqueFd pidfd, OpenPidfd(pid));
  return Created{pid, std::move(pidfd)};
}

}  // namespace davit::native
