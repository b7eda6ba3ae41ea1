// CniNetwork: the node's network through CNI plugins, as other engines run them, so that every
// existing configuration and plugin works unchanged.
//
// What differs from running each plugin blindly (measured on two cores: 2.6 ms for each exec):
//   - "loopback" is not executed: `lo` is brought up when the namespace is made. A configuration that
//     holds nothing else (99-loopback.conf) is therefore no network.
//   - "portmap" is only executed for pods that ask for host ports (38 ms with iptables).
//   - Host ports asked for and no plugin with the capability "portMappings": the `portmap` plugin of
//     the plugin directories runs as one more, last plugin.
//   - Results are cached in the pod's record and not under /var/lib/cni.
//
// Configuration: the first file of `conf_dir` in lexical order that is valid, among *.conf, *.conflist
// and *.json. Invalid files are skipped, logged once for each change, and listed by StatusJson. The
// directory (or, while it does not exist, its nearest existing parent) is watched by inotify; nothing
// polls.
//
// Plugins: `type` is a single path component (CVE-2021-20206), looked up in `bin_dirs` in order; the
// file must be a regular executable owned by root and not writable by group or others. They get a
// minimal environment.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "network/network.h"
#include "sched/event_loop.h"

namespace davit::network {

struct CniOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"};
  std::string interface = "eth0";  // CNI_IFNAME
  bool builtin = false;            // what davitd can make by itself runs no plugin (builtin.h)
  // Plugins of other owners are refused. Tests that do not run as root set their own uid.
  unsigned plugin_owner = 0;
  // Runs what reads the disk after a change, e.g. ThreadPool::Post. Empty: on the loop's thread.
  std::function<void(std::function<void()>)> executor;
  // Called after each reload but the one of Create, where that ran, with the new readiness; must not
  // block. May be empty.
  std::function<void(const Readiness&)> on_change;
};

class CniNetwork final : public Network {
 public:
  // Loads the configuration once before it returns; a missing directory is not an error but "not
  // ready". `loop` outlives the network; nullptr: no watching (command-line tools, tests).
  // kResourceExhausted: no inotify instance left.
  static Result<std::unique_ptr<CniNetwork>> Create(CniOptions options, sched::EventLoop* loop);
  // Waits for a reload that runs; none runs afterwards. Not from on_change.
  ~CniNetwork() override;

  Result<Attachment> Plan(const NetworkRequest& request) override;
  Result<Attachment> Attach(const NetworkRequest& request, Attachment planned, Deadline deadline) override;
  Status Detach(const NetworkRequest& request, const Attachment& attachment, Deadline deadline) override;
  [[nodiscard]] Readiness Ready() const override;
  [[nodiscard]] std::string StatusJson() const override;

  // Reads the directory again, now, on the calling thread.
  void Reload();

 private:
  struct State;
  explicit CniNetwork(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace davit::network
