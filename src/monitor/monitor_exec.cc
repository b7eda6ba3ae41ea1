// Execs: processes beside the container's first one. `runtime exec --detach` ends when the process runs; the
// process then is a child of the monitor, known by the pid file.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "monitor/monitor_internal.h"
#include "monitor/runtime_run.h"
#include "sys/unix_socket.h"

namespace davit::monitor {
Status Monitor::HandleExec(Connection& connection, Request request, std::vector<sys::UniqueFd> fds) {
  if (phase_ != Phase::kRunning || exit_ || destroying_)
    return FailedPrecondition("exec: the container is not running");
  if (execs_.size() >= limits_.execs) {
    return ResourceExhausted("exec: " + std::to_string(limits_.execs) + " execs are running");
  }
  auto run = std::make_unique<ExecRun>();
  run->options = std::move(request.exec);
  const ExecOptions& options = run->options;
  if (options.argv.empty() || options.pid_file.empty()) return InvalidArgument("exec: argv or pid_file is empty");
  sys::SpawnOptions spawn;
  spawn.argv = options.argv;
  spawn.env = options.environment;
  sys::UniqueFd error_write;
  if (options.terminal) {
    ASSIGN_OR_RETURN(run->console_listener, sys::ListenUnix(options.console_socket, SOCK_STREAM));
    ASSIGN_OR_RETURN(sys::Pipe errors, sys::MakePipe());
    spawn.fds = {{errors.write.get(), 1}, {errors.write.get(), 2}};
    error_write = std::move(errors.write);
    run->error_pipe = std::move(errors.read);
  } else {
    size_t next = 0;
    int wanted[] = {options.stdin_fd, options.stdout_fd, options.stderr_fd};
    for (int number = 0; number < 3; ++number) {
      if (wanted[number] < 0) continue;
      if (next >= fds.size()) return InvalidArgument("exec: a descriptor is missing");
      spawn.fds.emplace_back(fds[next++].get(), number);
    }
  }
  Result<pid_t> pid = SpawnRuntime(std::move(spawn));
  if (!pid.ok()) {
    RemoveExecFiles(*run);
    return pid.status();
  }
  run->runtime_pid = *pid;
  run->connection = &connection;
  connection.role = Connection::Role::kExec;
  execs_.push_back(std::move(run));
  return {};
}

void Monitor::RemoveExecFiles(const ExecRun& run) {
  for (const std::string* path : {&run.options.pid_file, &run.options.console_socket, &run.options.runtime_log}) {
    if (!path->empty()) ::unlink(path->c_str());
  }
}

// The terminal's master, or no descriptor without a terminal.
Result<sys::UniqueFd> Monitor::AdoptExec(ExecRun& run, int code) {
  if (code != 0) return RuntimeError("exec", code, run.options.runtime_log, 0, run.error_pipe.get());
  ASSIGN_OR_RETURN(run.pid, ReadPidFile(run.options.pid_file));
  if (!run.options.terminal) return sys::UniqueFd();
  return ReceiveTerminal(run.console_listener.get());
}

void Monitor::OnExecRuntimeDone(ExecRun& run, int code) {
  run.runtime_pid = 0;
  Result<sys::UniqueFd> terminal = AdoptExec(run, code);
  RemoveExecFiles(run);
  run.console_listener.reset();
  run.error_pipe.reset();
  std::optional<int> ended;
  if (run.pid > 0) {
    ended = TakeReaped(run.pid);
    if (!ended && !IsOwnChild(run.pid)) {
      if (terminal.ok())
        terminal = Internal("runtime exec: process " + std::to_string(run.pid) + " is not ours to reap");
      run.pid = 0;
    } else if (!ended) {
      // runc makes the process the leader of a session; crun only with a terminal, else the leader is a helper
      // process of crun that has ended. A session whose leader lives is not of this exec alone.
      pid_t session = ::getsid(run.pid);
      bool foreign = session <= 0 || session == ::getsid(0) || (session != run.pid && ::kill(session, 0) == 0);
      run.session = foreign ? run.pid : session;
    }
  }
  if (!terminal.ok()) {
    if (run.pid > 0 && !ended) {  // it runs, but cannot be handed over
      KillExec(run);
    } else {
      run.ended = true;
    }
    if (run.connection != nullptr) ReplyStatus(*run.connection, terminal.status());
    run.connection = nullptr;
    return;
  }
  if (run.connection != nullptr) {
    Send(*run.connection, {.state = CurrentState(), .exec_pid = run.pid}, terminal->get());
  }
  if (ended) {
    OnExecEnded(run, *ended);
  } else if (run.kill_wanted) {
    run.kill_wanted = false;
    KillExec(run);
  }
}

void Monitor::OnExecEnded(ExecRun& run, int code) {
  run.ended = true;
  if (run.connection == nullptr) return;
  run.connection->role = Connection::Role::kAnswered;
  Send(*run.connection, {.state = CurrentState(), .exec_code = code});
  run.connection = nullptr;
}

void Monitor::KillExec(ExecRun& run) {
  if (run.kill_wanted || run.ended) return;
  run.kill_wanted = true;
  run.force_ms = SteadyMs() + limits_.force_ms;
  if (run.pid == 0) return;  // the runtime is at work: OnExecRuntimeDone kills once the process is known
  // Not reaped yet, so the numbers of the process and its session cannot be another's. What it started has
  // other parents perhaps, but the same session.
  ::kill(run.pid, SIGKILL);
  KillSession(run.pid, run.session);
}

void Monitor::AdvanceExecs() {
  int64_t now = SteadyMs();
  for (auto& run : execs_) {
    if (run->kill_wanted && run->runtime_pid != 0 && now >= run->force_ms) KillTree(run->runtime_pid);
  }
}

}  // namespace davit::monitor
