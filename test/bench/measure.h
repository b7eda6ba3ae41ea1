// The measurements. Each asks the engines in turn, A B then B A, so that a change of the machine's load
// meets both; each is bounded and stops between two steps when `stop` is set.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine.h"
#include "report.h"

namespace davit::bench {

struct Plan {
  std::string image = "docker.io/library/busybox:latest";
  std::string pull_image;
  int iterations = 20;
  int warmup = 2;
  int pulls = 3;
  std::vector<int> pods = {1, 10, 50};
  int list_at = 100;

  std::string busy_endpoint;  // of the first engine, for more connections
  int busy_containers = 1000;
  int busy_creators = 2;
  int busy_seconds = 10;  // of reads in each situation
  int busy_stuck = 20;
  std::string stuck_handler;  // a runtime that stops itself at start; empty: nothing hangs
};

class Bench {
 public:
  // References outlive this.
  Bench(std::vector<Engine*> engines, const Plan& plan, Report& report, const std::atomic<bool>& stop)
      : engines_(std::move(engines)), plan_(plan), report_(report), stop_(stop) {}

  // RunPodSandbox, CreateContainer, StartContainer, ExecSync of `true`, StopContainer, StopPodSandbox,
  // RemovePodSandbox: each, and the sums of the first three and the last three.
  Status LifeCycle();
  // ListContainers and ListPodSandbox with plan.list_at containers, ten in a pod.
  Status List();
  // ListContainerStats, ListPodSandboxStats and ListPodSandboxMetrics with plan.list_at pods of one container.
  Status Stats();
  // PSS of the daemon and of each pod's helpers at plan.pods pods of one container.
  Status Memory();
  // Of the first engine: the lists at plan.busy_containers containers, at rest, while pods come and go, and
  // while moreover plan.busy_stuck starts hang in the kernel's hands (a stopped runtime process).
  Status Busy();
  // Wall time and CPU of pulling plan.pull_image, which is removed before each.
  Status Pull();

 private:
  // The engines in the order of round `i`.
  [[nodiscard]] std::vector<Engine*> Order(int i) const;
  Status OneLife(Engine& engine, bool record);
  Status MemoryOf(Engine& engine);
  Status Reads(Engine& engine, const std::string& when);
  Status OnePull(Engine& engine);
  Status RemoveAll(Engine& engine, const std::vector<Pod>& pods);

  const std::vector<Engine*> engines_;
  const Plan& plan_;
  Report& report_;
  const std::atomic<bool>& stop_;
};

}  // namespace davit::bench
