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

// As root, who may pass where the user may not; and once more as the user, where root of the node may not (NFS).
Status EnterDirectoryAs(const ProcessSetup& setup, bool user) {
  Status entered = EnterDirectory(setup.process.cwd);
  return user || entered.code() != StatusCode::kPermissionDenied ? entered : Status();
}

}  // namespace

Status RunProgram(const ProcessSetup& setup) {
  const oci::Process& process = setup.process;
  if (!setup.keyring.empty()) RETURN_IF_ERROR(JoinKeyring(setup.keyring));
  RETURN_IF_ERROR(SetSecurityLabels(setup.procfs, process));
  const std::vector<std::string> environment = EnvironmentOf(process);
  RETURN_IF_ERROR(EnterDirectoryAs(setup, false));
  if (!process.terminal) RETURN_IF_ERROR(TakeStreams(setup.streams));
  RETURN_IF_ERROR(ApplyKernelSettings(setup.plan));
  if (process.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return ErrnoError(errno, "process.noNewPrivileges");
  }
  if (!process.no_new_privileges) RETURN_IF_ERROR(Filter(setup));
  RETURN_IF_ERROR(TakeCredentials(process, setup.plan.capabilities));
  RETURN_IF_ERROR(EnterDirectoryAs(setup, true));
  ASSIGN_OR_RETURN(std::string program, FindProgram(process));
  ResetSignals();
  RETURN_IF_ERROR(CloseOthersOnExec(setup.preserve_fds));
  if (process.no_new_privileges) RETURN_IF_ERROR(Filter(setup));
  return Execute(program, process, environment);
}

}  // namespace davit::native
