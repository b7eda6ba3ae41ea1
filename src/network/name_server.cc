#include "network/name_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <map>

#include "base/log.h"
#include "base/strings.h"
#include "network/dns_message.h"
#include "sched/event_loop.h"
#include "sys/namespaces.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::network {
namespace {

using sched::EventLoop;

constexpr size_t kMaxForwards = 512;
constexpr size_t kMaxForwardsOfPod = 64;
constexpr size_t kMaxConnections = 512;
constexpr size_t kMaxConnectionsOfPod = 16;
constexpr size_t kMaxServers = 3;            // as resolv.conf(5) has it
constexpr int kMaxAttempts = 4;              // of one question, over all servers
constexpr std::chrono::seconds kAttempt{2};  // resolvers of containers ask again after 5 s
constexpr std::chrono::seconds kConnectionIdle{10};
constexpr int kBatch = 64;  // questions of one pod before the others have their turn

sockaddr_storage SocketAddress(const Address& address, int port, socklen_t& length) {
  sockaddr_storage where{};
  if (address.v6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&where);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<uint16_t>(port));
    std::memcpy(&in6->sin6_addr, address.bytes.data(), 16);
    length = sizeof *in6;
  } else {
    auto* in4 = reinterpret_cast<sockaddr_in*>(&where);
    in4->sin_family = AF_INET;
    in4->sin_port = htons(static_cast<uint16_t>(port));
    std::memcpy(&in4->sin_addr, address.bytes.data(), 4);
    length = sizeof *in4;
  }
  return where;
}

Result<sys::UniqueFd> BindInside(int type, int port) {
  sys::UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "open a socket for names");
  const int on = 1;
  if (type == SOCK_STREAM) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t length = 0;
  sockaddr_storage where = SocketAddress(*Address::Parse(kResolverAddress), port, length);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&where), length) != 0) {
    return ErrnoError(errno, std::string("bind ") + kResolverAddress + ":" + std::to_string(port));
  }
  if (type == SOCK_STREAM && ::listen(fd.get(), 16) != 0) return ErrnoError(errno, "listen for names");
  return fd;
}

// Questions to port 53 of the address arrive at the sockets' port.
Status Redirect(const std::string& netns_path) {
  ASSIGN_OR_RETURN(sys::UniqueFd netns, sys::Open(netns_path, O_RDONLY));
  std::string rules = "*nat\n";
  for (const char* protocol : {"udp", "tcp"}) {
    rules += std::string("-A OUTPUT -d ") + kResolverAddress + "/32 -p " + protocol +
             " --dport 53 -j DNAT --to-destination " + kResolverAddress + ":" + std::to_string(kResolverPort) + "\n";
  }
  sys::SpawnOptions spawn;
  spawn.argv = {"iptables-restore", "--noflush", "-w", "5"};
  spawn.env = sys::MinimalEnvironment();
  spawn.netns_fd = netns.get();
  ASSIGN_OR_RETURN(sys::CommandResult result, sys::RunCommand(std::move(spawn), rules + "COMMIT\n", 4096,
                                                              Deadline::After(std::chrono::seconds(20))));
  if (result.exit.code == 0) return {};
  return Internal("iptables-restore: " + std::string(result.err.substr(0, 512)));
}

bool HaveIptables() {
  for (const std::string& directory : Split(sys::kDefaultPath, ':')) {
    if (::access((directory + "/iptables-restore").c_str(), X_OK) == 0) return true;
  }
  return false;
}

std::string WithLength(std::string_view message) {
  std::string out;
  out += static_cast<char>(message.size() >> 8 & 0xff);
  out += static_cast<char>(message.size() & 0xff);
  return out.append(message);
}

// A whole message behind its length of two bytes; it is taken out of `buffer`.
std::optional<std::string> TakeMessage(std::string& buffer) {
  if (buffer.size() < 2) return std::nullopt;
  const size_t length = static_cast<size_t>(static_cast<uint8_t>(buffer[0])) << 8 | static_cast<uint8_t>(buffer[1]);
  if (buffer.size() < 2 + length) return std::nullopt;
  std::string message = buffer.substr(2, length);
  buffer.erase(0, 2 + length);
  return message;
}

}  // namespace

// Everything in it is touched on the loop's thread alone.
struct NameServer::State {
  State(const NameLookup& names, int port) : lookup(names), upstream_port(port) {}

  struct Pod {
    sys::UniqueFd udp;
    sys::UniqueFd tcp;
    EventLoop::Token udp_token = 0;
    EventLoop::Token tcp_token = 0;
    size_t forwards = 0;
    size_t connections = 0;
  };
  // Who gets the answer: an address, or a connection.
  struct Asker {
    PodId pod;
    uint64_t connection = 0;  // 0: by UDP
    sockaddr_in from{};
  };
  struct Connection {
    PodId pod;
    sys::UniqueFd fd;
    EventLoop::Token token = 0;
    EventLoop::Token timer = 0;
    std::string in;
    std::string out;
    bool asked = false;  // one question at a time
  };
  // A question that others answer.
  struct Forward {
    Asker asker;
    std::string query;
    DnsQuestion question;
    std::vector<Address> servers;
    int attempt = -1;
    bool tcp = false;
    bool dialled = false;  // by TCP, and not asked yet
    sys::UniqueFd fd;
    EventLoop::Token token = 0;
    EventLoop::Token timer = 0;
    std::string in;
  };

  const NameLookup lookup;
  const int upstream_port;
  std::map<PodId, Pod> pods;
  std::map<uint64_t, Connection> connections;
  std::map<uint64_t, Forward> forwards;
  uint64_t next = 1;
  std::unique_ptr<EventLoop> loop;  // last: it ends first

  void Add(const PodId& id, Pod fresh) {
    Drop(id);
    Pod& pod = pods[id];
    pod = std::move(fresh);
    Result<EventLoop::Token> udp = loop->Watch(pod.udp.get(), EPOLLIN, [this, id](uint32_t) { OnUdp(id); });
    Result<EventLoop::Token> tcp = loop->Watch(pod.tcp.get(), EPOLLIN, [this, id](uint32_t) { OnAccept(id); });
    if (udp.ok()) pod.udp_token = *udp;
    if (tcp.ok()) pod.tcp_token = *tcp;
    if (!udp.ok() || !tcp.ok()) LogWarning("pod {}: its names cannot be watched for", id.Short());
  }

  void Drop(const PodId& id) {
    auto it = pods.find(id);
    if (it == pods.end()) return;
    for (auto at = forwards.begin(); at != forwards.end();) {
      auto here = at++;
      if (here->second.asker.pod == id) EndForward(here->first);
    }
    for (auto at = connections.begin(); at != connections.end();) {
      auto here = at++;
      if (here->second.pod == id) EndConnection(here->first);
    }
    if (it->second.udp_token != 0) loop->Remove(it->second.udp_token);
    if (it->second.tcp_token != 0) loop->Remove(it->second.tcp_token);
    pods.erase(it);
  }

  void OnUdp(const PodId& id) {
    auto it = pods.find(id);
    if (it == pods.end()) return;
    char buffer[kMaxDnsQuery + 1];
    for (int i = 0; i < kBatch; ++i) {
      Asker asker{id, 0, {}};
      socklen_t length = sizeof asker.from;
      const ssize_t n =
          ::recvfrom(it->second.udp.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&asker.from), &length);
      if (n < 0) return;
      if (length == sizeof asker.from) Ask(asker, std::string_view(buffer, static_cast<size_t>(n)));
    }
  }

  void OnAccept(const PodId& id) {
    auto it = pods.find(id);
    if (it == pods.end()) return;
    sys::UniqueFd fd(::accept4(it->second.tcp.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) return;
    if (connections.size() >= kMaxConnections || it->second.connections >= kMaxConnectionsOfPod) return;
    const uint64_t number = next++;
    Connection& connection = connections[number];
    connection.pod = id;
    connection.fd = std::move(fd);
    ++it->second.connections;
    connection.timer = loop->After(kConnectionIdle, [this, number] { EndConnection(number); });
    WatchConnection(number, EPOLLIN);
  }

  void WatchConnection(uint64_t number, uint32_t events) {
    Connection& connection = connections.at(number);
    if (connection.token != 0) loop->Remove(connection.token);
    connection.token = 0;
    if (events == 0) return;
    Result<EventLoop::Token> token =
        loop->Watch(connection.fd.get(), events, [this, number](uint32_t) { OnConnection(number); });
    if (token.ok()) connection.token = *token;
    if (!token.ok()) EndConnection(number);
  }

  void OnConnection(uint64_t number) {
    auto it = connections.find(number);
    if (it == connections.end()) return;
    if (!it->second.out.empty()) {
      Flush(number);
      return;
    }
    char buffer[4096];
    const ssize_t n = ::recv(it->second.fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      EndConnection(number);
      return;
    }
    it->second.in.append(buffer, static_cast<size_t>(n));
    NextOf(number);
  }

  // The next question of a connection that has none running.
  void NextOf(uint64_t number) {
    Connection& connection = connections.at(number);
    std::optional<std::string> message = TakeMessage(connection.in);
    if (!message) {
      if (connection.in.size() > kMaxDnsQuery + 2) EndConnection(number);
      return;
    }
    loop->Remove(connection.timer);
    connection.timer = loop->After(kConnectionIdle, [this, number] { EndConnection(number); });
    connection.asked = true;
    WatchConnection(number, 0);
    if (connections.count(number) != 0) Ask(Asker{connection.pod, number, {}}, *message);
    // No answer is due to it: nor is the rest worth anything.
    auto it = connections.find(number);
    if (it != connections.end() && it->second.asked && !IsForwarded(number)) EndConnection(number);
  }

  [[nodiscard]] bool IsForwarded(uint64_t connection) const {
    for (const auto& [number, forward] : forwards) {
      if (forward.asker.connection == connection) return true;
    }
    return false;
  }

  void Flush(uint64_t number) {
    Connection& connection = connections.at(number);
    const ssize_t n = ::send(connection.fd.get(), connection.out.data(), connection.out.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      EndConnection(number);
      return;
    }
    if (n > 0) connection.out.erase(0, static_cast<size_t>(n));
    WatchConnection(number, connection.out.empty() ? EPOLLIN : EPOLLOUT);
    // What has come already would not be told again as long as nothing more does.
    auto it = connections.find(number);
    if (it != connections.end() && it->second.out.empty() && !it->second.in.empty()) NextOf(number);
  }

  void EndConnection(uint64_t number) {
    auto it = connections.find(number);
    if (it == connections.end()) return;
    for (auto at = forwards.begin(); at != forwards.end();) {
      auto here = at++;
      if (here->second.asker.connection == number) EndForward(here->first);
    }
    if (it->second.token != 0) loop->Remove(it->second.token);
    loop->Remove(it->second.timer);
    auto pod = pods.find(it->second.pod);
    if (pod != pods.end()) --pod->second.connections;
    connections.erase(it);
  }

  void Answer(const Asker& asker, const DnsQuestion& question, const std::string& answer) {
    auto pod = pods.find(asker.pod);
    if (pod == pods.end()) return;
    if (asker.connection == 0) {
      const std::string cut = answer.size() > question.max_size ? TruncateDnsAnswer(answer, question) : answer;
      // One that cannot be sent is lost, as datagrams are.
      ::sendto(pod->second.udp.get(), cut.data(), cut.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&asker.from), sizeof asker.from);
      return;
    }
    auto connection = connections.find(asker.connection);
    if (connection == connections.end() || answer.size() > kMaxDnsMessage) return;
    connection->second.out = WithLength(answer);
    connection->second.asked = false;
    Flush(asker.connection);
  }

  void Ask(const Asker& asker, std::string_view message) {
    std::optional<DnsQuery> query = ParseDnsQuery(message);
    if (!query) return;
    const DnsQuestion& question = query->question;
    if (query->code != DnsCode::kOk) {
      Answer(asker, question, DnsErrorAnswer(message, *query, query->code));
      return;
    }
    const size_t room = asker.connection == 0 ? question.max_size : kMaxDnsMessage;
    if (question.klass == 1) {
      if (auto addresses = lookup.find(asker.pod, question.name)) {
        const bool asked = question.type == static_cast<uint16_t>(DnsType::kA) ||
                           question.type == static_cast<uint16_t>(DnsType::kAaaa) ||
                           question.type == static_cast<uint16_t>(DnsType::kAny);
        // A name that is here and has no such data is there all the same (RFC 2308, section 2.2).
        // Askers take the first: each has its turn.
        if (!addresses->empty()) {
          std::rotate(addresses->begin(), addresses->begin() + question.id % static_cast<ptrdiff_t>(addresses->size()),
                      addresses->end());
        }
        Answer(asker, question, DnsAddressAnswer(message, question, asked ? *addresses : std::vector<Address>(), room));
        return;
      }
      std::optional<Address> reverse = AddressOfReverseName(question.name);
      if (reverse) {
        if (auto names = lookup.names(asker.pod, *reverse)) {
          Answer(asker, question,
                 names->empty() ? DnsErrorAnswer(message, *query, DnsCode::kNoName)
                                : DnsNameAnswer(message, question, *names, room));
          return;
        }
      }
    }
    Pass(asker, *query, message);
  }

  void Pass(const Asker& asker, const DnsQuery& query, std::string_view message) {
    Forward forward;
    for (const std::string& server : lookup.servers(asker.pod)) {
      std::optional<Address> address = Address::Parse(server);
      if (address && forward.servers.size() < kMaxServers) forward.servers.push_back(*address);
    }
    Pod& pod = pods.at(asker.pod);
    DnsCode refused = DnsCode::kOk;
    if (forward.servers.empty()) refused = DnsCode::kNoName;  // pods of internal networks know each other only
    if (forwards.size() >= kMaxForwards || pod.forwards >= kMaxForwardsOfPod) refused = DnsCode::kServerFailure;
    if (refused != DnsCode::kOk) {
      Answer(asker, query.question, DnsErrorAnswer(message, query, refused));
      return;
    }
    forward.asker = asker;
    forward.query = message;
    forward.question = query.question;
    const uint64_t number = next++;
    forwards[number] = std::move(forward);
    ++pod.forwards;
    NextServer(number);
  }

  // Ends the attempt that runs, if one does.
  void Hang(Forward& forward) {
    if (forward.token != 0) loop->Remove(forward.token);
    if (forward.timer != 0) loop->Remove(forward.timer);
    forward.token = forward.timer = 0;
    forward.fd.reset();
    forward.in.clear();
  }

  void EndForward(uint64_t number) {
    auto it = forwards.find(number);
    if (it == forwards.end()) return;
    Hang(it->second);
    auto pod = pods.find(it->second.asker.pod);
    if (pod != pods.end()) --pod->second.forwards;
    forwards.erase(it);
  }

  void Finish(uint64_t number, const std::string& answer) {
    const Asker asker = forwards.at(number).asker;
    const DnsQuestion question = forwards.at(number).question;
    EndForward(number);
    Answer(asker, question, answer);
  }

  void NextServer(uint64_t number) {
    for (;;) {
      Forward& forward = forwards.at(number);
      Hang(forward);
      forward.tcp = false;
      if (++forward.attempt >= kMaxAttempts) break;
      if (Dial(number)) return;
    }
    Forward& forward = forwards.at(number);
    Finish(number, DnsErrorAnswer(forward.query, {DnsCode::kOk, forward.question}, DnsCode::kServerFailure));
  }

  bool Dial(uint64_t number) {
    Forward& forward = forwards.at(number);
    const Address& server = forward.servers[static_cast<size_t>(forward.attempt) % forward.servers.size()];
    forward.fd.reset(::socket(server.v6 ? AF_INET6 : AF_INET,
                              (forward.tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!forward.fd.valid()) return false;
    socklen_t length = 0;
    sockaddr_storage where = SocketAddress(server, upstream_port, length);
    // Connected: answers of others do not arrive, and the kernel picks a port that nobody knows beforehand.
    if (::connect(forward.fd.get(), reinterpret_cast<sockaddr*>(&where), length) != 0 && errno != EINPROGRESS) {
      return false;
    }
    if (!forward.tcp && ::send(forward.fd.get(), forward.query.data(), forward.query.size(), MSG_NOSIGNAL) < 0) {
      return false;
    }
    Result<EventLoop::Token> token = loop->Watch(forward.fd.get(), forward.tcp ? EPOLLOUT : EPOLLIN,
                                                 [this, number](uint32_t) { OnForward(number); });
    if (!token.ok()) return false;
    forward.token = *token;
    forward.dialled = forward.tcp;
    forward.timer = loop->After(kAttempt, [this, number] {
      auto it = forwards.find(number);
      if (it == forwards.end()) return;
      it->second.timer = 0;
      NextServer(number);
    });
    return true;
  }

  void OnForward(uint64_t number) {
    auto it = forwards.find(number);
    if (it == forwards.end()) return;
    if (it->second.tcp) {
      OnTcpForward(number);
      return;
    }
    std::string answer(kMaxDnsMessage, '\0');
    const ssize_t n = ::recv(it->second.fd.get(), answer.data(), answer.size(), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {  // nobody is there
      NextServer(number);
      return;
    }
    answer.resize(static_cast<size_t>(n));
    Take(number, answer);
  }

  void Take(uint64_t number, const std::string& answer) {
    Forward& forward = forwards.at(number);
    if (!IsDnsAnswerTo(answer, forward.query)) return;
    const auto code = static_cast<DnsCode>(static_cast<uint8_t>(answer[3]) & 0x0f);
    if (code == DnsCode::kServerFailure || code == DnsCode::kRefused) {
      if (forward.attempt + 1 < static_cast<int>(forward.servers.size())) {
        NextServer(number);
        return;
      }
    }
    if (IsDnsTruncated(answer) && !forward.tcp && forward.asker.connection != 0) {
      Hang(forward);
      forward.tcp = true;
      if (!Dial(number)) NextServer(number);
      return;
    }
    Finish(number, answer);
  }

  void OnTcpForward(uint64_t number) {
    Forward& forward = forwards.at(number);
    if (forward.dialled) {
      forward.dialled = false;
      const std::string bytes = WithLength(forward.query);
      loop->Remove(forward.token);
      forward.token = 0;
      // The buffer of a new connection has room for it.
      const bool sent =
          ::send(forward.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
      Result<EventLoop::Token> token =
          loop->Watch(forward.fd.get(), EPOLLIN, [this, number](uint32_t) { OnForward(number); });
      if (token.ok()) forward.token = *token;
      if (!sent || !token.ok()) NextServer(number);
      return;
    }
    char buffer[16384];
    const ssize_t n = ::recv(forward.fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      NextServer(number);
      return;
    }
    forward.in.append(buffer, static_cast<size_t>(n));
    std::optional<std::string> answer = TakeMessage(forward.in);
    if (!answer) return;
    if (IsDnsAnswerTo(*answer, forward.query)) {
      Finish(number, *answer);
    } else {
      NextServer(number);
    }
  }
};

NameServer::NameServer(NameLookup lookup, int upstream_port)
    : lookup_(std::move(lookup)), upstream_port_(upstream_port) {}

NameServer::~NameServer() = default;

Status NameServer::Open(const PodId& pod, const std::string& netns_path, bool fresh) {
  State* state = nullptr;
  {
    std::lock_guard lock(starting_);
    if (!state_) {
      auto made = std::make_shared<State>(lookup_, upstream_port_);
      ASSIGN_OR_RETURN(made->loop, EventLoop::Start("davit-names"));
      state_ = std::move(made);
    }
    state = state_.get();
  }
  std::promise<bool> open;
  state->loop->Post([&] { open.set_value(state->pods.count(pod) != 0); });
  if (open.get_future().get()) return {};

  int port = kResolverPort;
  if (!HaveIptables()) {
    port = 53;  // then no container of the pod can serve names itself
  } else if (fresh) {
    RETURN_IF_ERROR(Redirect(netns_path).Annotate("lead questions for names to davitd"));
  }
  auto sockets = std::make_shared<State::Pod>();
  RETURN_IF_ERROR(sys::RunInNamespace(netns_path, sys::NamespaceKind::kNet, [&]() -> Status {
    ASSIGN_OR_RETURN(sockets->udp, BindInside(SOCK_DGRAM, port));
    ASSIGN_OR_RETURN(sockets->tcp, BindInside(SOCK_STREAM, port));
    return {};
  }));
  state->loop->Post([state, pod, sockets] { state->Add(pod, std::move(*sockets)); });
  return {};
}

void NameServer::Close(const PodId& pod) {
  State* state = nullptr;
  {
    std::lock_guard lock(starting_);
    state = state_.get();
  }
  if (state == nullptr) return;
  std::promise<void> closed;
  state->loop->Post([&] {
    state->Drop(pod);
    closed.set_value();
  });
  closed.get_future().wait();
}

}  // namespace davit::network
