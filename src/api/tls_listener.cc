#include "api/tls_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/log.h"
#include "base/strings.h"
#include "sys/unix_socket.h"

namespace davit::api {
namespace {

constexpr std::chrono::seconds kHandshakeLimit{10};
constexpr size_t kPiece = 32 * 1024;
constexpr int kRounds = 64;  // of one relay before others have their turn
constexpr int kMaxHandshakes = 256;

struct FreeContext {
  void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
};
struct FreeSession {
  void operator()(SSL* session) const { ::SSL_free(session); }
};
using Context = std::unique_ptr<SSL_CTX, FreeContext>;

std::string LastError() {
  char text[256] = "no reason given";
  if (unsigned long code = ::ERR_peek_last_error(); code != 0) ::ERR_error_string_n(code, text, sizeof text);
  ::ERR_clear_error();
  return text;
}

Result<Context> MakeContext(const TlsFiles& files) {
  Context context(::SSL_CTX_new(::TLS_server_method()));
  if (!context) return Internal("TLS: " + LastError());
  ::SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  ::SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ::SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_num_tickets(context.get(), 0);
  ::SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (::SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1) {
    return InvalidArgument("TLS certificate " + files.certificate + ": " + LastError());
  }
  if (::SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return InvalidArgument("TLS key " + files.key + ": " + LastError());
  }
  if (::SSL_CTX_check_private_key(context.get()) != 1) {
    return InvalidArgument("TLS key " + files.key + " is not that of " + files.certificate);
  }
  STACK_OF(X509_NAME)* names = ::SSL_load_client_CA_file(files.authority.c_str());
  if (names == nullptr || ::SSL_CTX_load_verify_locations(context.get(), files.authority.c_str(), nullptr) != 1) {
    return InvalidArgument("TLS authority " + files.authority + ": " + LastError());
  }
  ::SSL_CTX_set_client_CA_list(context.get(), names);
  ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return context;
}

// One client: TLS on one side, plain bytes of a socket pair on the other. All on the loop's thread. It lives in the
// callbacks of its watches.
class Relay : public std::enable_shared_from_this<Relay> {
 public:
  Relay(sched::EventLoop& loop, sys::UniqueFd outside, SSL* session, std::string socket,
        std::shared_ptr<int> handshakes)
      : loop_(loop),
        outside_(std::move(outside)),
        session_(session),
        socket_(std::move(socket)),
        handshakes_(std::move(handshakes)) {
    ++*handshakes_;
  }
  ~Relay() { EndHandshake(); }

  Status Start() {
    ::SSL_set_fd(session_.get(), outside_.get());
    ::SSL_set_accept_state(session_.get());
    ASSIGN_OR_RETURN(outside_watch_, Watch(outside_.get()));
    auto self = shared_from_this();
    timer_ = loop_.After(kHandshakeLimit, [self] {
      self->timer_ = 0;
      self->Close();
    });
    return {};
  }

 private:
  Result<sched::EventLoop::Token> Watch(int fd) {
    auto self = shared_from_this();
    return loop_.Watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, [self, fd](uint32_t events) {
      // The server has closed its end: there is nobody to read for.
      if (self->inside_.valid() && fd == self->inside_.get() && (events & (EPOLLHUP | EPOLLERR)) != 0) {
        self->server_left_ = true;
      }
      self->Go();
    });
  }

  void EndHandshake() {
    if (handshakes_) --*handshakes_;
    handshakes_.reset();
  }

  void Close() {
    if (over_) return;
    over_ = true;
    if (timer_ != 0) loop_.Remove(timer_);
    if (outside_watch_ != 0) loop_.Remove(outside_watch_);
    if (inside_watch_ != 0) loop_.Remove(inside_watch_);
    EndHandshake();
    session_.reset();
    outside_.reset();
    inside_.reset();
  }

  void Go() {
    auto self = shared_from_this();
    if (over_) return;
    if (!inside_.valid() && !Handshake()) return;
    for (int round = 0; !over_; ++round) {
      if (round == kRounds) {
        loop_.Post([self] { self->Go(); });
        return;
      }
      bool moved = FromClient();
      moved = (!over_ && ToClient()) || moved;
      if (!moved) return;
    }
  }

  // True when it is through.
  bool Handshake() {
    ::ERR_clear_error();
    int result = ::SSL_do_handshake(session_.get());
    if (result != 1) {
      int why = ::SSL_get_error(session_.get(), result);
      if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return false;
      LogInfo("a client by TCP was refused: {}", LastError());
      Close();
      return false;
    }
    Result<sys::UniqueFd> inside = sys::ConnectUnix(socket_, SOCK_STREAM);
    if (inside.ok()) inside_ = std::move(*inside);
    Status status = inside.ok() ? sys::SetNonBlocking(inside_.get(), true) : inside.status();
    if (!status.ok()) {
      LogWarning("a client by TCP: {}", status.message());
      Close();
      return false;
    }
    Result<sched::EventLoop::Token> watch = Watch(inside_.get());
    if (!watch.ok()) {
      Close();
      return false;
    }
    inside_watch_ = *watch;
    if (timer_ != 0) loop_.Remove(timer_);
    timer_ = 0;
    EndHandshake();
    return true;
  }

  bool FromClient() {
    bool moved = false;
    if (in_.empty() && !client_ended_) {
      in_.resize(kPiece);
      ::ERR_clear_error();
      int n = ::SSL_read(session_.get(), in_.data(), static_cast<int>(in_.size()));
      in_.resize(n > 0 ? static_cast<size_t>(n) : 0);
      if (n <= 0) {
        int why = ::SSL_get_error(session_.get(), n);
        if (why == SSL_ERROR_ZERO_RETURN) {
          client_ended_ = true;
        } else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
          Close();  // a connection that ends without its last word is not whole
          return false;
        }
      }
      moved = n > 0 || client_ended_;
    }
    if (!in_.empty()) {
      ssize_t n = ::send(inside_.get(), in_.data(), in_.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN && errno != EINTR) server_left_ = true;
      if (server_left_) in_.clear();  // what the server said last still goes out
      if (n > 0) in_.erase(0, static_cast<size_t>(n));
      moved = moved || n > 0;
    }
    if (client_ended_ && in_.empty() && !told_server_) {
      told_server_ = true;
      ::shutdown(inside_.get(), SHUT_WR);
    }
    return moved;
  }

  bool ToClient() {
    bool moved = false;
    if (out_.empty() && !server_ended_) {
      out_.resize(kPiece);
      ssize_t n = ::recv(inside_.get(), out_.data(), out_.size(), 0);
      out_.resize(n > 0 ? static_cast<size_t>(n) : 0);
      server_ended_ = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
      moved = n > 0;
    }
    if (!out_.empty()) {
      ::ERR_clear_error();
      int n = ::SSL_write(session_.get(), out_.data(), static_cast<int>(out_.size()));
      if (n > 0) {
        out_.erase(0, static_cast<size_t>(n));
        moved = true;
      } else {
        int why = ::SSL_get_error(session_.get(), n);
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
          Close();
          return false;
        }
      }
    }
    if (server_ended_ && out_.empty()) {
      if (!told_client_) {
        told_client_ = true;
        ::SSL_shutdown(session_.get());
        ::shutdown(outside_.get(), SHUT_WR);
      }
      if (client_ended_ || server_left_) Close();
    }
    return moved;
  }

  sched::EventLoop& loop_;
  sys::UniqueFd outside_;
  sys::UniqueFd inside_;  // not valid: the handshake goes on
  std::unique_ptr<SSL, FreeSession> session_;
  const std::string socket_;
  std::shared_ptr<int> handshakes_;
  sched::EventLoop::Token outside_watch_ = 0;
  sched::EventLoop::Token inside_watch_ = 0;
  sched::EventLoop::Token timer_ = 0;
  std::string in_;   // from the client, for the server
  std::string out_;  // the other way
  bool client_ended_ = false;
  bool server_ended_ = false;
  bool server_left_ = false;
  bool told_server_ = false;
  bool told_client_ = false;
  bool over_ = false;
};

}  // namespace

Result<sys::UniqueFd> ListenTcp(const std::string& address) {
  std::string text = address.starts_with("tcp://") ? address.substr(6) : address;
  size_t colon = text.rfind(':');
  std::string host = text.substr(0, std::min(colon, text.size()));
  auto port = colon == std::string::npos ? std::nullopt : ParseInt64(text.substr(colon + 1));
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  sockaddr_in six_less{};
  sockaddr_in6 six{};
  bool four = ::inet_pton(AF_INET, host.c_str(), &six_less.sin_addr) == 1;
  if (!port || *port < 0 || *port > 65535 || (!four && ::inet_pton(AF_INET6, host.c_str(), &six.sin6_addr) != 1)) {
    return InvalidArgument("\"" + Printable(address, 128) + "\" is no address with a port, as 0.0.0.0:2376");
  }
  six_less.sin_family = AF_INET;
  six_less.sin_port = htons(static_cast<uint16_t>(*port));
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(static_cast<uint16_t>(*port));
  sys::UniqueFd fd(::socket(four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoError(errno, "socket");
  int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const sockaddr* where = four ? reinterpret_cast<sockaddr*>(&six_less) : reinterpret_cast<sockaddr*>(&six);
  if (::bind(fd.get(), where, four ? sizeof six_less : sizeof six) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) {
    return ErrnoError(errno, "listen on " + text);
  }
  return fd;
}

struct TlsListener::State {
  State(sched::EventLoop& event_loop, sys::UniqueFd fd, Context made, std::string path)
      : loop(event_loop), listener(std::move(fd)), context(std::move(made)), socket(std::move(path)) {}

  void Accept() {
    for (;;) {
      sys::UniqueFd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!client.valid()) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        return;
      }
      if (*handshakes >= kMaxHandshakes) {
        LogWarning("a client by TCP was refused: {} handshakes are under way", *handshakes);
        continue;
      }
      int one = 1;
      ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      ::setsockopt(client.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
      SSL* session = ::SSL_new(context.get());
      if (session == nullptr) continue;
      auto relay = std::make_shared<Relay>(loop, std::move(client), session, socket, handshakes);
      if (Status status = relay->Start(); !status.ok()) LogWarning("a client by TCP: {}", status.message());
    }
  }

  sched::EventLoop& loop;
  const sys::UniqueFd listener;
  const Context context;
  const std::string socket;
  const std::shared_ptr<int> handshakes = std::make_shared<int>(0);  // of the loop's thread
  sched::EventLoop::Token watch = 0;
};

Result<std::unique_ptr<TlsListener>> TlsListener::Start(sched::EventLoop& loop, sys::UniqueFd listener,
                                                        const TlsFiles& files, std::string socket) {
  ASSIGN_OR_RETURN(Context context, MakeContext(files));
  RETURN_IF_ERROR(sys::SetNonBlocking(listener.get(), true));
  auto state = std::make_shared<State>(loop, std::move(listener), std::move(context), std::move(socket));
  ASSIGN_OR_RETURN(state->watch,
                   loop.Watch(state->listener.get(), EPOLLIN, [raw = state.get()](uint32_t) { raw->Accept(); }));
  return std::unique_ptr<TlsListener>(new TlsListener(std::move(state)));
}

TlsListener::~TlsListener() { state_->loop.Remove(state_->watch); }

}  // namespace davit::api
