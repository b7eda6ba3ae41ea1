#include "native/process_setup.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>

#include "native/credentials.h"
#include "native/program.h"
#include "sys/unix_socket.h"

namespace davit::native {
namespace {

Status Filter(const ProcessSetup& setup) {
  ASSIGN_OR_RETURN_WITH(sys::UniqueFd notify, LoadSeccomp(setup.filter), "linux.seccomp");
  if (!notify.valid()) return {};
  return sys::SendWithFds(setup.agent, setup.agent_message, {notify.get()}).Annotate("linux.seccomp.listenerPath");
}

}  // namespace

Status RunProgram(const ProcessSetup& setup) {
  const oci::Process& process = setup.process;
  if (!setup.keyring.empty()) RETURN_IF_ERROR(JoinKeyring(setup.keyring));
  RETURN_IF_ERROR(SetSecurityLabels(setup.procfs, process));
  const std::vector<std::string> environment = EnvironmentOf(setup.procfs, process);
  if (!process.terminal) RETURN_IF_ERROR(TakeStreams(setup.streams));
  RETURN_IF_ERROR(CloseOthers(setup.preserve_fds, {setup.error_channel, setup.agent}));
  // As root, who may pass where the user may not; else as the user, who may where root of the node may not (NFS).
  Status entered = EnterDirectory(process.cwd);
  if (entered.code() != StatusCode::kPermissionDenied) RETURN_IF_ERROR(entered);
  RETURN_IF_ERROR(ApplyKernelSettings(setup.plan));
  if (process.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return ErrnoError(errno, "process.noNewPrivileges");
  }
  // Before the filter, which may forbid the calls that looking takes. Again as the user, for programs that root does
  // not see.
  Result<std::string> program = FindProgram(process);
  if (!process.no_new_privileges) RETURN_IF_ERROR(Filter(setup));
  RETURN_IF_ERROR(TakeCredentials(process, setup.plan.capabilities));
  if (!entered.ok()) RETURN_IF_ERROR(EnterDirectory(process.cwd));
  if (!program.ok()) program = FindProgram(process);
  RETURN_IF_ERROR(program.status());
  ResetSignals();
  if (process.no_new_privileges) RETURN_IF_ERROR(Filter(setup));
  return Execute(*program, process, environment);
}

}  // namespace davit::native
