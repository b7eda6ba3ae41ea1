// Test fixture: a busybox root, a specification for it, and containers made of them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "native/container.h"
#include "sys/process.h"

namespace davit::native::testing {

class NativeFixture : public ::testing::Test {
 protected:
  void SetUp() override;     // skips without root or busybox
  void TearDown() override;  // ends what was made

  static Deadline Soon();
  // Makes a container of spec_ that waits at socket_; its output goes to Output().
  Result<Created> Create();
  // Create, Start, and what `sh -c script` has written by its end; exit_code_. A failure fails the test.
  std::string Run(const std::string& script);
  // The same for an exec.
  std::string Exec(const Created& container, const std::string& script);
  // What the container has written, once nobody writes any more.
  std::string Output();
  void Discard(const Created& container);                                           // kills and reaps it
  void WriteFile(const std::string& path, const std::string& text, unsigned mode);  // in the rootfs
  void OwnRootfs(uint32_t uid);
  [[nodiscard]] std::string Rootfs() const { return directory_ + "/bundle/rootfs"; }

  std::string directory_;
  std::string socket_;
  oci::RuntimeSpec spec_;
  CreateOptions options_;
  int exit_code_ = -1;

 private:
  std::string ReadTerminal();
  void Reap(pid_t pid);

  std::vector<pid_t> pids_;
  sys::UniqueFd output_;
  sys::UniqueFd console_;  // our end of the console socket
};

}  // namespace davit::native::testing
