// One CRI engine under measurement: its pods, and how to be rid of them. Start may run in several threads at
// once; the rest is for one thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "client/client.h"

namespace davit::bench {

struct Pod {
  std::string id;
  std::vector<std::string> containers;
  std::string config;  // serialised PodSandboxConfig: other engines than davitd need it again at create
};

class Engine {
 public:
  // Asks for the version, which also names the engine. `tag` tells two engines of the same name apart.
  static Result<std::unique_ptr<Engine>> Connect(const std::string& endpoint, const std::string& tag, pid_t daemon);
  ~Engine();  // removes every pod that is still there

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& version() const { return version_; }
  [[nodiscard]] pid_t daemon() const { return daemon_; }  // 0: not known
  client::Client& client() { return *client_; }

  Status EnsureImage(const std::string& image);
  // A pod with its own network namespace and a name that no other has.
  Result<Pod> RunPod(const std::string& handler = "");
  // A shell that ends at SIGTERM, in the pod; its id is added to the pod. Created, not started.
  Result<std::string> Create(Pod& pod, const std::string& image);
  Status Start(const std::string& container);
  Result<int> ExecTrue(const std::string& container);
  Status Stop(const std::string& container);
  Status StopPod(const Pod& pod);
  Status RemovePod(const Pod& pod);

 private:
  Engine(std::unique_ptr<client::Client> client, std::string name, std::string version, pid_t daemon);

  const std::unique_ptr<client::Client> client_;
  const std::string name_;
  const std::string version_;
  const pid_t daemon_;
  const std::string logs_;  // directory of this run's logs
  std::vector<std::string> alive_;
  size_t pods_ = 0;
};

}  // namespace davit::bench
