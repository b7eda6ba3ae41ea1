#include "api/exec_sessions.h"

#include <sys/random.h>

#include "base/strings.h"

namespace davit::api {
namespace {

constexpr std::chrono::minutes kKeep{5};

}  // namespace

std::string NewId() {
  std::string bytes(32, '\0');
  size_t got = 0;
  while (got < bytes.size()) {
    ssize_t n = ::getrandom(bytes.data() + got, bytes.size() - got, 0);
    if (n > 0) got += static_cast<size_t>(n);
  }
  return HexEncode(bytes);
}

void ExecSessions::Prune() {
  auto now = std::chrono::steady_clock::now();
  std::erase_if(sessions_,
                [&](const auto& entry) { return !entry.second.session.running && now - entry.second.touched > kKeep; });
}

Result<std::string> ExecSessions::Add(ExecSession session) {
  std::lock_guard lock(mutex_);
  Prune();
  if (sessions_.size() >= kMost) return ResourceExhausted("too many exec sessions");
  session.id = NewId();
  std::string id = session.id;
  sessions_[id] = Kept{std::move(session), std::chrono::steady_clock::now()};
  return id;
}

Result<ExecSession> ExecSessions::Find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  auto it = sessions_.find(id);
  if (it == sessions_.end()) {
    return NotFound("No such exec instance: " + Printable(id) +
                    ": no exec session with ID found: no such exec session");
  }
  return it->second.session;
}

Status ExecSessions::MarkStarted(const std::string& id) {
  std::lock_guard lock(mutex_);
  auto it = sessions_.find(id);
  if (it == sessions_.end()) return NotFound("No such exec instance: " + Printable(id));
  if (it->second.session.started) return FailedPrecondition("exec session " + id.substr(0, 12) + " has been started");
  it->second.session.started = true;
  it->second.session.running = true;
  it->second.touched = std::chrono::steady_clock::now();
  return {};
}

void ExecSessions::MarkEnded(const std::string& id, int exit_code) {
  std::lock_guard lock(mutex_);
  auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  it->second.session.running = false;
  it->second.session.exit_code = exit_code;
  it->second.touched = std::chrono::steady_clock::now();
}

std::vector<std::string> ExecSessions::OfContainer(const std::string& container) const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [id, kept] : sessions_) {
    if (kept.session.container == container && kept.session.running) out.push_back(id);
  }
  return out;
}

}  // namespace davit::api
