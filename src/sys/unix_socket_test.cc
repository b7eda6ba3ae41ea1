#include "sys/unix_socket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>

#include "sys/temp_dir.h"

namespace davit::sys {
namespace {

Deadline Soon() { return Deadline::After(std::chrono::seconds(30)); }

TEST(UnixSocketTest, ConnectsWithExactModeAndTellsThePeer) {
  TempDir dir;
  auto listener = ListenUnix(dir.At("s"), SOCK_SEQPACKET, 0660);
  ASSERT_TRUE(listener.ok()) << listener.status().ToString();
  struct stat st;
  ASSERT_EQ(::stat(dir.At("s").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660U);
  auto client = ConnectUnix(dir.At("s"), SOCK_SEQPACKET);
  ASSERT_TRUE(client.ok()) << client.status().ToString();
  auto server = AcceptUnix(listener->get());
  ASSERT_TRUE(server.ok());
  EXPECT_EQ(::fcntl(server->get(), F_GETFD), FD_CLOEXEC);
  auto peer = PeerOf(server->get());
  ASSERT_TRUE(peer.ok());
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::geteuid());
}

TEST(UnixSocketTest, PathsOverSunPathWork) {
  TempDir dir;
  std::string deep = dir.At(std::string(100, 'd') + "/" + std::string(100, 'e'));
  ASSERT_TRUE(MakeDirectories(deep, 0700).ok());
  auto listener = ListenUnix(deep + "/monitor.sock", SOCK_STREAM);
  ASSERT_TRUE(listener.ok()) << listener.status().ToString();
  auto client = ConnectUnix(deep + "/monitor.sock", SOCK_STREAM);
  EXPECT_TRUE(client.ok()) << client.status().ToString();
  EXPECT_EQ(ListenUnix(deep + "/" + std::string(120, 'n'), SOCK_STREAM).code(), StatusCode::kInvalidArgument);
}

TEST(UnixSocketTest, ReplacesADeadSocketButNoOtherFile) {
  TempDir dir;
  { auto dead = ListenUnix(dir.At("s"), SOCK_STREAM); }
  EXPECT_EQ(ConnectUnix(dir.At("s"), SOCK_STREAM).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(ListenUnix(dir.At("s"), SOCK_STREAM).ok());
  EXPECT_EQ(ConnectUnix(dir.At("none"), SOCK_STREAM).code(), StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomic(dir.At("f"), "x", 0600, Durability::kAtomic).ok());
  EXPECT_EQ(ListenUnix(dir.At("f"), SOCK_STREAM).code(), StatusCode::kAlreadyExists);
}

TEST(UnixSocketTest, PassesDescriptors) {
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  auto pipe = MakePipe();
  ASSERT_TRUE(pair.ok() && pipe.ok());
  ASSERT_TRUE(SendWithFds(pair->first.get(), "hello", {pipe->read.get(), pipe->write.get()}).ok());
  auto message = ReceiveWithFds(pair->second.get(), 100, Soon());
  ASSERT_TRUE(message.ok()) << message.status().ToString();
  EXPECT_EQ(message->data, "hello");
  ASSERT_EQ(message->fds.size(), 2U);
  EXPECT_EQ(::fcntl(message->fds[0].get(), F_GETFD), FD_CLOEXEC);
  ASSERT_TRUE(WriteAll(message->fds[1].get(), "x").ok());
  char c = 0;
  EXPECT_EQ(::read(pipe->read.get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
}

TEST(UnixSocketTest, TooLongMessagesAreRefusedWithoutLeakingDescriptors) {
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair.ok());
  UniqueFd probe(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  int lowest = probe.get();
  probe.reset();
  ASSERT_TRUE(SendWithFds(pair->first.get(), std::string(101, 'x'), {pair->first.get()}).ok());
  EXPECT_EQ(ReceiveWithFds(pair->second.get(), 100, Soon()).code(), StatusCode::kOutOfRange);
  probe.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(probe.get(), lowest);
  EXPECT_EQ(SendWithFds(pair->first.get(), "", {}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(SendWithFds(pair->first.get(), "x", std::vector<int>(17, 0)).code(), StatusCode::kInvalidArgument);
}

TEST(UnixSocketTest, ClosedPeersAndDeadlinesAreTold) {
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair.ok());
  EXPECT_EQ(ReceiveWithFds(pair->first.get(), 10, Deadline::After(std::chrono::milliseconds(1))).code(),
            StatusCode::kDeadlineExceeded);
  pair->second.reset();
  auto closed = ReceiveWithFds(pair->first.get(), 10, Soon());
  ASSERT_TRUE(closed.ok());
  EXPECT_TRUE(closed->data.empty());
  EXPECT_EQ(SendWithFds(pair->first.get(), "x", {}).code(), StatusCode::kUnavailable);  // and no SIGPIPE
}

}  // namespace
}  // namespace davit::sys
