#include "native/first_process.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/strings.h"
#include "native/credentials.h"
#include "native/devices.h"
#include "native/launch.h"
#include "native/masks.h"
#include "native/program.h"
#include "native/rootfs.h"
#include "native/target.h"
#include "sys/namespaces.h"
#include "sys/unix_socket.h"

namespace davit::native {
namespace {

// Out of reach of everything else in a PID namespace that others are in, too, until the exec (ptrace(2), "Ptrace access
// mode checking"): our descriptors, and our memory.
Status HideSelf() {
  return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? Status() : ErrnoError(errno, "hide the process");
}

}  // namespace

Status FirstProcess::JoinAndClone() {
  RETURN_IF_ERROR(HideSelf());
  RETURN_IF_ERROR(EnterCgroups(options.cgroup));
  if (namespaces.new_time) RETURN_IF_ERROR(MakeTimeNamespace(procfs, spec.linux_.time_offsets));
  RETURN_IF_ERROR(JoinNamespaces(namespaces));
  in_between_ = true;
  CloneRequest request;
  request.flags = namespaces.create | CLONE_PARENT;
  ASSIGN_OR_RETURN(Created made, Clone(request, [this] { Run(); }));
  return Send(channel.child.get(), Word::kPid, std::to_string(made.pid));
}

void FirstProcess::RunBetween() {
  channel.caller.reset();
  Status status = JoinAndClone();
  if (!status.ok()) IgnoreError(SendError(channel.child.get(), status));
  ::_exit(status.ok() ? 0 : 1);
}

void FirstProcess::Run() {
  channel.caller.reset();
  Status status = BecomeContainer();
  // Whoever waits for us by now: the caller of Start(), or of CreateContainer.
  if (start_.valid()) {
    IgnoreError(SendError(start_.get(), status));
  } else {
    IgnoreError(SendError(channel.child.get(), status));
  }
  ::_exit(1);
}

Status FirstProcess::EnterNamespaces() {
  if (in_between_) {
    // The caller has to know of us before it hears us.
    RETURN_IF_ERROR(Await(channel.child.get(), Word::kGo).status());
  } else {
    RETURN_IF_ERROR(HideSelf());
    RETURN_IF_ERROR(EnterCgroups(options.cgroup));
    RETURN_IF_ERROR(JoinNamespaces(namespaces));
  }
  if (namespaces.Creates(CLONE_NEWUSER)) {
    RETURN_IF_ERROR(Send(channel.child.get(), Word::kMap));
    RETURN_IF_ERROR(Await(channel.child.get(), Word::kGo).status());
  }
  if (namespaces.Has(CLONE_NEWUSER)) RETURN_IF_ERROR(BecomeRoot());
  if (::setsid() < 0 && errno != EPERM) return ErrnoError(errno, "setsid");
  return HideSelf();
}

Status FirstProcess::SetNames() {
  if (!spec.hostname.empty() && ::sethostname(spec.hostname.data(), spec.hostname.size()) != 0) {
    return ErrnoError(errno, "hostname " + Printable(spec.hostname));
  }
  if (!spec.domainname.empty() && ::setdomainname(spec.domainname.data(), spec.domainname.size()) != 0) {
    return ErrnoError(errno, "domainname " + Printable(spec.domainname));
  }
  return {};
}

// In a mount namespace of others nothing is attached that they would see, and nothing pivoted.
Result<int> FirstProcess::AttachedRoot() {
  if (namespaces.Creates(CLONE_NEWNS)) {
    RETURN_IF_ERROR(AttachRoot(mounts.root.get()));
    return mounts.root.get();
  }
  ASSIGN_OR_RETURN_WITH(mounts.root, sys::Open(mounts.root_path, O_PATH | O_DIRECTORY), "root");
  return mounts.root.get();
}

Status FirstProcess::BuildRoot() {
  ASSIGN_OR_RETURN(int root, AttachedRoot());
  RootSetup setup{spec, mounts, procfs, root, namespaces.Has(CLONE_NEWUSER)};
  RETURN_IF_ERROR(MountAll(setup));
  RETURN_IF_ERROR(MakeDevices(setup));
  RETURN_IF_ERROR(MakeDeviceLinks(setup));
  if (spec.process.terminal) {
    ASSIGN_OR_RETURN_WITH(terminal_, OpenTerminal(procfs, root, spec.process), "terminal");
    RETURN_IF_ERROR(MountConsole(root, terminal_).Annotate("/dev/console"));
  }
  // Where it can be made; where not, entering it says why.
  if (!spec.process.cwd.empty()) IgnoreError(MakeDirectoryTarget(root, spec.process.cwd).status());
  if (namespaces.new_cgroup && ::unshare(CLONE_NEWCGROUP) != 0) return ErrnoError(errno, "make a cgroup namespace");
  if (options.create_container) RETURN_IF_ERROR(options.create_container(pid_));
  RETURN_IF_ERROR(MakePathsReadonly(setup));
  RETURN_IF_ERROR(MaskPaths(setup));
  if (namespaces.Creates(CLONE_NEWNS)) return EnterRoot(setup, options.no_pivot);
  if (::fchdir(root) != 0 || ::chroot(".") != 0) return ErrnoError(errno, "enter the root");
  return {};
}

Status FirstProcess::SetSysctls() {
  for (const auto& [name, value] : spec.linux_.sysctl) {
    std::string where = "linux.sysctl " + Printable(name);
    ASSIGN_OR_RETURN_WITH(std::string path, SysctlPath(name), where);
    RETURN_IF_ERROR(procfs.Write("sys/" + path, value).Annotate(where));
  }
  return {};
}

Status FirstProcess::Wait() {
  int listener = options.start_listener;
  if (listener < 0) return {};
  RETURN_IF_ERROR(Send(channel.child.get(), Word::kCreated));
  channel.child.reset();
  for (;;) {
    ASSIGN_OR_RETURN(sys::UniqueFd connection, sys::AcceptUnix(listener));
    Result<std::string> word = Await(connection.get(), Word::kStart);
    if (!word.ok() || !Send(connection.get(), Word::kStart).ok()) continue;  // gone again: the next one
    start_ = std::move(connection);
    return {};
  }
}

Status FirstProcess::Finish() {
  if (options.start_container) RETURN_IF_ERROR(options.start_container(pid_));
  if (spec.process.terminal) RETURN_IF_ERROR(TakeTerminal(terminal_));
  ProcessSetup setup{spec.process, plan, procfs, filter, options.streams, options.preserve_fds};
  if (!options.no_new_keyring) setup.keyring = "_ses." + options.id;
  setup.error_channel = start_.valid() ? start_.get() : channel.child.get();
  if (agent.valid()) {
    AgentState state{spec.oci_version, options.id, options.bundle, "creating", pid_, pid_};
    setup.agent = agent.get();
    setup.agent_message = AgentMessage(filter, state);
  }
  if (!start_.valid()) RETURN_IF_ERROR(Send(channel.child.get(), Word::kExecuting));
  return RunProgram(setup);
}

Status FirstProcess::BecomeContainer() {
  RETURN_IF_ERROR(EnterNamespaces());
  RETURN_IF_ERROR(Send(channel.child.get(), Word::kReady));
  ASSIGN_OR_RETURN(std::string pid, Await(channel.child.get(), Word::kGo));
  pid_ = static_cast<pid_t>(ParseUint64(pid).value_or(0));
  RETURN_IF_ERROR(SetNames());
  if (namespaces.Creates(CLONE_NEWNET)) RETURN_IF_ERROR(sys::BringUpLoopback());
  RETURN_IF_ERROR(BuildRoot());
  RETURN_IF_ERROR(SetSysctls());
  if (spec.process.terminal) RETURN_IF_ERROR(SendTerminal(options.console, terminal_).Annotate("console socket"));
  // A program that is not there is an error of the creation; what the user may do is seen at the start.
  RETURN_IF_ERROR(FindProgram(spec.process).status());
  RETURN_IF_ERROR(Wait());
  return Finish();
}

}  // namespace davit::native
