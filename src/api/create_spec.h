// CreateSpec: a request to make a container, in davitd's words, and what has to be looked up or made before it.
//
// DockerCreate and LibpodCreate translate and do nothing else, so that tests see what becomes of a client's body. What
// davitd cannot do is refused and named; what changes nothing that anybody could rely on becomes a warning. Nothing
// that isolates is dropped in silence.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_reader.h"
#include "base/result.h"
#include "davit/control/v1/standalone.pb.h"
#include "davit/control/v1/volumes.pb.h"

namespace davit::api {

struct NewVolume {
  ::davit::control::v1::CreateVolumeRequest request;
  ::davit::control::v1::NamedVolume mount;  // with the name of the one that is made
};

struct CreateSpec {
  ::davit::control::v1::CreateContainerRequest request;
  std::string image;                      // as the client names it
  std::string pod;                        // name or id of a pod; empty: one of its own
  std::string share_with;                 // container whose pod it joins (network "container:X")
  std::string pid_of;                     // container whose processes it sees
  std::vector<std::string> volumes_from;  // "container[:ro]"
  std::vector<NewVolume> new_volumes;     // with labels or options
  bool publish_all = false;               // each port that the image exposes, too
  std::vector<std::string> exposed;       // "80/tcp"
  std::vector<std::string> warnings;
};

Result<CreateSpec> DockerCreate(const JsonReader& body, const std::string& name);
Result<CreateSpec> LibpodCreate(const JsonReader& body, const std::string& name);

// What both have in common: one function for each thing that has a syntax of its own.
class SpecBuilder {
 public:
  CreateSpec spec;

  ::davit::control::v1::ContainerOptions& options() { return *spec.request.mutable_options(); }
  ::runtime::v1::ContainerConfig& config() { return *spec.request.mutable_config(); }
  ::runtime::v1::LinuxContainerSecurityContext& security() {
    return *config().mutable_linux()->mutable_security_context();
  }
  ::runtime::v1::LinuxContainerResources& resources() { return *config().mutable_linux()->mutable_resources(); }
  ::runtime::v1::PodSandboxConfig& pod() { return *spec.request.mutable_pod_config(); }
  ::davit::control::v1::PodOptions& pod_options() { return *spec.request.mutable_pod_options(); }

  // What holds of every container unless it says otherwise: the default seccomp profile, namespaces of its own.
  void Defaults();
  // kInvalidArgument unless it is [a-zA-Z0-9][a-zA-Z0-9_.-]*; an empty one is chosen.
  Status Name(std::string name);
  Status User(const std::string& text);  // "user[:group]", names or numbers
  Status Groups(const std::vector<std::string>& groups);
  Status Env(const std::vector<std::string>& pairs);
  Status SecurityOption(const std::string& text);
  Status Bind(const std::string& text);  // "source:target[:options]"
  Status Mount(const std::string& type, const std::string& source, const std::string& target,
               const std::vector<std::string>& options);
  Status Tmpfs(const std::string& target, const std::string& options);
  Status Port(const std::string& host_ip, int64_t host_port, int64_t container_port, const std::string& protocol);
  Status Namespaces(const std::string& pid, const std::string& ipc, const std::string& uts, const std::string& user,
                    const std::string& cgroup);
  // "", "default", "bridge", "podman", "host", "none", "container:X" or names of networks.
  Status Network(const std::string& mode);
  // "max-size" ("10m", "1.5g", "-1") and "max-file" of a log; others warn.
  Status LogOptions(const std::map<std::string, std::string>& options);
  void Warn(std::string text) { spec.warnings.push_back(std::move(text)); }

 private:
  bool host_network_ = false;
};

// A name for one that has none: "quiet_heron4".
std::string ChooseName();

}  // namespace davit::api
