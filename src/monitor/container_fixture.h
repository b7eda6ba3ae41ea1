// Test fixture: real containers of crun and runc from a busybox rootfs, each under a davit-monitor.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "monitor/client.h"

namespace davit::monitor::testing {

Deadline Soon();  // far longer than anything takes, so that a hang is a failure and not a hang

// A new directory with a rootfs, gone at the end together with every monitor and container made in it.
class ContainerFixture : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override;  // skips without root, busybox or the runtime
  void TearDown() override;

  struct Spec {
    std::string script;  // for sh -c
    bool terminal = false;
    bool open_stdin = false;
    bool stdin_once = false;
    bool log = true;
    bool host_pid = false;  // no PID namespace of its own
    int64_t memory_limit = 0;
    std::vector<std::string> argv;  // instead of sh -c script
  };
  // Writes the bundle; the container's name is its directory under the test's.
  LaunchOptions Prepare(const std::string& name, const Spec& spec);
  // Prepare, Launch and Start; fails the test on an error.
  State RunContainer(const std::string& name, const Spec& spec);
  ExecOptions ExecOf(const std::string& name, const std::vector<std::string>& argv, bool terminal = false);
  // Waits for the exit with a watch.
  ExitRecord WaitExit(const std::string& name);

  std::string Dir(const std::string& name) const { return root_ + "/" + name; }
  std::string LogText(const std::string& name, const std::string& file = "log");                // whole file
  std::vector<std::string> LogLines(const std::string& name, const std::string& file = "log");  // "stdout F text"
  std::vector<std::string> RuntimeArgv(const std::string& name, const std::string& log) const;

  std::string root_;
  std::vector<std::string> names_;
};

}  // namespace davit::monitor::testing
