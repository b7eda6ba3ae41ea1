#include "stream/server.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>
#include <thread>

#include "stream/fake_backend.h"
#include "stream/test_client.h"

namespace davit::stream {
namespace {

constexpr char kSuccess[] = R"({"metadata":{},"status":"Success"})";

class ServerTest : public testing::Test {
 protected:
  void SetUp() override { Start({}); }
  void Start(ServerOptions options) {
    server_.reset();
    auto server = Server::Start(options, backend_);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  std::string MintShell(const std::string& script, bool terminal = false, bool want_stdin = false) {
    auto url =
        server_->MintExec({ContainerId::Mint(), {"/bin/sh", "-c", script}, terminal, want_stdin, true, !terminal});
    EXPECT_TRUE(url.ok()) << url.status().ToString();
    return PathOf(*url);
  }
  std::string Answer(const std::string& request) {
    TestConnection connection(server_->port());
    connection.Send(request);
    return connection.ReceiveHead().substr(0, 12);
  }
  // Waits for the condition that other threads bring about; the time limit only ends a broken test.
  static bool Eventually(const std::function<bool()>& done) {
    for (int i = 0; i < 4000; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  FakeBackend backend_;
  std::unique_ptr<Server> server_;
};

// An exec over SPDY with its streams open.
struct SpdyExec {
  SpdyExec(int port, const std::string& path, bool with_stdin, bool terminal, const std::string& protocol)
      : connection(port),
        spdy([this](std::string_view bytes) { connection.Send(bytes); }, [this] { return connection.Receive(); }) {
    connection.Send(SpdyRequest(path, protocol));
    head = connection.ReceiveHead();
    if (!head.starts_with("HTTP/1.1 101 ")) return;
    error = spdy.Open({{"streamtype", "error"}});
    if (with_stdin) in = spdy.Open({{"streamtype", "stdin"}});
    out = spdy.Open({{"streamtype", "stdout"}});
    if (!terminal) err = spdy.Open({{"streamtype", "stderr"}});
    if (terminal) resize = spdy.Open({{"streamtype", "resize"}});
  }
  TestConnection connection;
  TestSpdy spdy;
  std::string head;
  uint32_t error = 0, in = 0, out = 0, err = 0, resize = 0;
};

TEST_F(ServerTest, ExecGivesOutputThenStatus) {
  SpdyExec exec(server_->port(), MintShell("echo out; echo err >&2; exit 3"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error));
  EXPECT_EQ(exec.spdy.data[exec.out], "out\n");
  EXPECT_EQ(exec.spdy.data[exec.err], "err\n");
  EXPECT_TRUE(exec.spdy.ended.contains(exec.out) && exec.spdy.ended.contains(exec.err));
  EXPECT_NE(exec.spdy.data[exec.error].find(R"("reason":"ExitCode","message":"3")"), std::string::npos);
  EXPECT_FALSE(exec.spdy.closed);
  exec.connection.Close();
  EXPECT_TRUE(Eventually([&] { return server_->sessions() == 0 && backend_.released == 1; }));
  EXPECT_EQ(backend_.killed, 0);
}

TEST_F(ServerTest, TenMegabytesArriveWholeBeforeTheStatus) {
  SpdyExec exec(server_->port(), MintShell("head -c 10000000 /dev/zero; echo end"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error));
  EXPECT_EQ(exec.spdy.data[exec.out].size(), 10000004U);
  EXPECT_TRUE(exec.spdy.data[exec.out].ends_with("end\n"));
  EXPECT_EQ(exec.spdy.data[exec.error], kSuccess);
}

TEST_F(ServerTest, StdinEndsWithTheStream) {
  SpdyExec exec(server_->port(), MintShell("cat; echo done", false, true), true, false, "v4.channel.k8s.io");
  std::string big(300000, 'b');
  std::thread writer([&] {
    exec.spdy.Data(exec.in, big);
    exec.spdy.Data(exec.in, "last ", true);
  });
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error));
  writer.join();
  EXPECT_EQ(exec.spdy.data[exec.out], big + "last done\n");
  // The stream itself gets none any more once its end has arrived, which may be early; the session does.
  EXPECT_GT(exec.spdy.credit[0], 150000U);
}

TEST_F(ServerTest, OldVersionsGetText) {
  for (const char* protocol : {"v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""}) {
    SpdyExec exec(server_->port(), MintShell("echo x; exit 9"), false, false, protocol);
    ASSERT_TRUE(exec.spdy.UntilEnded(exec.error)) << protocol;
    EXPECT_EQ(exec.spdy.data[exec.error], "command terminated with exit code 9");
    EXPECT_EQ(exec.spdy.data[exec.out], "x\n");
  }
}

TEST_F(ServerTest, TerminalIsResized) {
  SpdyExec exec(server_->port(), MintShell("read line; stty size", true, true), true, true, "v4.channel.k8s.io");
  exec.spdy.Data(exec.resize, "{\"Width\":91,\"Height\":33}\n");
  ASSERT_TRUE(Eventually([&] { return !backend_.Sizes().empty(); }));
  exec.spdy.Data(exec.in, "go\n");
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error));
  EXPECT_NE(exec.spdy.data[exec.out].find("33 91"), std::string::npos) << exec.spdy.data[exec.out];
  EXPECT_EQ(exec.spdy.data[exec.error], kSuccess);
}

TEST_F(ServerTest, AttachSucceedsWhateverTheExitCode) {
  backend_.attach_command = {"/bin/sh", "-c", "echo hi; exit 5"};
  auto url = server_->MintAttach({ContainerId::Mint(), false, false, true, true});
  SpdyExec attach(server_->port(), PathOf(*url), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(attach.spdy.UntilEnded(attach.error));
  EXPECT_EQ(attach.spdy.data[attach.out], "hi\n");
  EXPECT_EQ(attach.spdy.data[attach.error], kSuccess);
}

TEST_F(ServerTest, GrandchildHoldingThePipeDoesNotHangTheSession) {
  SpdyExec exec(server_->port(), MintShell("sleep 1000 & echo $!"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error));
  EXPECT_EQ(exec.spdy.data[exec.error], kSuccess);
  auto pid = ParseInt64(Trim(exec.spdy.data[exec.out]));
  ASSERT_TRUE(pid);
  ::kill(static_cast<pid_t>(*pid), SIGKILL);
}

TEST_F(ServerTest, BackendsErrorIsTheStatus) {
  backend_.fail_open = NotFound("container is not running");
  SpdyExec exec(server_->port(), MintShell("true"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error));
  EXPECT_NE(exec.spdy.data[exec.error].find("container is not running"), std::string::npos);
}

TEST_F(ServerTest, ClientThatGoesAwayKillsTheExec) {
  SpdyExec exec(server_->port(), MintShell("echo up; exec sleep 1000"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.Until([&] { return exec.spdy.data[exec.out] == "up\n"; }));
  exec.connection.Close();
  EXPECT_TRUE(Eventually([&] { return backend_.killed == 1 && server_->sessions() == 0; }));
}

TEST_F(ServerTest, ClientThatGoesAwayWhileStdinIsFullIsNoticed) {
  ServerOptions options;
  options.stream_buffer_bytes = 4096;
  Start(options);
  SpdyExec exec(server_->port(), MintShell("echo up; exec sleep 1000", false, true), true, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.Until([&] { return exec.spdy.data[exec.out] == "up\n"; }));
  exec.spdy.Data(exec.in, std::string(100000, 'x'));  // more than pipe and buffer take
  exec.connection.Close();
  EXPECT_TRUE(Eventually([&] { return backend_.killed == 1 && server_->sessions() == 0; }));
}

TEST_F(ServerTest, EchoesPingsAndRefusesUnknownStreams) {
  SpdyExec exec(server_->port(), MintShell("cat", false, true), true, false, "v4.channel.k8s.io");
  exec.spdy.Raw(http::SpdyEncoder::Ping(41));
  uint32_t odd = exec.spdy.Open({{"streamtype", "shoe"}});
  uint32_t twice = exec.spdy.Open({{"streamtype", "stdout"}});
  ASSERT_TRUE(exec.spdy.Until([&] { return exec.spdy.reset.size() == 2 && exec.spdy.pings.contains(41); }));
  EXPECT_TRUE(exec.spdy.reset.contains(odd) && exec.spdy.reset.contains(twice));
  exec.spdy.Data(exec.in, "", true);
  EXPECT_TRUE(exec.spdy.UntilEnded(exec.error));
}

TEST_F(ServerTest, BrokenFramesEndTheSession) {
  for (const std::string& bytes : {std::string("\x80\x02\x00\x01\x00\x00\x00\x00", 8), std::string(8, '\0') + "x",
                                   http::SpdyEncoder::DataHead(99, 1, false) + "x"}) {
    SpdyExec exec(server_->port(), MintShell("exec sleep 1000"), false, false, "v4.channel.k8s.io");
    exec.spdy.Raw(bytes);
    EXPECT_FALSE(exec.spdy.UntilEnded(exec.error));
    EXPECT_TRUE(exec.spdy.closed);
  }
  EXPECT_TRUE(Eventually([&] { return server_->sessions() == 0; }));
}

TEST_F(ServerTest, TicketsWorkOnceAndRefusedProtocolsDoNotSpendThem) {
  std::string path = MintShell("true");
  EXPECT_EQ(Answer(SpdyRequest(path, "v9.channel.k8s.io")), "HTTP/1.1 403");
  EXPECT_EQ(Answer(SpdyRequest(path, "v4.channel.k8s.io", "Origin: http://evil.example\r\n")), "HTTP/1.1 403");
  EXPECT_EQ(Answer(SpdyRequest(path, "v4.channel.k8s.io")), "HTTP/1.1 101");
  EXPECT_EQ(Answer(SpdyRequest(path, "v4.channel.k8s.io")), "HTTP/1.1 404");
  EXPECT_EQ(Answer(SpdyRequest("/exec/" + std::string(40, 'a'), "v4.channel.k8s.io")), "HTTP/1.1 404");
  EXPECT_EQ(Answer("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 404");
  EXPECT_EQ(Answer("PUT / HTTP/1.1\r\n\r\n"), "HTTP/1.1 405");
  EXPECT_EQ(Answer("nonsense\r\n\r\n"), "HTTP/1.1 400");
  EXPECT_EQ(Answer("GET / HTTP/1.1\r\nA: " + std::string(70000, 'x') + "\r\n\r\n"), "HTTP/1.1 431");
}

TEST_F(ServerTest, SlowHeadIsCutOff) {
  ServerOptions options;
  options.header_timeout = std::chrono::milliseconds(20);
  Start(options);
  TestConnection connection(server_->port());
  connection.Send("GET / HT");
  EXPECT_TRUE(connection.ReceiveHead().starts_with("HTTP/1.1 408 "));
}

TEST_F(ServerTest, MissingStreamsAndIdleSessionsEnd) {
  ServerOptions options;
  options.stream_timeout = std::chrono::milliseconds(20);
  Start(options);
  TestConnection missing(server_->port());
  missing.Send(SpdyRequest(MintShell("true"), "v4.channel.k8s.io"));
  EXPECT_TRUE(missing.ReceiveHead().starts_with("HTTP/1.1 101 "));
  EXPECT_EQ(missing.Receive(), "");
  EXPECT_EQ(backend_.opened, 0);

  options = {};
  options.idle_timeout = std::chrono::milliseconds(50);
  Start(options);
  SpdyExec idle(server_->port(), MintShell("exec sleep 1000"), false, false, "v4.channel.k8s.io");
  EXPECT_FALSE(idle.spdy.UntilEnded(idle.error));
  EXPECT_TRUE(Eventually([&] { return backend_.killed == 1; }));
}

TEST_F(ServerTest, TooManySessionsAndTicketsAreRefused) {
  ServerOptions options;
  options.max_sessions = 1;
  options.max_pending_tickets = 1;
  Start(options);
  TestConnection first(server_->port());
  ASSERT_TRUE(Eventually([&] { return server_->sessions() == 1; }));
  TestConnection second(server_->port());
  EXPECT_TRUE(second.ReceiveHead().starts_with("HTTP/1.1 503 "));
  MintShell("true");
  EXPECT_EQ(server_->MintPortForward({PodId::Mint(), {}}).code(), StatusCode::kResourceExhausted);
}

// Pongs queue up behind a client that sends pings and reads nothing. More than the socket's own buffers hold is not
// taken from it.
TEST_F(ServerTest, AFloodOfPingsIsNotTaken) {
  constexpr size_t kFlood = 64 << 20;
  for (bool websocket : {false, true}) {
    TestConnection connection(server_->port());
    const std::string path = MintShell("cat", false, true);
    connection.Send(websocket ? WebSocketRequest(path, "v5.channel.k8s.io") : SpdyRequest(path, "v4.channel.k8s.io"));
    ASSERT_TRUE(connection.ReceiveHead().starts_with("HTTP/1.1 101 "));
    std::string pings;
    for (int i = 0; i < 4096; ++i) {
      pings += websocket ? http::WebSocketFrame(http::WebSocketOpcode::kPing, std::string(100, 'p'), "abcd")
                         : http::SpdyEncoder::Ping(1);
    }
    size_t sent = 0;
    for (bool taken = true; taken && sent < kFlood;) {
      ssize_t n = ::send(connection.fd(), pings.data() + sent % pings.size(), pings.size() - sent % pings.size(),
                         MSG_NOSIGNAL | MSG_DONTWAIT);
      pollfd room{connection.fd(), POLLOUT, 0};
      taken = n > 0 || (errno == EAGAIN && ::poll(&room, 1, 2000) > 0);
      if (n > 0) sent += static_cast<size_t>(n);
    }
    EXPECT_LT(sent, kFlood) << (websocket ? "WebSocket" : "SPDY");
    // A client that reads after all goes on where it was.
    for (size_t got = 0; got < sent / 2;) {
      std::string bytes = connection.Receive();
      ASSERT_FALSE(bytes.empty()) << got << " of " << sent;
      got += bytes.size();
    }
  }
}

TEST_F(ServerTest, ConnectionsWithoutATicketMakeRoomForTheNext) {
  ServerOptions options;
  options.max_waiting = 4;
  options.max_sessions = 6;
  Start(options);
  std::vector<std::unique_ptr<TestConnection>> idle;
  for (int i = 0; i < 50; ++i) idle.push_back(std::make_unique<TestConnection>(server_->port()));
  SpdyExec exec(server_->port(), MintShell("echo out"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.UntilEnded(exec.error)) << exec.head;
  EXPECT_EQ(exec.spdy.data[exec.out], "out\n");
  EXPECT_EQ(idle[0]->Receive(), "");  // the oldest was closed
}

TEST_F(ServerTest, ChecksAddressAndRequests) {
  ServerOptions options;
  options.address = "0.0.0.0";
  EXPECT_EQ(Server::Start(options, backend_).status().code(), StatusCode::kInvalidArgument);
  options.address = "127.0.0.1";
  options.port = server_->port();
  EXPECT_EQ(Server::Start(options, backend_).status().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(server_->MintExec({ContainerId::Mint(), {"x"}}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(server_->MintExec({ContainerId::Mint(), {"x"}, true, false, true, true}).code(),
            StatusCode::kInvalidArgument);
  server_->Stop();
  EXPECT_EQ(server_->MintPortForward({PodId::Mint(), {}}).code(), StatusCode::kUnavailable);
}

TEST_F(ServerTest, StopKillsWhatRuns) {
  SpdyExec exec(server_->port(), MintShell("echo up; exec sleep 1000"), false, false, "v4.channel.k8s.io");
  ASSERT_TRUE(exec.spdy.Until([&] { return exec.spdy.data[exec.out] == "up\n"; }));
  server_->Stop();
  EXPECT_EQ(backend_.killed, 1);
  EXPECT_EQ(exec.connection.Receive(), "");
}

TEST_F(ServerTest, OpeningAndClosingLeavesNoDescriptors) {
  auto count = [] {
    size_t n = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
    return n;
  };
  size_t before = count();
  for (int i = 0; i < 2000; ++i) {
    TestConnection connection(server_->port());
    if (i % 2 == 0) connection.Send("GET /exec/x HTTP");
    if (i % 20 == 1) connection.Send(SpdyRequest(MintShell("cat", false, true), "v4.channel.k8s.io"));
    if (i % 100 == 0) {
      SpdyExec exec(server_->port(), MintShell("cat", false, true), true, false, "v4.channel.k8s.io");
    }
  }
  EXPECT_TRUE(Eventually([&] {
    return server_->sessions() == 0 && backend_.released == backend_.opened && count() <= before;
  })) << count()
      << " descriptors, " << before << " before";
}

// A listener on loopback that answers each connection with what it got, in upper case, at its end of input.
class PodServer {
 public:
  PodServer() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::listen(fd_.get(), 16);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (;;) {
        sys::UniqueFd connection(::accept(fd_.get(), nullptr, nullptr));
        if (!connection.valid() && errno == EINTR) continue;
        if (!connection.valid()) return;
        auto text = sys::ReadAll(connection.get(), 100 << 20);
        if (text.ok()) IgnoreError(sys::WriteAll(connection.get(), "got " + *text));
      }
    });
  }
  ~PodServer() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }
  int port = 0;

 private:
  sys::UniqueFd fd_;
  std::thread thread_;
};

void CheckPortForward(TestSpdy& spdy, int port) {
  std::string text = std::to_string(port);
  auto pair = [&](const std::string& id, const std::string& to) {
    uint32_t error = spdy.Open({{"streamtype", "error"}, {"port", to}, {"requestid", id}}, true);
    uint32_t data = spdy.Open({{"streamtype", "data"}, {"port", to}, {"requestid", id}});
    return std::pair(error, data);
  };
  auto [error0, data0] = pair("0", text);
  auto [error1, data1] = pair("1", "1");  // nobody listens there
  auto [error2, data2] = pair("2", "shoe");
  std::string big(1000000, 'p');
  spdy.Data(data0, big);
  ASSERT_TRUE(spdy.UntilEnded(error1));
  EXPECT_NE(spdy.data[error1].find("error forwarding port 1 to pod "), std::string::npos) << spdy.data[error1];
  ASSERT_TRUE(spdy.UntilEnded(error2));
  EXPECT_EQ(spdy.data[error2], "\"shoe\" is not a port");
  EXPECT_TRUE(spdy.ended.contains(data1) && spdy.ended.contains(data2));
  // The failures left the first pair alone; its half-close comes through.
  spdy.Data(data0, "!", true);
  ASSERT_TRUE(spdy.UntilEnded(error0));
  EXPECT_EQ(spdy.data[data0], "got " + big + "!");
  EXPECT_EQ(spdy.data[error0], "");
  // A request id may come again, and a reset ends the pair.
  auto [error3, data3] = pair("0", text);
  spdy.Raw(http::SpdyEncoder::RstStream(data3, http::SpdyReset::kCancel));
  EXPECT_TRUE(spdy.UntilEnded(error3));
}

TEST_F(ServerTest, PortForwardOverSpdy) {
  PodServer pod;
  TestConnection connection(server_->port());
  connection.Send(SpdyRequest(PathOf(*server_->MintPortForward({PodId::Mint(), {}})), "portforward.k8s.io"));
  ASSERT_TRUE(connection.ReceiveHead().starts_with("HTTP/1.1 101 "));
  TestSpdy spdy([&](std::string_view bytes) { connection.Send(bytes); }, [&] { return connection.Receive(); });
  CheckPortForward(spdy, pod.port);
  connection.Close();
  EXPECT_TRUE(Eventually([&] { return server_->sessions() == 0; }));
}

TEST_F(ServerTest, PortForwardThroughWebSocketTunnel) {
  PodServer pod;
  TestConnection connection(server_->port());
  connection.Send(
      WebSocketRequest(PathOf(*server_->MintPortForward({PodId::Mint(), {}})), "SPDY/3.1+portforward.k8s.io"));
  ASSERT_TRUE(connection.ReceiveHead().starts_with("HTTP/1.1 101 "));
  TestWebSocket socket(connection);
  TestSpdy spdy([&](std::string_view bytes) { socket.Send(http::WebSocketOpcode::kBinary, bytes); },
                [&] { return socket.Next().value_or(""); });
  CheckPortForward(spdy, pod.port);
}

TEST_F(ServerTest, PortForwardIsBoundToItsPorts) {
  TestConnection connection(server_->port());
  connection.Send(SpdyRequest(PathOf(*server_->MintPortForward({PodId::Mint(), {80}})), "portforward.k8s.io"));
  connection.ReceiveHead();
  TestSpdy spdy([&](std::string_view bytes) { connection.Send(bytes); }, [&] { return connection.Receive(); });
  // As the first clients: no request id.
  uint32_t error = spdy.Open({{"streamtype", "error"}, {"port", "81"}});
  spdy.Open({{"streamtype", "data"}, {"port", "81"}});
  ASSERT_TRUE(spdy.UntilEnded(error));
  EXPECT_EQ(spdy.data[error], "port 81 is not one that was asked for");
}

TEST_F(ServerTest, OldWebSocketPortForward) {
  PodServer pod;
  TestConnection connection(server_->port());
  std::string path = PathOf(*server_->MintPortForward({PodId::Mint(), {}}));
  connection.Send(WebSocketRequest(path + "?port=" + std::to_string(pod.port) + ",1", "v4.channel.k8s.io"));
  ASSERT_TRUE(connection.ReceiveHead().starts_with("HTTP/1.1 101 "));
  TestWebSocket socket(connection);
  std::string little = {static_cast<char>(pod.port & 0xff), static_cast<char>(pod.port >> 8)};
  EXPECT_EQ(socket.Next(), std::string(1, '\0') + little);
  EXPECT_EQ(socket.Next(), "\1" + little);
  EXPECT_EQ(socket.Next(), std::string("\2\1\0", 3));
  EXPECT_EQ(socket.Next(), std::string("\3\1\0", 3));
  auto failure = socket.Next();
  ASSERT_TRUE(failure);
  EXPECT_NE(failure->find("\3error forwarding port 1"), std::string::npos);
  socket.Send(http::WebSocketOpcode::kBinary, std::string(1, '\0') + "hello");
}

}  // namespace
}  // namespace davit::stream
