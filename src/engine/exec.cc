// ExecSync and the streaming verbs.

#include "base/strings.h"
#include "engine/state.h"

namespace davit::engine {
namespace {

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
  const std::string program = command.empty() ? "" : command[0];
  state->sync_execs->Run(
      record->id, program, timeout,
      [state, record, command = std::move(command)](Deadline deadline) {
        return state->BeginExecSync(*record, command, deadline);
      },
      [record, done = std::move(done)](const Result<ExecOutput>& output) {
        done(output.ok() ? output
                         : Result<ExecOutput>(output.status().Annotate("exec in container " + record->id.Short())));
      });
}

Result<RunningExec> Engine::State::BeginExecSync(const container::ContainerRecord& record,
                                                 const std::vector<std::string>& command, Deadline deadline) {
  ASSIGN_OR_RETURN(sys::Pipe out, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::Pipe err, sys::MakePipe());
  container::ExecRequest request;
  request.command = command;
  request.stdout_fd = out.write.get();
  request.stderr_fd = err.write.get();
  // The runtime's own time counts too: a timeout is about the whole call.
  ASSIGN_OR_RETURN(monitor::ExecSession session,
                   containers->Exec(record, request, deadline.Min(Deadline::After(kVerbBudget))));
  RETURN_IF_ERROR(sys::SetNonBlocking(out.read.get(), true));
  RETURN_IF_ERROR(sys::SetNonBlocking(err.read.get(), true));
  return RunningExec{std::move(session), std::move(out.read), std::move(err.read)};
}

Result<std::string> Engine::State::MintExec(const Result<ContainerPtr>& found, stream::ExecRequest request) {
  RETURN_IF_ERROR(found.status());
  RETURN_IF_ERROR(CheckRunning(**found));
  if (request.command.empty()) return InvalidArgument("cmd is empty");
  request.container = (*found)->id;
  request.want_stderr = request.want_stderr && !request.terminal;
  return stream_server->MintExec(std::move(request));
}

Result<std::string> Engine::Exec(const std::string& text, std::vector<std::string> command, bool terminal,
                                 bool want_stdin, bool want_stdout, bool want_stderr) {
  stream::ExecRequest request;
  request.command = std::move(command);
  request.terminal = terminal;
  request.want_stdin = want_stdin;
  request.want_stdout = want_stdout;
  request.want_stderr = want_stderr;
  return state_->MintExec(View().FindContainer(text), std::move(request));
}

Result<std::string> Engine::ExecAs(const std::string& text, stream::ExecRequest request) {
  Result<ContainerPtr> record = View().FindNamedContainer(text);
  if (record.ok() && (*record)->standalone.paused) {
    return FailedPrecondition("container " + (*record)->id.Short() + " is paused: unpause it first");
  }
  return state_->MintExec(record, std::move(request));
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
