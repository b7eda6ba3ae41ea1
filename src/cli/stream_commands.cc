// Commands that move a container's bytes: exec, attach, logs.
#include <fmt/format.h>
#include <unistd.h>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/log_follow.h"
#include "cli/stream_client.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

Result<int> ExecSync(const Context& context, const ExecOptions& options, const std::string& id) {
  cri::ExecSyncRequest request;
  request.set_container_id(id);
  for (const std::string& word : options.command) request.add_cmd(word);
  request.set_timeout(options.timeout_seconds);
  ASSIGN_OR_RETURN(cri::ExecSyncResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
  } else {
    RETURN_IF_ERROR(sys::WriteAll(STDOUT_FILENO, response.stdout()));
    RETURN_IF_ERROR(sys::WriteAll(STDERR_FILENO, response.stderr()));
  }
  return response.exit_code();
}

}  // namespace

Result<int> CtrExec(const Context& context, const ExecOptions& options) {
  if (options.command.empty()) return InvalidArgument("exec: no command given");
  ASSIGN_OR_RETURN(std::string id, ResolveContainer(context, options.id));
  if (options.sync) return ExecSync(context, options, id);
  if (options.timeout_seconds != 0) return InvalidArgument("exec: --timeout needs --sync");
  if (options.terminal && options.interactive && ::isatty(STDIN_FILENO) != 1) {
    return InvalidArgument("exec: -t with -i needs a terminal on standard input");
  }
  cri::ExecRequest request;
  request.set_container_id(id);
  for (const std::string& word : options.command) request.add_cmd(word);
  request.set_tty(options.terminal);
  request.set_stdin(options.interactive);
  request.set_stdout(true);
  request.set_stderr(!options.terminal);
  ASSIGN_OR_RETURN(cri::ExecResponse response, context.client.Call(request));
  ASSIGN_OR_RETURN_WITH(StreamClient client, StreamClient::Connect(response.url()), "exec");
  StreamOptions stream = OwnStreams(options.interactive, options.terminal, context.signals);
  ASSIGN_OR_RETURN_WITH(StreamResult result, client.Run(stream), "exec");
  if (result.end == StreamEnd::kClosed) return Unavailable("exec: the connection ended before the command did");
  return result.end == StreamEnd::kDetached ? 0 : result.exit_code;
}

Result<int> CtrAttach(const Context& context, const std::string& text, bool interactive) {
  ASSIGN_OR_RETURN(std::string id, ResolveContainer(context, text));
  // CRI does not tell whether a container has a terminal; the server refuses the wrong guess.
  bool terminal = interactive && ::isatty(STDIN_FILENO) == 1;
  cri::AttachRequest request;
  request.set_container_id(id);
  request.set_stdin(interactive);
  request.set_stdout(true);
  request.set_tty(terminal);
  request.set_stderr(!terminal);
  Result<cri::AttachResponse> response = context.client.Call(request);
  if (response.code() == StatusCode::kInvalidArgument) {
    terminal = !terminal;
    request.set_tty(terminal);
    request.set_stderr(!terminal);
    response = context.client.Call(request);
  }
  RETURN_IF_ERROR(response.status());
  ASSIGN_OR_RETURN_WITH(StreamClient client, StreamClient::Connect(response->url()), "attach");
  StreamOptions stream = OwnStreams(interactive, terminal, context.signals);
  stream.terminal = terminal && interactive;
  ASSIGN_OR_RETURN_WITH(StreamResult result, client.Run(stream), "attach");
  return result.exit_code;
}

Result<int> CtrLogs(const Context& context, const LogsOptions& options) {
  ASSIGN_OR_RETURN(std::string id, ResolveContainer(context, options.id));
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  ASSIGN_OR_RETURN(cri::ContainerStatusResponse response, context.client.Call(request));
  if (response.status().log_path().empty()) {
    return FailedPrecondition("container " + options.id +
                              " has no log: its pod has no log_directory or it has no log_path");
  }
  Result<client::LogFile> file = client::LogFile::Open(response.status().log_path());
  // A container that was never started has written none.
  if (file.code() == StatusCode::kNotFound && response.status().state() == cri::CONTAINER_CREATED && !options.follow)
    return 0;
  RETURN_IF_ERROR(file.status().Annotate("read log (only on the container's own node)"));
  if (options.tail) RETURN_IF_ERROR(file->SeekTail(*options.tail));
  LogFollower follower(std::move(*file), options.timestamps);
  if (!options.follow) {
    RETURN_IF_ERROR(follower.Drain());
    RETURN_IF_ERROR(follower.Finish());
    return 0;
  }
  RETURN_IF_ERROR(follower.Follow(context, id, [](int) {}).status());
  return 0;
}

}  // namespace davit::cli
