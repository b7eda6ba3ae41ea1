#include "api/http_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "api/exchange.h"
#include "sys/temp_dir.h"
#include "sys/unix_socket.h"

namespace davit::api {
namespace {

using Handler = std::function<void(const ExchangePtr&)>;

// A server whose every request goes to `handler`, and clients of it.
class HttpServerTest : public testing::Test {
 protected:
  void Start(Handler handler, bool stream_body = false, HttpServerOptions options = {}) {
    loop_ = std::move(*sched::EventLoop::Start("test-io"));
    std::vector<sys::UniqueFd> listeners;
    listeners.push_back(std::move(*sys::ListenUnix(path(), SOCK_STREAM)));
    auto common = std::make_shared<const std::string>("Api-Version: 1.44\r\n");
    server_ =
        std::move(*HttpServer::Start(*loop_, std::move(listeners), options,
                                     [=](const std::shared_ptr<Connection>& connection, http::RequestHead head) {
                                       Plan plan;
                                       plan.stream_body = stream_body;
                                       auto request = std::make_shared<Request>();
                                       request->is_head = head.method == "HEAD";
                                       request->head = std::move(head);
                                       std::weak_ptr<Connection> weak = connection;
                                       plan.run = [=](std::string body, std::shared_ptr<BodyPipe> pipe) {
                                         request->body = std::move(body);
                                         request->stream = std::move(pipe);
                                         auto alive = weak.lock();
                                         if (alive)
                                           handler(std::make_shared<Exchange>(alive, std::move(*request), common));
                                       };
                                       return plan;
                                     }));
  }
  [[nodiscard]] std::string path() const { return dir_.path() + "/s"; }
  sys::UniqueFd Connect() { return std::move(*sys::ConnectUnix(path(), SOCK_STREAM)); }
  static void Send(const sys::UniqueFd& fd, std::string_view text) { ASSERT_TRUE(sys::WriteAll(fd.get(), text).ok()); }
  // Until `end` has come, or the connection's end.
  static std::string ReadUntil(const sys::UniqueFd& fd, std::string_view end) {
    std::string text;
    char byte = 0;
    while ((end.empty() || text.find(end) == std::string::npos) && ::read(fd.get(), &byte, 1) == 1) text += byte;
    return text;
  }
  std::string Ask(std::string_view text) {
    sys::UniqueFd fd = Connect();
    Send(fd, text);
    return ReadUntil(fd, "");
  }

  sys::TempDir dir_;
  std::unique_ptr<sched::EventLoop> loop_;
  std::unique_ptr<HttpServer> server_;
  void TearDown() override { server_.reset(); }
};

void Echo(const ExchangePtr& exchange) {
  Reply reply;
  reply.content_type = "text/plain";
  reply.body =
      exchange->request().head.method + " " + exchange->request().head.raw_path + " [" + exchange->request().body + "]";
  exchange->Send(reply);
}

TEST_F(HttpServerTest, AnswersSeveralRequestsOfOneConnection) {
  Start(Echo);
  sys::UniqueFd fd = Connect();
  Send(fd, "GET /a%2Fb?x=1 HTTP/1.1\r\nHost: d\r\n\r\nPOST /c HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
  std::string first = ReadUntil(fd, "[]");
  EXPECT_TRUE(first.starts_with("HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\n")) << first;
  EXPECT_NE(first.find("GET /a%2Fb []"), std::string::npos);
  EXPECT_NE(ReadUntil(fd, "[hi]").find("POST /c"), std::string::npos);
  Send(fd, "POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  EXPECT_TRUE(ReadUntil(fd, "").ends_with("POST /d [abc]"));
}

TEST_F(HttpServerTest, HeadHasNoBodyAndItsLength) {
  Start(Echo);
  std::string answer = Ask("HEAD /x HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer.find("Content-Length: 10\r\n"), std::string::npos) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, SaysContinue) {
  Start(Echo);
  sys::UniqueFd fd = Connect();
  Send(fd, "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(ReadUntil(fd, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  Send(fd, "ok");
  EXPECT_TRUE(ReadUntil(fd, "").ends_with("[ok]"));
}

TEST_F(HttpServerTest, StreamsChunks) {
  Start([](const ExchangePtr& exchange) {
    exchange->Begin(Reply());
    exchange->Write("one\n");
    exchange->Write("two\n");
    exchange->End();
  });
  std::string answer = Ask("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer.find("Transfer-Encoding: chunked\r\n"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n")) << answer;
}

TEST_F(HttpServerTest, HijackKeepsSendingAfterTheClientsEnd) {
  Start([](const ExchangePtr& exchange) {
    auto got = std::make_shared<std::string>();
    exchange->Hijack(
        "application/vnd.docker.raw-stream", [got](std::string_view bytes) { *got += bytes; },
        [got, exchange] {
          exchange->Write("got " + *got);
          exchange->End();
        });
  });
  sys::UniqueFd fd = Connect();
  Send(fd, "POST /attach HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\nearly ");
  EXPECT_EQ(ReadUntil(fd, "\r\n\r\n"),
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\n"
            "Upgrade: tcp\r\n\r\n");
  Send(fd, "late");
  ::shutdown(fd.get(), SHUT_WR);
  EXPECT_EQ(ReadUntil(fd, ""), "got early late");
}

TEST_F(HttpServerTest, HijackWithoutUpgradeIsPlain200) {
  Start([](const ExchangePtr& exchange) {
    exchange->Hijack("x/y", nullptr, nullptr);
    exchange->Write("raw");
    exchange->End();
  });
  EXPECT_EQ(Ask("POST / HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK\r\nContent-Type: x/y\r\n\r\nraw");
}

TEST_F(HttpServerTest, TellsOfAClientThatLeaves) {
  std::promise<void> left;
  Start([&](const ExchangePtr& exchange) {
    exchange->Begin(Reply());
    exchange->OnClosed([&left, exchange] { left.set_value(); });
  });
  sys::UniqueFd fd = Connect();
  Send(fd, "GET /wait HTTP/1.1\r\n\r\n");
  ReadUntil(fd, "\r\n\r\n");
  fd.reset();
  EXPECT_EQ(left.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST_F(HttpServerTest, StreamsABodyThatIsLargerThanItKeeps) {
  std::thread reader;
  Start(
      [&](const ExchangePtr& exchange) {
        reader = std::thread([exchange] {
          size_t bytes = 0;
          for (;;) {
            Result<std::string> piece = exchange->request().stream->Read();
            if (!piece.ok() || piece->empty()) break;
            bytes += piece->size();
          }
          Reply reply;
          reply.body = std::to_string(bytes);
          exchange->Send(reply);
        });
      },
      true);
  sys::UniqueFd fd = Connect();
  size_t size = 20u << 20;
  Send(fd, "PUT /archive HTTP/1.1\r\nConnection: close\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
  std::string block(1u << 20, 'x');
  for (size_t sent = 0; sent < size; sent += block.size()) Send(fd, block);
  EXPECT_TRUE(ReadUntil(fd, "").ends_with("\r\n\r\n" + std::to_string(size)));
  reader.join();
}

TEST_F(HttpServerTest, RefusesWhatIsMalformedOrTooLarge) {
  HttpServerOptions options;
  options.max_body = 10;
  Start(Echo, false, options);
  EXPECT_TRUE(Ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(Ask("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(
      Ask("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(Ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(Ask("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n").starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(Ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nelevenbytes\r\n0\r\n\r\n")
                  .starts_with("HTTP/1.1 413 "));
  EXPECT_TRUE(Ask("GET / HTTP/1.1\r\nX: " + std::string(70000, 'x')).starts_with("HTTP/1.1 431 "));
  EXPECT_NE(Ask("GET /fine HTTP/1.1\r\nConnection: close\r\n\r\n").find("GET /fine"), std::string::npos);
}

TEST_F(HttpServerTest, AnAnswerThatNobodyGivesEndsTheConnection) {
  Start([](const ExchangePtr&) {});
  EXPECT_EQ(Ask("GET / HTTP/1.1\r\n\r\n"), "");
}

TEST_F(HttpServerTest, GivesConnectionsBack) {
  Start([](const ExchangePtr& exchange) {
    exchange->Begin(Reply());
    exchange->Write("on and on\n");
    exchange->OnClosed([exchange] {});
  });
  std::vector<sys::UniqueFd> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(Connect());
    Send(clients.back(), "GET /logs HTTP/1.1\r\n\r\n");
  }
  for (const sys::UniqueFd& fd : clients) ReadUntil(fd, "on and on\n");
  EXPECT_EQ(server_->connections(), 200u);
  clients.clear();
  for (int i = 0; i < 2000 && server_->connections() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(server_->connections(), 0u);
}

}  // namespace
}  // namespace davit::api
