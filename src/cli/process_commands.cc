// davit exec, attach, logs, top: what goes on in a container.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strings.h"
#include "base/time.h"
#include "cli/everyday.h"
#include "cli/log_follow.h"
#include "cli/run_values.h"
#include "cli/stream_client.h"
#include "cli/table.h"
#include "davit/control/v1/standalone.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

constexpr size_t kMaxProc = 256 * 1024;

Status AddVariables(const ContainerExecOptions& options, control::ExecStandaloneRequest& to) {
  Names texts;
  for (const std::string& file : options.env_files) {
    ASSIGN_OR_RETURN(Names lines, ReadPairsFile(file));
    texts.insert(texts.end(), lines.begin(), lines.end());
  }
  texts.insert(texts.end(), options.env.begin(), options.env.end());
  for (const std::string& text : texts) {
    size_t equals = text.find('=');
    if (equals == 0 || text.empty()) return InvalidArgument(fmt::format("-e \"{}\" has no name", Printable(text)));
    if (equals != std::string::npos) {
      to.add_envs(text);
    } else if (const char* own = std::getenv(text.c_str()); own != nullptr) {
      to.add_envs(text + "=" + own);
    }
  }
  return {};
}

// The session ends with its connection, and the command with the session: a process in the background holds it.
Status HoldInBackground(StreamClient client) {
  pid_t child = ::fork();
  if (child < 0) return ErrnoError(errno, "fork");
  if (child > 0) return {};
  ::setsid();
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
  StreamOptions stream;
  stream.stdout_fd = STDOUT_FILENO;
  IgnoreError(client.Run(stream).status());
  ::_exit(0);
}

Result<int> ExecByCri(const Context& context, const ContainerExecOptions& options) {
  if (!options.user.empty() || !options.workdir.empty() || !options.env.empty() || !options.env_files.empty() ||
      options.privileged || options.detach) {
    return Unimplemented("exec: -u, -w, -e, -d and --privileged need davitd: this socket is another runtime's");
  }
  ExecOptions plain;
  plain.id = options.container;
  plain.command = options.command;
  plain.interactive = options.interactive;
  plain.terminal = options.terminal;
  return CtrExec(context, plain);
}

// What shells say when a program is not there (127) or cannot be run (126); the runtime has only words for it. 0:
// something else.
int ShellCode(const std::string& message) {
  for (const char* absent : {"not found", "no such file", "No such file"}) {
    if (message.find(absent) != std::string::npos) return 127;
  }
  for (const char* refused : {"ermission denied", "exec format", "Exec format", "not permitted"}) {
    if (message.find(refused) != std::string::npos) return 126;
  }
  return 0;
}

// Of /proc/PID: "Name" in the status file, its first word.
std::string StatusField(const std::string& text, std::string_view name) {
  size_t at = text.find("\n" + std::string(name) + ":");
  if (at == std::string::npos) return {};
  at += name.size() + 2;
  return std::string(Trim(std::string_view(text).substr(at, text.find('\n', at) - at)));
}

std::string FirstWord(const std::string& text) { return text.substr(0, text.find_first_of(" \t")); }
std::string LastWord(const std::string& text) {
  size_t blank = text.find_last_of(" \t");
  return blank == std::string::npos ? text : text.substr(blank + 1);
}

// Seconds of processor time and since the start, from the fields of /proc/PID/stat behind the name.
struct Times {
  double used = 0;
  double age = 0;
};
Times TimesOf(const std::string& stat) {
  Times out;
  size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 > stat.size()) return out;
  std::vector<std::string> fields = Split(std::string_view(stat).substr(name_end + 2), ' ');
  constexpr size_t kUser = 11, kSystem = 12, kStart = 19;  // proc(5), less pid, comm and one for the count from 0
  if (fields.size() <= kStart) return out;
  const double tick = static_cast<double>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  auto number = [&](size_t i) { return static_cast<double>(ParseUint64(fields[i]).value_or(0)) / tick; };
  out.used = number(kUser) + number(kSystem);
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  out.age = std::max(0.0, static_cast<double>(now.tv_sec) - number(kStart));
  return out;
}

std::string Clock(double seconds) {
  auto whole = static_cast<uint64_t>(seconds);
  return fmt::format("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

Result<int> ContainerExec(const Context& context, const ContainerExecOptions& options) {
  if (options.terminal && options.interactive && ::isatty(STDIN_FILENO) != 1) {
    return InvalidArgument("exec: -t with -i needs a terminal on standard input");
  }
  control::ExecStandaloneRequest request;
  request.set_container(options.container);
  for (const std::string& word : options.command) request.add_command(word);
  request.set_tty(options.terminal && !options.detach);
  request.set_stdin(options.interactive && !options.detach);
  request.set_stdout(true);
  request.set_stderr(!request.tty());
  request.set_user(options.user);
  request.set_working_dir(options.workdir);
  request.set_privileged(options.privileged);
  RETURN_IF_ERROR(AddVariables(options, request));
  Result<control::ExecStandaloneResponse> response = context.client.Call(request);
  if (response.code() == StatusCode::kUnimplemented) return ExecByCri(context, options);
  RETURN_IF_ERROR(response.status());
  ASSIGN_OR_RETURN_WITH(StreamClient client, StreamClient::Connect(response->url()), "exec");
  if (options.detach) {
    RETURN_IF_ERROR(HoldInBackground(std::move(client)));
    return 0;
  }
  StreamOptions stream = OwnStreams(options.interactive, options.terminal, context.signals);
  Result<StreamResult> result = client.Run(stream);
  if (!result.ok()) {
    Status why = result.status().Annotate("exec");
    const int code = ShellCode(why.message());
    if (code == 0) return why;
    PrintError(why);
    return code;
  }
  if (result->end == StreamEnd::kClosed) return Unavailable("exec: the connection ended before the command did");
  return result->end == StreamEnd::kDetached ? 0 : result->exit_code;
}

Result<int> AttachTo(const Context& context, const std::string& name, bool no_stdin) {
  Result<control::ListContainersAllResponse> found = FindContainer(context, name);
  if (found.code() == StatusCode::kUnimplemented) return CtrAttach(context, name, !no_stdin);
  RETURN_IF_ERROR(found.status());
  const control::Container& container = found->containers(0);
  if (container.state() != control::STATE_RUNNING) {
    return FailedPrecondition(fmt::format("attach: container {} does not run", Printable(name)));
  }
  const bool terminal = container.config().tty();
  const bool input = container.config().stdin() && !no_stdin;
  cri::AttachRequest request;
  request.set_container_id(container.id());
  request.set_stdin(input);
  request.set_stdout(true);
  request.set_tty(terminal);
  request.set_stderr(!terminal);
  ASSIGN_OR_RETURN(cri::AttachResponse response, context.client.Call(request));
  ASSIGN_OR_RETURN_WITH(StreamClient client, StreamClient::Connect(response.url()), "attach");
  StreamOptions stream = OwnStreams(input, terminal, context.signals);
  ASSIGN_OR_RETURN_WITH(StreamResult result, client.Run(stream), "attach");
  if (result.end == StreamEnd::kDetached) return 0;
  if (result.end == StreamEnd::kStatus && result.exit_code != 0) return result.exit_code;
  Result<control::ListContainersAllResponse> after = FindContainer(context, container.id());
  return after.ok() && after->containers(0).state() == control::STATE_EXITED ? after->containers(0).exit_code() : 0;
}

Result<int> ContainerLogs(const Context& context, const ContainerLogsOptions& options) {
  std::string since, until;
  if (!options.since.empty()) {
    ASSIGN_OR_RETURN(int64_t at, ParseMoment(options.since, "--since", WallNanos()));
    since = FormatRfc3339Nano(at);
  }
  if (!options.until.empty()) {
    ASSIGN_OR_RETURN(int64_t at, ParseMoment(options.until, "--until", WallNanos()));
    until = FormatRfc3339Nano(at);
  }
  Result<control::ListContainersAllResponse> found = FindContainer(context, options.container);
  if (found.code() == StatusCode::kUnimplemented && since.empty() && until.empty()) {
    LogsOptions plain;
    plain.id = options.container;
    plain.follow = options.follow;
    plain.tail = options.tail;
    plain.timestamps = options.timestamps;
    return CtrLogs(context, plain);
  }
  RETURN_IF_ERROR(found.status());
  const control::Container& container = found->containers(0);
  if (container.log_path().empty()) {
    return FailedPrecondition(fmt::format("container {} has no log", Printable(options.container)));
  }
  Result<client::LogFile> file = client::LogFile::Open(container.log_path());
  const bool never_ran = container.started_at() == 0 || container.state() == control::STATE_CREATED;
  if (file.code() == StatusCode::kNotFound && never_ran && !options.follow) return 0;
  RETURN_IF_ERROR(file.status().Annotate("read log (only on the container's own node)"));
  if (options.tail) RETURN_IF_ERROR(file->SeekTail(*options.tail));
  LogFollower follower(std::move(*file), options.timestamps, since, until);
  if (!options.follow) {
    RETURN_IF_ERROR(follower.Drain());
    RETURN_IF_ERROR(follower.Finish());
    return 0;
  }
  RETURN_IF_ERROR(follower.Follow(context, container.id(), [](int) {}).status());
  return 0;
}

Result<int> Top(const Context& context, const std::string& container) {
  control::ListProcessesRequest request;
  request.set_container(container);
  ASSIGN_OR_RETURN(control::ListProcessesResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  Table table({"PID", "HOST PID", "PPID", "USER", "ELAPSED", "TIME", "COMMAND"});
  for (int64_t pid : response.pids()) {
    const std::string folder = fmt::format("/proc/{}/", pid);
    Result<std::string> status = sys::ReadFile(folder + "status", kMaxProc);
    Result<std::string> stat = sys::ReadFile(folder + "stat", kMaxProc);
    Result<std::string> line = sys::ReadFile(folder + "cmdline", kMaxProc);
    if (!status.ok() || !stat.ok()) continue;  // ended meanwhile
    std::string command = line.ok() ? *line : "";
    while (command.ends_with('\0')) command.pop_back();
    std::replace(command.begin(), command.end(), '\0', ' ');
    if (command.empty()) command = "[" + StatusField("\n" + *status, "Name") + "]";
    const Times times = TimesOf(*stat);
    table.AddRow({LastWord(StatusField(*status, "NSpid")), std::to_string(pid), StatusField(*status, "PPid"),
                  FirstWord(StatusField(*status, "Uid")), Clock(times.age), Clock(times.used), command});
  }
  Print(table.Render(context.out.colour));
  return 0;
}

}  // namespace davit::cli
