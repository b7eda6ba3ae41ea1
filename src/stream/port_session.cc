#include "stream/port_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"

namespace davit::stream {

PortSession::Pair* PortSession::Find(PairKey key) {
  auto it = pairs_.find(key);
  return it == pairs_.end() ? nullptr : it->second.get();
}

PortSession::PairKey PortSession::KeyOf(uint32_t id) const {
  auto it = by_stream_.find(id);
  return it == by_stream_.end() ? 0 : it->second;
}

void PortSession::OnStream(uint32_t id, const StreamInfo& info) {
  if (stopped_) return;
  host_.Touch();
  bool error = info.type == "error";
  if (!error && info.type != "data") {
    host_.wire().Reset(id);
    return;
  }
  // The first clients sent no request id: they opened the error stream and then, as the next, the data
  // stream, and a client's ids go up by two.
  std::string request_id = info.request_id;
  if (request_id.empty()) request_id = fmt::format("stream {}", error ? id : id - 2);
  PairKey key = 0;
  for (const auto& [candidate, pair] : pairs_) {
    if (pair->request_id == request_id && !(error ? pair->has_error : pair->has_data)) key = candidate;
  }
  if (key == 0) {
    // A pair that went away while its connection was being made still counts.
    if (std::max(pairs_.size(), opening_) >= host_.options().max_port_pairs) {
      host_.wire().Reset(id);
      return;
    }
    key = next_key_++;
    auto pair = std::make_unique<Pair>(host_.loop());
    pair->request_id = request_id;
    pair->timer.Set(host_.options().stream_timeout,
                    [this, key] { Fail(key, "the client did not open both streams of the connection"); });
    pairs_.emplace(key, std::move(pair));
  }
  Pair& pair = *pairs_[key];
  (error ? pair.error : pair.data) = id;
  (error ? pair.has_error : pair.has_data) = true;
  by_stream_[id] = key;
  if (pair.port_text.empty()) pair.port_text = info.port;
  if (pair.has_error && pair.has_data) OpenPair(key);
}

void PortSession::OpenPair(PairKey key) {
  Pair& pair = *Find(key);
  pair.timer.Cancel();
  auto port = ParseUint64(pair.port_text);
  if (!port || *port == 0 || *port > 65535) {
    Fail(key, fmt::format("\"{}\" is not a port", Printable(pair.port_text, 16)));
    return;
  }
  int number = static_cast<int>(*port);
  if (!request_.ports.empty() &&
      std::find(request_.ports.begin(), request_.ports.end(), number) == request_.ports.end()) {
    Fail(key, fmt::format("port {} is not one that was asked for", number));
    return;
  }
  ++opening_;
  host_.pool().Post(
      [weak = weak_from_this(), key, pod = request_.pod, number, &backend = host_.backend(), &loop = host_.loop()] {
        auto opened = std::make_shared<Result<sys::UniqueFd>>(backend.OpenPort(pod, number));
        loop.Post([weak, key, number, opened] {
          if (auto self = weak.lock()) self->OnOpened(key, number, std::move(*opened));
        });
      });
}

void PortSession::OnOpened(PairKey key, int port, Result<sys::UniqueFd> fd) {
  --opening_;
  Pair* pair = stopped_ ? nullptr : Find(key);
  if (!pair) return;
  if (!fd.ok()) {
    Fail(key, fmt::format("error forwarding port {} to pod {}: {}", port, request_.pod.Short(), fd.status().message()));
    return;
  }
  FdStream::Events events;
  events.data = [this, key](std::string_view bytes) { OnPodData(key, bytes); };
  events.end = [this, key](const Status& why) { OnPodEnd(key, why); };
  events.written = [this, key](size_t bytes) {
    Pair* written = Find(key);
    if (!written) return;
    written->unwritten -= bytes;
    host_.wire().Consumed(written->data, bytes);
    CheckBuffer(*written);
  };
  events.broken = [this, key](const Status&) {
    // The pod takes no more; what it still has to say is read to its end.
    Pair* broken = Find(key);
    if (!broken) return;
    host_.wire().Consumed(broken->data, broken->unwritten);
    broken->unwritten = 0;
    broken->client_ended = true;
    CheckBuffer(*broken);
  };
  pair->socket = FdStream::Create(host_.loop(), std::move(*fd), std::move(events));
  std::shared_ptr<FdStream> socket = pair->socket;
  std::string early = std::move(pair->early);
  bool ended = pair->client_ended;
  socket->Write(early);
  if (ended) socket->EndWriting();
  socket->SetReading(!congested_);
  if (Pair* still = Find(key)) CheckBuffer(*still);
}

void PortSession::OnData(uint32_t id, std::string_view bytes) {
  if (stopped_) return;
  host_.Touch();
  Pair* pair = Find(KeyOf(id));
  if (!pair || id != pair->data || !pair->has_data || pair->client_ended) {
    host_.wire().Consumed(id, bytes.size());
    return;
  }
  pair->unwritten += bytes.size();
  PairKey key = KeyOf(id);
  if (pair->socket) {
    pair->socket->Write(bytes);
  } else {
    pair->early += bytes;
  }
  if (Pair* still = Find(key)) CheckBuffer(*still);
}

// One full pair stops the whole connection, since clients send without asking for windows.
void PortSession::CheckBuffer(Pair& pair) {
  if (stopped_) return;
  size_t limit = host_.options().stream_buffer_bytes;
  size_t buffered = pair.early.size() + (pair.socket ? pair.socket->buffered() : 0);
  bool full = buffered >= (pair.full ? limit / 2 : limit);
  if (full == pair.full) return;
  pair.full = full;
  full_ = full ? full_ + 1 : full_ - 1;
  host_.PauseInput(full_ > 0);
}

void PortSession::OnEnd(uint32_t id) {
  if (stopped_) return;
  PairKey key = KeyOf(id);
  Pair* pair = Find(key);
  if (!pair || !pair->has_data || id != pair->data || pair->client_ended) return;
  pair->client_ended = true;
  if (pair->socket) pair->socket->EndWriting();
  if (pair->server_ended) Finish(key);
}

// The client is done with the connection, in both directions.
void PortSession::OnReset(uint32_t id) {
  if (stopped_) return;
  PairKey key = KeyOf(id);
  Pair* pair = Find(key);
  if (!pair) return;
  bool data = pair->has_data && id == pair->data;
  if (data || !pair->socket) Finish(key);
}

void PortSession::OnPodData(PairKey key, std::string_view bytes) {
  Pair* pair = stopped_ ? nullptr : Find(key);
  if (!pair) return;
  host_.Touch();
  host_.wire().Send(pair->data, bytes);
  if (stopped_ || congested_ || !host_.Congested()) return;
  congested_ = true;
  for (auto& [other, entry] : pairs_) {
    if (entry->socket) entry->socket->SetReading(false);
  }
}

void PortSession::OnRoom() {
  if (!congested_ || stopped_) return;
  congested_ = false;
  for (auto& [key, pair] : pairs_) {
    if (pair->socket) pair->socket->SetReading(true);
  }
}

void PortSession::OnPodEnd(PairKey key, const Status& why) {
  Pair* pair = stopped_ ? nullptr : Find(key);
  if (!pair) return;
  if (!why.ok()) {
    Fail(key, fmt::format("forward port {}: {}", pair->port_text, why.message()));
    return;
  }
  pair->server_ended = true;
  host_.wire().End(pair->data);
  pair = stopped_ ? nullptr : Find(key);
  if (pair && pair->client_ended) Finish(key);
}

void PortSession::Fail(PairKey key, const std::string& text) {
  Pair* pair = Find(key);
  if (!pair) return;
  if (pair->has_error) host_.wire().Send(pair->error, text);
  Finish(key);
}

void PortSession::Finish(PairKey key) {
  auto it = pairs_.find(key);
  if (it == pairs_.end()) return;
  std::unique_ptr<Pair> pair = std::move(it->second);
  pairs_.erase(it);
  if (pair->has_data) by_stream_.erase(pair->data);
  if (pair->has_error) by_stream_.erase(pair->error);
  if (pair->full) --full_;
  if (pair->socket) pair->socket->Close();
  if (stopped_) return;
  Wire& wire = host_.wire();
  if (pair->has_data) {
    wire.Consumed(pair->data, pair->unwritten);
    wire.End(pair->data);
  }
  if (pair->has_error) wire.End(pair->error);
  if (pair->full && !stopped_) host_.PauseInput(full_ > 0);
}

void PortSession::Stop() {
  if (stopped_) return;
  stopped_ = true;
  for (auto& [key, pair] : pairs_) {
    pair->timer.Cancel();
    if (pair->socket) pair->socket->Close();
  }
  pairs_.clear();
  by_stream_.clear();
}

}  // namespace davit::stream
