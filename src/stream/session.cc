#include "stream/session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/log.h"
#include "stream/exec_session.h"
#include "stream/port_session.h"

namespace davit::stream {
namespace {

// 0 stdin to 4 resize, those that the request asked for.
ChannelOptions ExecChannels(const TicketRequest& request, const Upgrade& upgrade) {
  ChannelOptions options;
  options.base64 = upgrade.base64;
  options.half_close = upgrade.version >= 5;
  auto add = [&](const auto& r) {
    options.channels = {{r.want_stdin ? "stdin" : "", "", ""},
                        {r.want_stdout ? "stdout" : "", "", ""},
                        {r.want_stderr && !r.terminal ? "stderr" : "", "", ""},
                        {"error", "", ""},
                        {r.terminal ? "resize" : "", "", ""}};
  };
  if (const auto* exec = std::get_if<ExecRequest>(&request)) add(*exec);
  if (const auto* attach = std::get_if<AttachRequest>(&request)) add(*attach);
  return options;
}

ChannelOptions PortChannels(const std::vector<int>& ports, const Upgrade& upgrade) {
  ChannelOptions options;
  options.base64 = upgrade.base64;
  for (size_t i = 0; i < ports.size(); ++i) {
    for (const char* type : {"data", "error"}) {
      options.channels.push_back({type, std::to_string(ports[i]), std::to_string(i)});
      options.greetings.push_back({static_cast<char>(ports[i] & 0xff), static_cast<char>(ports[i] >> 8)});
    }
  }
  return options;
}

}  // namespace

Session::Session(SessionContext& context, std::function<void()> on_redeemed, std::function<void()> on_closed)
    : context_(context),
      on_redeemed_(std::move(on_redeemed)),
      on_closed_(std::move(on_closed)),
      timer_(*context.loop),
      idle_timer_(*context.loop),
      last_activity_(std::chrono::steady_clock::now()) {}

void Session::Begin(sys::UniqueFd connection) {
  int on = 1;
  // Keystrokes must not wait for Nagle; keep-alive finds clients whose machine went away.
  ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(connection.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  FdStream::Events events;
  // Weak: a callback of the connection may be what ends the session.
  auto with = [weak = weak_from_this()](auto method) {
    return [weak, method](auto&&... args) {
      auto self = weak.lock();
      if (self && !self->closed_) ((*self).*method)(args...);
    };
  };
  events.data = with(&Session::OnInput);
  events.end = with(&Session::OnInputEnd);
  events.broken = with(&Session::Close);
  events.written = [weak = weak_from_this()](size_t) {
    auto self = weak.lock();
    if (self && !self->closed_) self->OnWritten();
  };
  events.hangup = [weak = weak_from_this()] {
    auto self = weak.lock();
    if (self && !self->closed_) self->Close(Cancelled("the client went away"));
  };
  connection_ = FdStream::Create(loop(), std::move(connection), std::move(events));
  timer_.Set(options().header_timeout, [this] { Refuse(http::ErrorResponse(408, "the request head did not arrive")); });
  connection_->SetReading(true);
}

void Session::Close(const Status& why) {
  if (closed_) return;
  closed_ = true;
  LogDebug("stream session ends: {}", why.ToString());
  timer_.Cancel();
  idle_timer_.Cancel();
  if (connection_) connection_->Close();
  if (program_) program_->Stop();
  // Callers further up the stack are methods of this, of the wire and of the program.
  loop().Post([self = shared_from_this()] {});
  on_closed_();
}

void Session::OnInput(std::string_view bytes) {
  switch (phase_) {
    case Phase::kHead:
      break;
    case Phase::kStreams:
    case Phase::kFinishing:
      WireInput(bytes);
      return;
    case Phase::kRefused:
      return;  // read so that the answer is not lost in a reset
  }
  head_ += bytes;
  auto head = http::ParseRequestHead(head_, options().max_header_bytes);
  if (!head.ok()) {
    int code = head.code() == StatusCode::kResourceExhausted ? 431 : 400;
    Refuse(http::ErrorResponse(code, head.status().message()));
    return;
  }
  if (!*head) return;
  std::string input = std::move(head_);
  head_ = std::string();
  OnHead(**head, std::string_view(input).substr((*head)->bytes));
}

void Session::OnHead(const http::RequestHead& head, std::string_view rest) {
  if (auto refusal = RefuseRequest(head)) {
    Refuse(*refusal);
    return;
  }
  auto ticket = ParseTicketPath(head.path);
  auto request = ticket ? context_.tickets->Peek(ticket->first, ticket->second) : NotFound("no such path");
  if (!request.ok()) {
    Refuse(http::ErrorResponse(404, "no such session: the URL is unknown, was used, or has expired"));
    return;
  }
  auto* ports = std::get_if<PortForwardRequest>(&*request);
  Handshake handshake = Negotiate(head, ports != nullptr);
  if (!handshake.upgrade) {
    Refuse(handshake.refusal);
    return;
  }
  const Upgrade& upgrade = *handshake.upgrade;
  ChannelOptions channels;
  if (upgrade.framing == Framing::kChannels) {
    if (ports) {
      auto numbers = ChannelPorts(head, *ports);
      if (!numbers.ok()) {
        Refuse(http::ErrorResponse(400, numbers.status().message()));
        return;
      }
      channels = PortChannels(*numbers, upgrade);
    } else {
      channels = ExecChannels(*request, upgrade);
    }
  }
  // Only now: a client whose protocol was refused may try another with the same URL.
  auto redeemed = context_.tickets->Redeem(ticket->first, ticket->second);
  if (!redeemed.ok()) {
    Refuse(http::ErrorResponse(404, "no such session: the URL is unknown, was used, or has expired"));
    return;
  }
  on_redeemed_();
  StartProgram(upgrade, std::move(*redeemed), std::move(channels), rest);
}

void Session::StartProgram(const Upgrade& upgrade, TicketRequest request, ChannelOptions channels,
                           std::string_view rest) {
  phase_ = Phase::kStreams;
  timer_.Cancel();
  Touch();
  WatchIdle();
  ByteSink out = [this](std::string_view bytes) {
    connection_->Write(bytes);
    if (!closed_ && connection_->buffered() >= options().stream_buffer_bytes) congested_ = true;
  };
  size_t max_streams = 16 + 2 * options().max_port_pairs;
  switch (upgrade.framing) {
    case Framing::kSpdy:
      wire_ = std::make_unique<SpdyWire>(*this, out, max_streams);
      break;
    case Framing::kChannels:
      wire_ = std::make_unique<ChannelWire>(*this, out, std::move(channels));
      break;
    case Framing::kTunnel:
      wire_ = std::make_unique<TunnelWire>(*this, out, max_streams);
      break;
  }
  connection_->Write(upgrade.answer);
  if (auto* ports = std::get_if<PortForwardRequest>(&request)) {
    program_ = std::make_shared<PortSession>(*this, std::move(*ports));
  } else {
    std::variant<ExecRequest, AttachRequest> process;
    if (auto* exec = std::get_if<ExecRequest>(&request)) process = std::move(*exec);
    if (auto* attach = std::get_if<AttachRequest>(&request)) process = std::move(*attach);
    auto program = std::make_shared<ExecSession>(*this, std::move(process), upgrade.version);
    program->Begin();
    program_ = std::move(program);
  }
  wire_->Start();
  if (!closed_ && !rest.empty()) WireInput(rest);
}

void Session::WireInput(std::string_view bytes) {
  Status status = wire_->Input(bytes);
  if (closed_) return;
  // What is answered at once (pings, opened streams) queues up behind a client that does not read. It is not heard
  // before it has: its own buffer fills then, and not ours.
  if (connection_->buffered() >= 2 * options().stream_buffer_bytes) {
    flooded_ = true;
    UpdateReading();
  }
  if (!status.ok()) {
    Close(status);
  } else if (wire_->peer_done()) {
    // The client said goodbye: nothing that it sent comes any more, and it takes nothing.
    if (connection_->buffered() == 0) {
      Close(Cancelled("the client closed the session"));
    } else {
      program_->Stop();
      WaitForClose();
    }
  }
}

void Session::OnInputEnd(const Status& why) {
  if (phase_ == Phase::kFinishing && connection_->buffered() > 0) return;  // it may still be reading
  Close(why.ok() ? Cancelled("the client closed the connection") : why);
}

bool Session::Congested() const { return congested_; }

void Session::PauseInput(bool pause) {
  paused_ = pause;
  UpdateReading();
}

void Session::UpdateReading() {
  if (!closed_) connection_->SetReading(!paused_ && !flooded_);
}

void Session::OnWritten() {
  size_t buffered = connection_->buffered();
  if (flooded_ && buffered < options().stream_buffer_bytes) {
    flooded_ = false;
    UpdateReading();
  }
  if (phase_ == Phase::kFinishing || phase_ == Phase::kRefused) {
    if (buffered != 0) return;
    if (connection_->read_ended() || (wire_ && wire_->peer_done())) {
      Close({});
    } else if (phase_ == Phase::kFinishing) {
      WaitForClose();
    }
    return;
  }
  if (congested_ && buffered < options().stream_buffer_bytes / 2) {
    congested_ = false;
    if (program_) program_->OnRoom();
  }
}

void Session::Complete() {
  if (closed_ || phase_ == Phase::kFinishing) return;
  phase_ = Phase::kFinishing;
  wire_->Finish(/*hang_up=*/false);
  if (closed_) return;
  WaitForClose();
}

// Gives the client time to hang up, counted from when it has taken the last byte, which may be hours after
// the process's end (a pager that waits for a key); then says goodbye and closes.
void Session::WaitForClose() {
  phase_ = Phase::kFinishing;
  timer_.Set(options().close_timeout, [this] {
    if (connection_->buffered() > 0) {
      WaitForClose();
      return;
    }
    wire_->Finish(/*hang_up=*/true);
    Close(DeadlineExceeded("the client did not hang up"));
  });
}

void Session::Refuse(std::string_view answer) {
  phase_ = Phase::kRefused;
  connection_->Write(answer);
  if (closed_) return;
  connection_->EndWriting();
  // The client closes when it has read the answer.
  timer_.Set(options().close_timeout, [this] { Close(DeadlineExceeded("the client did not hang up")); });
}

void Session::WatchIdle() {
  auto idle = std::chrono::steady_clock::now() - last_activity_;
  if (idle >= options().idle_timeout) {
    Close(DeadlineExceeded("the session was idle"));
    return;
  }
  idle_timer_.Set(options().idle_timeout - idle, [this] { WatchIdle(); });
}

}  // namespace davit::stream
