#include "native/seccomp_agent.h"

#include <sys/socket.h>

#include "oci/json_writer.h"
#include "sys/unix_socket.h"

namespace davit::native {

Result<sys::UniqueFd> ConnectAgent(const SeccompFilter& filter) {
  if (filter.listener_path.empty()) return sys::UniqueFd();
  ASSIGN_OR_RETURN_WITH(sys::UniqueFd agent, sys::ConnectUnix(filter.listener_path, SOCK_STREAM),
                        "linux.seccomp.listenerPath");
  return agent;
}

std::string AgentMessage(const SeccompFilter& filter, const AgentState& state) {
  oci::JsonWriter out;
  out.BeginObject().Field("ociVersion", state.oci_version).Strings("fds", {"seccompFd"});
  out.Field("pid", static_cast<int64_t>(state.pid)).Field("metadata", filter.listener_metadata);
  out.Key("state").BeginObject().Field("ociVersion", state.oci_version).Field("id", state.id);
  out.Field("status", state.status).Field("pid", static_cast<int64_t>(state.init_pid)).Field("bundle", state.bundle);
  out.EndObject().EndObject();
  return std::move(out).Take();
}

}  // namespace davit::native
