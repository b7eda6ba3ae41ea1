// ExecSync and the streaming verbs.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/strings.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

// After the process has ended, a grandchild may hold its pipes open for ever: this long its output is
// still waited for, then the descriptors close (CVE-2026-53495 class).
constexpr std::chrono::milliseconds kDrain{100};
constexpr size_t kReadChunk = 64 << 10;

// One of the two output pipes.
struct Capture {
  sys::UniqueFd fd;
  size_t* room;  // what both may still keep; the caller's, for as long as this lives
  std::string text;

  // Reads what is there now; false at the end of the stream. Past the cap bytes are dropped unseen.
  bool Read() {
    std::array<char, kReadChunk> buffer;
    for (;;) {
      ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
      if (n > 0) {
        size_t kept = std::min(*room, static_cast<size_t>(n));
        text.append(buffer.data(), kept);
        *room -= kept;
        if (static_cast<size_t>(n) < buffer.size()) return true;
      } else if (n == 0) {
        return false;
      } else if (errno != EINTR) {
        return errno == EAGAIN;
      }
    }
  }
};

// Copies until both streams end, or the process has ended and they have been quiet for a while.
// False on the deadline.
bool Collect(Capture& out, Capture& err, int exit_fd, Deadline deadline) {
  bool ended = false;
  Deadline until = deadline;
  while (out.fd.valid() || err.fd.valid() || !ended) {
    std::array<pollfd, 3> polled = {
        {{out.fd.get(), POLLIN, 0}, {err.fd.get(), POLLIN, 0}, {ended ? -1 : exit_fd, POLLIN, 0}}};
    int ready = ::poll(polled.data(), polled.size(), until.PollTimeoutMs());
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return ended;
    if (polled[0].revents != 0 && !out.Read()) out.fd.reset();
    if (polled[1].revents != 0 && !err.Read()) err.fd.reset();
    if (polled[2].revents != 0) {
      ended = true;
      until = deadline.Min(Deadline::After(kDrain));
    }
  }
  return true;
}

Status CheckRunning(const container::ContainerRecord& record) {
  if (record.phase == container::Phase::kRunning) return {};
  return FailedPrecondition("container " + record.id.Short() + " is not running");
}

}  // namespace

void Engine::ExecSync(const std::string& text, std::vector<std::string> command, std::chrono::seconds timeout,
                      Done<ExecOutput> done) {
  State* state = state_.get();
  Result<ContainerPtr> found = state->View().FindContainer(text);
  if (!found.ok()) {
    done(found.status());
    return;
  }
  ContainerPtr record = *found;
  if (Status running = CheckRunning(*record); !running.ok()) {
    done(running);
    return;
  }
  state->exec_pool.Post([state, record, command = std::move(command), timeout, done = std::move(done)] {
    Result<ExecOutput> output = state->ExecSyncNow(*record, command, timeout);
    if (!output.ok()) output = output.status().Annotate("exec in container " + record->id.Short());
    done(output);
  });
}

Result<ExecOutput> Engine::State::ExecSyncNow(const container::ContainerRecord& record,
                                              const std::vector<std::string>& command, std::chrono::seconds timeout) {
  Deadline deadline = timeout.count() > 0 ? Deadline::After(timeout) : Deadline::Infinite();
  ASSIGN_OR_RETURN(sys::Pipe out, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::Pipe err, sys::MakePipe());
  container::ExecRequest request;
  request.command = command;
  request.stdout_fd = out.write.get();
  request.stderr_fd = err.write.get();
  // The runtime's own time counts too: a timeout is about the whole call.
  ASSIGN_OR_RETURN(monitor::ExecSession session,
                   containers->Exec(record, request, deadline.Min(Deadline::After(kVerbBudget))));
  out.write.reset();
  err.write.reset();
  RETURN_IF_ERROR(sys::SetNonBlocking(out.read.get(), true));
  RETURN_IF_ERROR(sys::SetNonBlocking(err.read.get(), true));

  size_t room = kMaxExecOutput;
  Capture out_capture{std::move(out.read), &room, {}};
  Capture err_capture{std::move(err.read), &room, {}};
  if (!Collect(out_capture, err_capture, session.fd(), deadline)) {
    RETURN_IF_ERROR(session.Kill(Deadline::After(kKillBudget)));
    return DeadlineExceeded("command " + Printable(command[0]) + " timed out after " + std::to_string(timeout.count()) +
                            " s and was killed");
  }
  ExecOutput output;
  ASSIGN_OR_RETURN(output.exit_code, session.Wait(Deadline::After(kKillBudget)));
  output.out = std::move(out_capture.text);
  output.err = std::move(err_capture.text);
  return output;
}

Result<std::string> Engine::Exec(const std::string& text, std::vector<std::string> command, bool terminal,
                                 bool want_stdin, bool want_stdout, bool want_stderr) {
  ASSIGN_OR_RETURN(ContainerPtr record, View().FindContainer(text));
  RETURN_IF_ERROR(CheckRunning(*record));
  if (command.empty()) return InvalidArgument("cmd is empty");
  stream::ExecRequest request;
  request.container = record->id;
  request.command = std::move(command);
  request.terminal = terminal;
  request.want_stdin = want_stdin;
  request.want_stdout = want_stdout;
  request.want_stderr = want_stderr && !terminal;
  return state_->stream_server->MintExec(std::move(request));
}

Result<std::string> Engine::Attach(const std::string& text, bool terminal, bool want_stdin, bool want_stdout,
                                   bool want_stderr) {
  ASSIGN_OR_RETURN(ContainerPtr record, View().FindContainer(text));
  if (record->phase != container::Phase::kRunning && record->phase != container::Phase::kCreated) {
    return FailedPrecondition("container " + record->id.Short() + " is not running");
  }
  if (terminal != record->spec.tty) {
    return InvalidArgument(std::string("tty: the container was created with") + (record->spec.tty ? "" : "out") +
                           " a terminal");
  }
  stream::AttachRequest request;
  request.container = record->id;
  request.terminal = terminal;
  request.want_stdin = want_stdin;
  request.want_stdout = want_stdout;
  request.want_stderr = want_stderr && !terminal;
  return state_->stream_server->MintAttach(std::move(request));
}

Result<std::string> Engine::PortForward(const std::string& text, std::vector<int> ports) {
  ASSIGN_OR_RETURN(PodPtr pod, View().FindPod(text));
  if (pod->phase != pod::Phase::kReady) {
    return FailedPrecondition("pod sandbox " + pod->id.Short() + " is not ready");
  }
  for (int port : ports) {
    if (port < 1 || port > 65535) return InvalidArgument("port " + std::to_string(port) + " is not in 1..65535");
  }
  stream::PortForwardRequest request;
  request.pod = pod->id;
  request.ports = std::move(ports);
  return state_->stream_server->MintPortForward(std::move(request));
}

}  // namespace davit::engine
