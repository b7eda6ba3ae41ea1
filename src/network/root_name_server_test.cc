// The name server in a pod's namespace, asked through the kernel: with sockets of our own, and by what an image has.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <thread>

#include "network/dns_message.h"
#include "network/name_server.h"
#include "network/netns.h"
#include "network/plugin_fixture.h"
#include "network/private_node_fixture.h"

namespace davit::network {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Query(const std::string& name, uint16_t type) {
  std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  for (const std::string& label : Split(name, '.')) {
    out += static_cast<char>(label.size());
    out += label;
  }
  out += '\0';
  out += static_cast<char>(type >> 8);
  out += static_cast<char>(type & 0xff);
  return out + std::string("\x00\x01", 2);
}

sockaddr_in Where(const char* address, int port) {
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<uint16_t>(port));
  EXPECT_EQ(::inet_pton(AF_INET, address, &where.sin_addr), 1);
  return where;
}

int CodeOf(const std::string& answer) { return answer.size() < 12 ? -1 : answer[3] & 0x0f; }
int CountOf(const std::string& answer) { return answer.size() < 12 ? -1 : static_cast<uint8_t>(answer[7]); }

// A resolver of the node: answers every A question with 192.0.2.1, "big." with TC by UDP.
class Upstream {
 public:
  Upstream()
      : udp_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)), tcp_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int on = 1;
    ::setsockopt(tcp_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in where = Where("127.0.0.1", 0);
    socklen_t length = sizeof where;
    EXPECT_EQ(::bind(udp_.get(), reinterpret_cast<sockaddr*>(&where), length), 0);
    EXPECT_EQ(::getsockname(udp_.get(), reinterpret_cast<sockaddr*>(&where), &length), 0);
    port_ = ntohs(where.sin_port);
    EXPECT_EQ(::bind(tcp_.get(), reinterpret_cast<sockaddr*>(&where), length), 0);
    EXPECT_EQ(::listen(tcp_.get(), 4), 0);
    EXPECT_EQ(::pipe2(stop_, O_CLOEXEC), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;
  ~Upstream() {
    ::close(stop_[1]);
    thread_.join();
    ::close(stop_[0]);
  }
  [[nodiscard]] int port() const { return port_; }

 private:
  static std::string AnswerTo(const std::string& message, bool tcp) {
    auto query = ParseDnsQuery(message);
    if (!query) return "";
    std::string answer = DnsAddressAnswer(message, query->question, {*Address::Parse("192.0.2.1")}, 512);
    if (query->question.name == "big" && !tcp) return TruncateDnsAnswer(answer, query->question);
    return answer;
  }
  void Serve() {
    for (;;) {
      pollfd wait[3] = {{udp_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}, {stop_[0], POLLIN, 0}};
      if (::poll(wait, 3, -1) < 0 || wait[2].revents != 0) return;
      char buffer[4096];
      if (wait[0].revents != 0) {
        sockaddr_in from{};
        socklen_t length = sizeof from;
        ssize_t n = ::recvfrom(udp_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length);
        std::string answer = n < 0 ? "" : AnswerTo(std::string(buffer, static_cast<size_t>(n)), false);
        ::sendto(udp_.get(), answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
      }
      if (wait[1].revents != 0) {
        sys::UniqueFd fd(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
        std::string answer = n < 2 ? "" : AnswerTo(std::string(buffer + 2, static_cast<size_t>(n) - 2), true);
        answer = std::string(1, '\0') + static_cast<char>(answer.size()) + answer;
        ::send(fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      }
    }
  }

  sys::UniqueFd udp_;
  sys::UniqueFd tcp_;
  int stop_[2] = {-1, -1};
  int port_ = 0;
  std::thread thread_;
};

class RootNameServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, for network namespaces";
    node_ = std::make_unique<PrivateNode>();
    upstream_ = std::make_unique<Upstream>();
    pod_ = PodId::Mint();
    netns_ = dir_.Join("ns");
    ASSERT_TRUE(sys::CreatePinnedNamespaces({{sys::NamespaceKind::kNet, netns_}}, HardenNamespace).ok());
    Start();
  }
  void TearDown() override {
    server_.reset();
    if (node_) {
      EXPECT_TRUE(sys::Unpin(netns_).ok());
    }
  }
  void Start() {
    NameLookup lookup;
    lookup.find = [this](const PodId& asker, const std::string& name) -> std::optional<std::vector<Address>> {
      if (asker != pod_ || name != "db") return std::nullopt;
      return std::vector<Address>{*Address::Parse("10.89.0.2"), *Address::Parse("10.89.0.3")};
    };
    lookup.names = [](const PodId&, const Address& address) -> std::optional<std::vector<std::string>> {
      if (!Prefix::Parse("10.89.0.0/24")->Contains(address)) return std::nullopt;
      if (address.ToString() == "10.89.0.2") return std::vector<std::string>{"db.front"};
      return std::vector<std::string>();
    };
    lookup.servers = [this](const PodId&) { return servers_; };
    server_ = std::make_unique<NameServer>(lookup, upstream_->port());
  }

  // One question from inside of the pod; "" when nothing came within ten seconds.
  std::string Ask(const std::string& query, bool tcp = false) {
    std::string answer;
    Status ran = sys::RunInNamespace(netns_, sys::NamespaceKind::kNet, [&]() -> Status {
      sys::UniqueFd fd(::socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
      timeval limit{10, 0};
      ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      sockaddr_in where = Where(kResolverAddress, 53);
      if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
        return ErrnoError(errno, "connect");
      std::string bytes = query;
      if (tcp) bytes = std::string(1, '\0') + static_cast<char>(query.size()) + query;
      if (::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) return ErrnoError(errno, "send");
      char buffer[65536];
      const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
      if (n > 0) answer.assign(buffer, static_cast<size_t>(n));
      if (tcp && answer.size() > 2) answer.erase(0, 2);
      return {};
    });
    EXPECT_TRUE(ran.ok()) << ran.ToString();
    return answer;
  }

  TempDir dir_;
  std::unique_ptr<PrivateNode> node_;
  std::unique_ptr<Upstream> upstream_;
  std::vector<std::string> servers_ = {"127.0.0.1"};
  PodId pod_;
  std::string netns_;
  std::unique_ptr<NameServer> server_;
};

TEST_F(RootNameServerTest, AnswersNamesOfContainers) {
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  EXPECT_TRUE(server_->Open(pod_, netns_, true).ok()) << "open already";
  for (bool tcp : {false, true}) {
    EXPECT_EQ(CountOf(Ask(Query("db", 1), tcp)), 2) << tcp;
    EXPECT_EQ(CountOf(Ask(Query("DB", 255), tcp)), 2) << tcp;
    const std::string none = Ask(Query("db", 28), tcp);
    EXPECT_EQ(CodeOf(none), 0);
    EXPECT_EQ(CountOf(none), 0);
    EXPECT_EQ(CountOf(Ask(Query("2.0.89.10.in-addr.arpa", 12), tcp)), 1);
    EXPECT_EQ(CodeOf(Ask(Query("9.0.89.10.in-addr.arpa", 12), tcp)), 3);
  }
}

TEST_F(RootNameServerTest, PassesTheRestOn) {
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  EXPECT_THAT(Ask(Query("example.com", 1)), HasSubstr(std::string("\xc0\x00\x02\x01", 4)));
  EXPECT_THAT(Ask(Query("example.com", 1), true), HasSubstr(std::string("\xc0\x00\x02\x01", 4)));
  EXPECT_TRUE(IsDnsTruncated(Ask(Query("big", 1))));
  EXPECT_THAT(Ask(Query("big", 1), true), HasSubstr(std::string("\xc0\x00\x02\x01", 4))) << "by TCP as it was asked";
}

TEST_F(RootNameServerTest, ASilentServerIsNotTheEnd) {
  servers_ = {"127.0.0.9", "127.0.0.1"};  // nobody is at the first
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  EXPECT_EQ(CountOf(Ask(Query("example.com", 1))), 1);
  servers_ = {"127.0.0.9"};
  EXPECT_EQ(CodeOf(Ask(Query("example.com", 1))), 2);
  servers_ = {};
  EXPECT_EQ(CodeOf(Ask(Query("example.com", 1))), 3) << "an internal network has no way out";
}

TEST_F(RootNameServerTest, GarbageIsAnsweredOrDroppedAndServiceGoesOn) {
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  EXPECT_EQ(CodeOf(Ask(Query("db", 1).substr(0, 14))), 1);
  EXPECT_EQ(CodeOf(Ask(Query("db", 1).substr(0, 14), true)), 1);
  EXPECT_EQ(Ask("xx", true), "") << "the connection ends";
  EXPECT_EQ(CountOf(Ask(Query("db", 1))), 2);
}

TEST_F(RootNameServerTest, ANewServerGoesOnWhereTheOldOneWas) {
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  EXPECT_EQ(CountOf(Ask(Query("db", 1), true)), 2);
  server_.reset();
  Start();
  ASSERT_TRUE(server_->Open(pod_, netns_, false).ok());
  EXPECT_EQ(CountOf(Ask(Query("db", 1))), 2);
  EXPECT_EQ(CountOf(Ask(Query("db", 1), true)), 2);
}

TEST_F(RootNameServerTest, NothingHoldsTheNamespaceAfterClose) {
  struct stat before {};
  ASSERT_EQ(::stat(netns_.c_str(), &before), 0);
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  EXPECT_EQ(CountOf(Ask(Query("db", 1), true)), 2);
  server_->Close(pod_);
  server_->Close(pod_);
  // Nobody listens any more.
  Status ran = sys::RunInNamespace(netns_, sys::NamespaceKind::kNet, [&]() -> Status {
    sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in where = Where(kResolverAddress, 53);
    return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) == 0 ? Internal("connected")
                                                                                       : Status();
  });
  EXPECT_TRUE(ran.ok()) << ran.ToString();
}

TEST_F(RootNameServerTest, AContainerCanServePort53Itself) {
  ASSERT_TRUE(server_->Open(pod_, netns_, true).ok());
  Status ran = sys::RunInNamespace(netns_, sys::NamespaceKind::kNet, [&]() -> Status {
    for (int type : {SOCK_DGRAM, SOCK_STREAM}) {
      sys::UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
      sockaddr_in where = Where("0.0.0.0", 53);
      if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) return ErrnoError(errno, "bind");
    }
    return {};
  });
  EXPECT_TRUE(ran.ok()) << ran.ToString();
  EXPECT_EQ(CountOf(Ask(Query("db", 1))), 2);
}

}  // namespace
}  // namespace davit::network
