// For tests: the calling thread is in a fresh network namespace, which stands for the node, for as long as this lives.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sys/namespaces.h"
#include "sys/unique_fd.h"

namespace davit::network {

class PrivateNode {
 public:
  PrivateNode() : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    if (::unshare(CLONE_NEWNET) != 0) ADD_FAILURE() << "unshare: " << std::strerror(errno);
    EXPECT_TRUE(sys::BringUpLoopback().ok());
  }
  PrivateNode(const PrivateNode&) = delete;
  PrivateNode& operator=(const PrivateNode&) = delete;
  ~PrivateNode() { EXPECT_EQ(::setns(before_.get(), CLONE_NEWNET), 0); }

 private:
  sys::UniqueFd before_;
};

}  // namespace davit::network
