#include "stream/exec_session.h"

#include <sys/epoll.h>

#include "base/log.h"
#include "stream/end_status.h"

namespace davit::stream {
namespace {

constexpr std::string_view kRoleNames[] = {"error", "stdin", "stdout", "stderr", "resize"};
constexpr int kFirstResizeVersion = 3;

}  // namespace

ExecSession::ExecSession(Host& host, std::variant<ExecRequest, AttachRequest> request, int version)
    : host_(host),
      request_(std::move(request)),
      wants_(std::visit(
          [](const auto& r) {
            return Wants{r.terminal, r.want_stdin, r.want_stdout, r.want_stderr && !r.terminal};
          },
          request_)),
      version_(version),
      stream_timer_(host.loop()),
      drain_timer_(host.loop()) {}

void ExecSession::Begin() {
  stream_timer_.Set(host_.options().stream_timeout, [this] {
    host_.Abort(DeadlineExceeded("the client did not open every stream that it asked for"));
  });
}

void ExecSession::OnStream(uint32_t id, const StreamInfo& info) {
  if (stopped_) return;
  for (size_t role = 0; role < kRoles; ++role) {
    if (info.type != kRoleNames[role] || ids_[role]) continue;
    ids_[role] = id;
    if (!opening_ && HasAllStreams()) Open();
    return;
  }
  host_.wire().Reset(id);  // of no known type, or a second one
}

bool ExecSession::HasAllStreams() const {
  return ids_[kError] && (!wants_.stdin || ids_[kStdin]) && (!wants_.stdout || ids_[kStdout]) &&
         (!wants_.stderr || ids_[kStderr]) && (!wants_.terminal || version_ < kFirstResizeVersion || ids_[kResize]);
}

std::optional<ExecSession::Role> ExecSession::RoleOf(uint32_t id) const {
  for (size_t role = 0; role < kRoles; ++role) {
    if (ids_[role] == id) return static_cast<Role>(role);
  }
  return std::nullopt;
}

void ExecSession::Open() {
  opening_ = true;
  stream_timer_.Cancel();
  host_.pool().Post([weak = weak_from_this(), request = request_, &backend = host_.backend(), &loop = host_.loop()] {
    auto opened = std::make_shared<Result<std::unique_ptr<Process>>>(
        std::holds_alternative<ExecRequest>(request) ? backend.OpenExec(std::get<ExecRequest>(request))
                                                     : backend.OpenAttach(std::get<AttachRequest>(request)));
    // When the session is over by now, the process goes with the task.
    loop.Post([weak, opened] {
      auto self = weak.lock();
      if (self && !self->stopped_) self->OnOpened(std::move(*opened));
    });
  });
}

void ExecSession::OnOpened(Result<std::unique_ptr<Process>> opened) {
  if (!opened.ok()) {
    Conclude(opened.status());
    return;
  }
  process_ = std::move(*opened);
  if (wants_.terminal && process_->terminal.valid()) {
    OpenTerminal(std::move(process_->terminal));
  } else {
    if (wants_.stdin && process_->stdin_fd.valid()) {
      input_ = FdStream::Create(host_.loop(), std::move(process_->stdin_fd), InputEvents());
    } else {
      input_closed_ = true;
    }
    AddOutput(std::move(process_->stdout_fd), kStdout);
    AddOutput(std::move(process_->stderr_fd), kStderr);
  }
  process_->stdin_fd.reset();
  process_->terminal.reset();
  if (size_ && wants_.terminal) process_->Resize(size_->width, size_->height);
  if (int fd = process_->exit_fd(); fd >= 0) {
    auto watch = host_.loop().Watch(fd, EPOLLIN, [weak = weak_from_this()](uint32_t) {
      if (auto self = weak.lock()) self->OnExit();
    });
    if (!watch.ok()) {
      Conclude(watch.status().Annotate("wait for the process"));
      return;
    }
    exit_watch_ = *watch;
  }
  std::string early = std::move(early_input_);
  early_input_.clear();
  if (input_) {
    input_->Write(early);
    if (input_ended_) EndInput();
  } else if (ids_[kStdin]) {
    host_.wire().Consumed(*ids_[kStdin], early.size());
    unwritten_ = 0;
  }
  CheckInput();
  CheckDone();
}

void ExecSession::OpenTerminal(sys::UniqueFd fd) {
  FdStream::Events events = InputEvents();
  events.data = [this](std::string_view bytes) { OnOutput(kStdout, bytes); };
  events.end = [this](const Status&) { OnOutputEnd(kStdout); };
  auto terminal = FdStream::Create(host_.loop(), std::move(fd), std::move(events));
  outputs_[0] = {terminal, kStdout};
  terminal->SetReading(true);
  if (wants_.stdin) {
    input_ = std::move(terminal);
  } else {
    input_closed_ = true;
  }
}

// Output that is not wanted is read and dropped, so that the process does not block on it.
void ExecSession::AddOutput(sys::UniqueFd fd, Role role) {
  if (!fd.valid()) return;
  FdStream::Events events;
  events.data = [this, role](std::string_view bytes) { OnOutput(role, bytes); };
  events.end = [this, role](const Status&) { OnOutputEnd(role); };
  Output& output = outputs_[role == kStdout ? 0 : 1];
  output = {FdStream::Create(host_.loop(), std::move(fd), std::move(events)), role};
  output.source->SetReading(true);
}

FdStream::Events ExecSession::InputEvents() {
  FdStream::Events events;
  events.written = [this](size_t bytes) {
    unwritten_ -= bytes;
    host_.wire().Consumed(*ids_[kStdin], bytes);
    CheckInput();
  };
  events.broken = [this](const Status&) { DropInput(); };
  return events;
}

void ExecSession::OnData(uint32_t id, std::string_view bytes) {
  if (stopped_) return;
  host_.Touch();
  std::optional<Role> role = RoleOf(id);
  if (role != kStdin || !wants_.stdin || input_closed_ || input_ended_) {
    host_.wire().Consumed(id, bytes.size());
  }
  if (role == kResize) {
    for (const TerminalSize& size : resizes_.Feed(bytes)) size_ = size;
    if (size_ && process_ && wants_.terminal && !exit_) process_->Resize(size_->width, size_->height);
    return;
  }
  if (role != kStdin || !wants_.stdin || input_closed_ || input_ended_) return;
  unwritten_ += bytes.size();
  if (input_) {
    input_->Write(bytes);
  } else {
    early_input_ += bytes;
  }
  CheckInput();
}

void ExecSession::OnEnd(uint32_t id) {
  if (stopped_ || RoleOf(id) != kStdin || input_ended_) return;
  input_ended_ = true;
  if (input_) EndInput();
}

void ExecSession::OnReset(uint32_t id) {
  // Output for it is still read, and dropped by the wire.
  OnEnd(id);
}

// A terminal has no half-close: its end of input is a character that the client types.
void ExecSession::EndInput() {
  if (!wants_.terminal) input_->EndWriting();
}

void ExecSession::DropInput() {
  if (stopped_ || input_closed_) return;
  input_closed_ = true;
  // Tells a client that copies its own stdin that it may stop.
  if (!wants_.terminal && !concluded_) host_.wire().End(*ids_[kStdin]);
  host_.wire().Consumed(*ids_[kStdin], unwritten_);
  unwritten_ = 0;
  CheckInput();
}

size_t ExecSession::InputBuffered() const { return early_input_.size() + (input_ ? input_->buffered() : 0); }

void ExecSession::CheckInput() {
  if (stopped_) return;
  size_t limit = host_.options().stream_buffer_bytes;
  bool pause = !input_closed_ && !concluded_ && InputBuffered() >= (paused_ ? limit / 2 : limit);
  if (pause == paused_) return;
  paused_ = pause;
  host_.PauseInput(pause);
}

void ExecSession::OnOutput(Role role, std::string_view bytes) {
  if (stopped_ || concluded_) return;
  quiet_ = false;
  bool wanted = role == kStdout ? wants_.stdout : wants_.stderr;
  if (!wanted) return;
  host_.Touch();
  host_.wire().Send(*ids_[role], bytes);
  if (stopped_ || !host_.Congested()) return;
  congested_ = true;
  for (Output& output : outputs_) {
    if (output.source) output.source->SetReading(false);
  }
}

void ExecSession::OnRoom() {
  if (!congested_ || stopped_ || concluded_) return;
  congested_ = false;
  quiet_ = false;
  // Time in which the client kept us from reading does not count against the output.
  if (exit_) drain_until_ = std::chrono::steady_clock::now() + host_.options().drain_limit;
  for (Output& output : outputs_) {
    if (output.source) output.source->SetReading(true);
  }
}

void ExecSession::OnOutputEnd(Role role) {
  if (stopped_ || concluded_) return;
  Output& output = outputs_[role == kStdout ? 0 : 1];
  if (output.source != input_ && output.source) output.source->Close();
  output.source.reset();
  CheckDone();
}

bool ExecSession::OutputsEnded() const { return !outputs_[0].source && !outputs_[1].source; }

void ExecSession::OnExit() {
  if (exit_watch_ != 0) host_.loop().Remove(exit_watch_);
  exit_watch_ = 0;
  if (stopped_ || concluded_ || exit_) return;
  exit_ = process_->ExitCode();
  drain_until_ = std::chrono::steady_clock::now() + host_.options().drain_limit;
  CheckDone();
  if (!stopped_ && !concluded_) Drain();
}

// What the process wrote before it ended is still in the pipes, and a grandchild may hold them open for
// ever: the output has ended after a while of silence, or at the limit, but never while the client is what
// keeps it from being read.
void ExecSession::Drain() {
  quiet_ = true;
  drain_timer_.Set(host_.options().drain_quiet, [this] {
    if (stopped_ || concluded_) return;
    bool unread = false;
    for (const Output& output : outputs_) unread = unread || (output.source && output.source->Readable());
    bool late = std::chrono::steady_clock::now() >= drain_until_;
    if (congested_ || (!late && (unread || !quiet_))) {
      if (congested_) drain_until_ = std::chrono::steady_clock::now() + host_.options().drain_limit;
      Drain();
      return;
    }
    for (Output& output : outputs_) {
      if (output.source && output.source != input_) output.source->Close();
      output.source.reset();
    }
    CheckDone();
  });
}

void ExecSession::CheckDone() {
  if (stopped_ || concluded_ || !process_ || !OutputsEnded()) return;
  if (!exit_ && process_->exit_fd() < 0) exit_ = process_->ExitCode();
  if (exit_) Conclude(*exit_);
}

void ExecSession::Conclude(const Result<int>& exit) {
  concluded_ = true;
  // An attach that the container's end ended has succeeded, whatever the container's exit code.
  bool attach = std::holds_alternative<AttachRequest>(request_);
  std::string text = EndStatusText(exit.ok() && attach ? Result<int>(0) : exit, version_);
  ReleaseProcess();
  Wire& wire = host_.wire();
  // The first version's client takes the end of its output for success, even when an error has come: it
  // gets the end of its output only when there is none.
  bool keep_output_open = version_ == 1 && !text.empty();
  for (Role role : {kStdout, kStderr}) {
    if (ids_[role] && !keep_output_open) wire.End(*ids_[role]);
  }
  for (Role role : {kStdin, kResize}) {
    if (ids_[role]) wire.End(*ids_[role]);
  }
  if (!text.empty()) wire.Send(*ids_[kError], text);
  wire.End(*ids_[kError]);
  if (paused_) host_.PauseInput(false);
  paused_ = false;
  host_.Complete();
}

// On a worker: the Process's end may block while it kills or detaches.
void ExecSession::ReleaseProcess() {
  drain_timer_.Cancel();
  if (exit_watch_ != 0) host_.loop().Remove(exit_watch_);
  exit_watch_ = 0;
  for (Output& output : outputs_) {
    if (output.source) output.source->Close();
    output.source.reset();
  }
  if (input_) input_->Close();
  input_.reset();
  early_input_ = std::string();
  input_closed_ = true;
  if (!process_) return;
  host_.pool().Post([process = std::shared_ptr<Process>(std::move(process_))]() mutable { process.reset(); });
}

void ExecSession::Stop() {
  if (stopped_) return;
  stopped_ = true;
  stream_timer_.Cancel();
  ReleaseProcess();
}

}  // namespace davit::stream
