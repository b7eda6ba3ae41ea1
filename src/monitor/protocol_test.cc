#include "monitor/protocol.h"

#include <gtest/gtest.h>

#include <random>

namespace davit::monitor {
namespace {

TEST(ProtocolTest, LaunchOptionsSurviveTheTrip) {
  LaunchOptions options;
  options.directory = "/run/x";
  options.log_path = "/var/log/a b.log";
  options.terminal = true;
  options.open_stdin = true;
  options.stdin_once = true;
  options.create_argv = {"crun", "create", ""};
  options.start_argv = {"crun", "start"};
  options.environment = {"A=1", "B="};
  options.pid_file = "/p";
  options.console_socket = "/c";
  options.runtime_log = "/r";
  options.oom_file = "/o";
  options.max_log_line_bytes = 4096;
  options.stdio_owner = 4'000'000'000u;
  Result<LaunchOptions> back = DecodeLaunchOptions(EncodeLaunchOptions(options));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->directory, options.directory);
  EXPECT_EQ(back->log_path, options.log_path);
  EXPECT_TRUE(back->terminal && back->open_stdin && back->stdin_once);
  EXPECT_EQ(back->create_argv, options.create_argv);
  EXPECT_EQ(back->start_argv, options.start_argv);
  EXPECT_EQ(back->environment, options.environment);
  EXPECT_EQ(back->pid_file + back->console_socket + back->runtime_log + back->oom_file, "/p/c/r/o");
  EXPECT_EQ(back->max_log_line_bytes, 4096u);
  EXPECT_EQ(back->stdio_owner, 4'000'000'000u);
}

TEST(ProtocolTest, ExecRequestSurvivesTheTrip) {
  Request request{.type = RequestType::kExec};
  request.exec.argv = {"crun", "exec"};
  request.exec.environment = {"PATH=/bin"};
  request.exec.pid_file = "/pid";
  request.exec.stdin_fd = 17;
  request.exec.stderr_fd = 19;
  Result<Request> back = DecodeRequest(EncodeRequest(request));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->type, RequestType::kExec);
  EXPECT_EQ(back->exec.argv, request.exec.argv);
  EXPECT_EQ(back->exec.environment, request.exec.environment);
  EXPECT_EQ(back->exec.pid_file, "/pid");
  EXPECT_EQ(back->exec.stdin_fd, 0);
  EXPECT_EQ(back->exec.stdout_fd, -1);
  EXPECT_EQ(back->exec.stderr_fd, 0);
}

TEST(ProtocolTest, ReplySurvivesTheTrip) {
  Reply reply;
  reply.status = NotFound("no such thing");
  reply.state = {Phase::kExited, 42, 43, 44, ExitRecord{137, 44, 46, true}, InvalidArgument("why")};
  reply.exec_pid = 5;
  reply.exec_code = 0;
  Result<Reply> back = DecodeReply(EncodeReply(reply));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->status, reply.status);
  EXPECT_EQ(back->state, reply.state);
  EXPECT_EQ(back->exec_pid, 5);
  EXPECT_EQ(back->exec_code, 0);
}

TEST(ProtocolTest, AnErrorWithoutACodeIsInternal) {
  Reply reply;
  reply.state.error = InvalidArgument("why");
  std::string packet = EncodeReply(reply);
  packet.resize(packet.size() - 13);  // the last field, an integer: as a monitor of an earlier build
  Result<Reply> back = DecodeReply(packet);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->state.error, Internal("why"));
}

TEST(ProtocolTest, UnknownFieldsAreSkippedUnknownTypesAreNot) {
  std::string packet = EncodeRequest({.type = RequestType::kQuery});
  packet += std::string(
      "\xf0\x03\x00\x00\x00"
      "abc",
      8);
  EXPECT_TRUE(DecodeRequest(packet).ok());
  packet[1] = 77;
  EXPECT_EQ(DecodeRequest(packet).code(), StatusCode::kUnimplemented);
  packet[0] = 9;
  EXPECT_EQ(DecodeRequest(packet).code(), StatusCode::kUnimplemented);
}

TEST(ProtocolTest, CutAndRandomMessagesAreErrorsNotCrashes) {
  Request request{.type = RequestType::kExec};
  request.exec.argv = {"a", "bc"};
  std::string packet = EncodeRequest(request);
  for (size_t size = 0; size < packet.size(); ++size) IgnoreError(DecodeRequest(packet.substr(0, size)).status());
  EXPECT_FALSE(DecodeRequest(packet.substr(0, packet.size() - 1)).ok());
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string noise = packet;
    for (int change = 0; change < 4; ++change) noise[random() % noise.size()] = static_cast<char>(random());
    IgnoreError(DecodeRequest(noise).status());
    IgnoreError(DecodeReply(noise).status());
    IgnoreError(DecodeLaunchOptions(noise).status());
  }
}

TEST(ProtocolTest, NulInAPathIsRefused) {
  LaunchOptions options;
  options.log_path = std::string("/var/log/a\0b", 12);
  EXPECT_EQ(DecodeLaunchOptions(EncodeLaunchOptions(options)).code(), StatusCode::kInvalidArgument);
  Request request{.type = RequestType::kExec};
  request.exec.pid_file = std::string("/run/\0x", 7);
  EXPECT_EQ(DecodeRequest(EncodeRequest(request)).code(), StatusCode::kInvalidArgument);
}

TEST(ProtocolTest, LengthPastTheEndIsRefused) {
  std::string packet = EncodeRequest({.type = RequestType::kQuery});
  packet += std::string("\x05\xff\xff\xff\xff", 5);
  EXPECT_EQ(DecodeRequest(packet).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace davit::monitor
