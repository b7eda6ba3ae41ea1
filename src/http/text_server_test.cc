#include "http/text_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "sys/temp_dir.h"
#include "sys/unique_fd.h"

namespace davit::http {
namespace {

std::optional<TextAnswer> Handle(std::string_view path) {
  if (path == "/metrics") return TextAnswer{"text/plain; version=0.0.4", "a 1\n"};
  if (path == "/large") return TextAnswer{"text/plain", std::string(4 << 20, 'x')};
  return std::nullopt;
}

class TextServerTest : public testing::Test {
 protected:
  void Start(TextServerOptions options = {}) {
    options.address = "127.0.0.1:0";
    auto server = TextServer::Start(options, Handle);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  sys::UniqueFd Connect() {
    const std::string& name = server_->address();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(name.substr(name.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    return fd;
  }
  static std::string Rest(int fd) {
    std::string all;
    std::array<char, 65536> buffer;
    for (;;) {
      ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (n <= 0) return all;
      all.append(buffer.data(), static_cast<size_t>(n));
    }
  }
  std::string Ask(const std::string& request) {
    sys::UniqueFd fd = Connect();
    EXPECT_TRUE(sys::WriteAll(fd.get(), request).ok());
    return Rest(fd.get());
  }

  std::unique_ptr<TextServer> server_;
};

TEST_F(TextServerTest, AnswersOneRequestAndCloses) {
  Start();
  std::string answer = Ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_NE(answer.find("Content-Type: text/plain; version=0.0.4\r\n"), std::string::npos);
  EXPECT_NE(answer.find("Content-Length: 4\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\na 1\n"));
  EXPECT_TRUE(Ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("\r\n\r\n"));
}

TEST_F(TextServerTest, ALargeAnswerComesWhole) {
  Start();
  std::string answer = Ask("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(answer.size() - answer.find("\r\n\r\n") - 4, size_t{4} << 20);
}

TEST_F(TextServerTest, RefusesInTheRightWords) {
  Start();
  EXPECT_TRUE(Ask("GET /other HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(Ask("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(Ask("hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(Ask("GET / HTTP/1.1\r\nX: " + std::string(9000, 'x')).starts_with("HTTP/1.1 431 "));
}

TEST_F(TextServerTest, WhoIsSlowIsCutOff) {
  TextServerOptions options;
  options.timeout = std::chrono::milliseconds(50);
  Start(options);
  sys::UniqueFd slow = Connect();
  ASSERT_TRUE(sys::WriteAll(slow.get(), "GET /metrics HTTP/1.1\r\n").ok());
  EXPECT_EQ(Rest(slow.get()), "");
  EXPECT_TRUE(Ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(TextServerTest, TooManyConnectionsAreToldSo) {
  TextServerOptions options;
  options.max_connections = 1;
  Start(options);
  sys::UniqueFd first = Connect();
  // Its turn comes before the second's: connections are accepted in order.
  EXPECT_TRUE(Ask("").starts_with("HTTP/1.1 503 "));
}

TEST_F(TextServerTest, UnixSocketReplacesADeadOneAndGoesAtTheEnd) {
  sys::TempDir dir;
  const std::string path = dir.At("metrics.sock");
  TextServerOptions options;
  options.address = "unix://" + path;
  {
    auto first = TextServer::Start(options, Handle);
    ASSERT_TRUE(first.ok()) << first.status().ToString();
    EXPECT_EQ(TextServer::Start(options, Handle).code(), StatusCode::kAlreadyExists);
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0660U);
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  {
    sys::UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  EXPECT_TRUE(TextServer::Start(options, Handle).ok());
}

TEST_F(TextServerTest, RefusesAddressesThatAreNone) {
  for (const char* address : {"", "localhost:1", "127.0.0.1", "127.0.0.1:70000", "::1:80", "unix://"}) {
    TextServerOptions options;
    options.address = address;
    EXPECT_EQ(TextServer::Start(options, Handle).code(), StatusCode::kInvalidArgument) << address;
  }
}

}  // namespace
}  // namespace davit::http
