#include "monitor/protocol.h"

#include <cstring>
#include <optional>

namespace davit::monitor {
namespace {

// Field: tag (1 byte), length (4 bytes), value. Integers are 8 bytes; all little-endian, which is the byte
// order of every machine that both ends could share.
class Writer {
 public:
  explicit Writer(uint8_t kind) {
    out_.push_back(static_cast<char>(kProtocolVersion));
    out_.push_back(static_cast<char>(kind));
  }
  void Text(uint8_t tag, std::string_view value) {
    uint32_t size = static_cast<uint32_t>(value.size());
    out_.push_back(static_cast<char>(tag));
    out_.append(reinterpret_cast<const char*>(&size), sizeof size);
    out_.append(value);
  }
  void Int(uint8_t tag, int64_t value) {
    Text(tag, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }
  void Texts(uint8_t tag, const std::vector<std::string>& values) {
    for (const std::string& value : values) Text(tag, value);
  }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

struct Field {
  uint8_t tag = 0;
  std::string_view value;  // into the packet

  [[nodiscard]] Result<int64_t> Int() const {
    if (value.size() != sizeof(int64_t)) return InvalidArgument("monitor message: integer of wrong size");
    int64_t number = 0;
    std::memcpy(&number, value.data(), sizeof number);
    return number;
  }
};

// Takes the next field off the front of `rest`; nullopt at the end.
Result<std::optional<Field>> Next(std::string_view& rest) {
  if (rest.empty()) return std::optional<Field>();
  uint32_t size = 0;
  if (rest.size() < 1 + sizeof size) return InvalidArgument("monitor message: cut in a field header");
  std::memcpy(&size, rest.data() + 1, sizeof size);
  Field field{static_cast<uint8_t>(rest[0]), {}};
  rest.remove_prefix(1 + sizeof size);
  if (size > rest.size()) return InvalidArgument("monitor message: cut in a field");
  field.value = rest.substr(0, size);
  rest.remove_prefix(size);
  return std::optional<Field>(field);
}

// Version and kind; the fields stay in `packet`.
Result<uint8_t> TakeHeader(std::string_view& packet) {
  if (packet.size() < 2) return InvalidArgument("monitor message: shorter than its header");
  if (static_cast<uint8_t>(packet[0]) != kProtocolVersion) return Unimplemented("monitor message: unknown version");
  uint8_t kind = static_cast<uint8_t>(packet[1]);
  packet.remove_prefix(2);
  return kind;
}

// Paths and arguments end at a NUL for the kernel, so one inside would hide what follows it.
Status ReadText(const Field& field, std::string& to) {
  if (field.value.find('\0') != std::string_view::npos) return InvalidArgument("monitor message: NUL in a string");
  to = field.value;
  return {};
}

Status Append(std::vector<std::string>& list, const Field& field) {
  if (list.size() >= kMaxStrings) return InvalidArgument("monitor message: list too long");
  return ReadText(field, list.emplace_back());
}

constexpr uint8_t kReplyKind = 100;
constexpr uint8_t kOptionsKind = 101;

// Tags of requests.
enum : uint8_t {
  kSignalTag = 1,
  kAllTag,
  kWidthTag,
  kHeightTag,
  kArgTag,
  kEnvTag,
  kPidFileTag,
  kConsoleTag,
  kTerminalTag,
  kRuntimeLogTag,
  kStdinTag,
  kStdoutTag,
  kStderrTag
};
// Tags of replies.
enum : uint8_t {
  kCodeTag = 1,
  kMessageTag,
  kPhaseTag,
  kPidTag,
  kMonitorPidTag,
  kStartedTag,
  kErrorTag,
  kExitCodeTag,
  kExitStartedTag,
  kExitFinishedTag,
  kExitOomTag,
  kExecPidTag,
  kExecCodeTag,
  kErrorCodeTag
};
// Tags of launch options.
enum : uint8_t {
  kDirectoryTag = 1,
  kLogPathTag,
  kTerminalOptTag,
  kOpenStdinTag,
  kStdinOnceTag,
  kCreateArgTag,
  kStartArgTag,
  kEnvironmentTag,
  kPidFileOptTag,
  kConsoleOptTag,
  kRuntimeLogOptTag,
  kOomFileTag,
  kMaxLineTag,
  kStdioOwnerTag,
  kMaxLogBytesTag,
  kMaxLogFilesTag
};

Status ReadRequestField(const Field& field, Request& request) {
  switch (field.tag) {
    case kArgTag:
      return Append(request.exec.argv, field);
    case kEnvTag:
      return Append(request.exec.environment, field);
    case kPidFileTag:
      return ReadText(field, request.exec.pid_file);
    case kConsoleTag:
      return ReadText(field, request.exec.console_socket);
    case kRuntimeLogTag:
      return ReadText(field, request.exec.runtime_log);
    default:
      break;
  }
  if (field.tag > kStderrTag) return {};
  ASSIGN_OR_RETURN(int64_t number, field.Int());
  switch (field.tag) {
    case kSignalTag:
      request.signal = number >= 0 && number <= 64 ? static_cast<int>(number) : -1;
      break;
    case kAllTag:
      request.all = number != 0;
      break;
    case kWidthTag:
      request.width = static_cast<uint16_t>(number);
      break;
    case kHeightTag:
      request.height = static_cast<uint16_t>(number);
      break;
    case kTerminalTag:
      request.exec.terminal = number != 0;
      break;
    case kStdinTag:
      request.exec.stdin_fd = request.attach.stdin_fd = 0;
      break;
    case kStdoutTag:
      request.exec.stdout_fd = request.attach.stdout_fd = 0;
      break;
    case kStderrTag:
      request.exec.stderr_fd = request.attach.stderr_fd = 0;
      break;
    default:
      break;
  }
  return {};
}

// A status travels as two fields.
struct StatusParts {
  StatusCode code = StatusCode::kOk;
  std::string message;

  Status Take() { return code == StatusCode::kOk ? Status() : Status(code, std::move(message)); }
};

Status ReadCode(int64_t number, StatusCode& code) {
  if (number < 0 || number > 16) return InvalidArgument("monitor message: unknown status code");
  code = static_cast<StatusCode>(number);
  return {};
}

Status ReadReplyField(const Field& field, Reply& reply, StatusParts& status, StatusParts& error) {
  switch (field.tag) {
    case kMessageTag:
      status.message = field.value;
      return {};
    case kErrorTag:
      error.message = field.value;
      // Monitors of earlier builds tell no code.
      if (error.code == StatusCode::kOk) error.code = StatusCode::kInternal;
      return {};
    default:
      break;
  }
  if (field.tag > kErrorCodeTag) return {};
  ASSIGN_OR_RETURN(int64_t number, field.Int());
  bool exit_field = field.tag >= kExitCodeTag && field.tag <= kExitOomTag;
  if (exit_field && !reply.state.exit) reply.state.exit.emplace();
  switch (field.tag) {
    case kCodeTag:
      return ReadCode(number, status.code);
    case kErrorCodeTag:
      return ReadCode(number, error.code);
    case kPhaseTag:
      if (number < 0 || number > 3) return InvalidArgument("monitor message: unknown phase");
      reply.state.phase = static_cast<Phase>(number);
      break;
    case kPidTag:
      reply.state.pid = static_cast<pid_t>(number);
      break;
    case kMonitorPidTag:
      reply.state.monitor_pid = static_cast<pid_t>(number);
      break;
    case kStartedTag:
      reply.state.started_at_nanos = number;
      break;
    case kExitCodeTag:
      reply.state.exit->code = static_cast<int>(number);
      break;
    case kExitStartedTag:
      reply.state.exit->started_at_nanos = number;
      break;
    case kExitFinishedTag:
      reply.state.exit->finished_at_nanos = number;
      break;
    case kExitOomTag:
      reply.state.exit->oom_killed = number != 0;
      break;
    case kExecPidTag:
      reply.exec_pid = static_cast<pid_t>(number);
      break;
    case kExecCodeTag:
      reply.exec_code = static_cast<int>(number);
      break;
    default:
      break;
  }
  return {};
}

Status ReadOptionsField(const Field& field, LaunchOptions& options) {
  switch (field.tag) {
    case kDirectoryTag:
      return ReadText(field, options.directory);
    case kLogPathTag:
      return ReadText(field, options.log_path);
    case kCreateArgTag:
      return Append(options.create_argv, field);
    case kStartArgTag:
      return Append(options.start_argv, field);
    case kEnvironmentTag:
      return Append(options.environment, field);
    case kPidFileOptTag:
      return ReadText(field, options.pid_file);
    case kConsoleOptTag:
      return ReadText(field, options.console_socket);
    case kRuntimeLogOptTag:
      return ReadText(field, options.runtime_log);
    case kOomFileTag:
      return ReadText(field, options.oom_file);
    default:
      break;
  }
  if (field.tag > kMaxLogFilesTag) return {};
  ASSIGN_OR_RETURN(int64_t number, field.Int());
  switch (field.tag) {
    case kTerminalOptTag:
      options.terminal = number != 0;
      break;
    case kOpenStdinTag:
      options.open_stdin = number != 0;
      break;
    case kStdinOnceTag:
      options.stdin_once = number != 0;
      break;
    case kMaxLineTag:
      if (number < 256 || number > 1024 * 1024) return InvalidArgument("max_log_line_bytes: outside 256 to 1048576");
      options.max_log_line_bytes = static_cast<uint32_t>(number);
      break;
    case kStdioOwnerTag:
      if (number < 0 || number > UINT32_MAX) return InvalidArgument("stdio_owner: no user id");
      options.stdio_owner = static_cast<uint32_t>(number);
      break;
    case kMaxLogBytesTag:
      if (number < 0) return InvalidArgument("max_log_bytes: negative");
      options.max_log_bytes = static_cast<uint64_t>(number);
      break;
    case kMaxLogFilesTag:
      if (number < 1 || number > 1000) return InvalidArgument("max_log_files: outside 1 to 1000");
      options.max_log_files = static_cast<uint32_t>(number);
      break;
    default:
      break;
  }
  return {};
}

}  // namespace

std::string EncodeRequest(const Request& request) {
  Writer out(static_cast<uint8_t>(request.type));
  auto descriptors = [&](int in, int output, int error) {
    if (in >= 0) out.Int(kStdinTag, 1);
    if (output >= 0) out.Int(kStdoutTag, 1);
    if (error >= 0) out.Int(kStderrTag, 1);
  };
  switch (request.type) {
    case RequestType::kSignal:
      out.Int(kSignalTag, request.signal);
      out.Int(kAllTag, request.all ? 1 : 0);
      break;
    case RequestType::kResize:
      out.Int(kWidthTag, request.width);
      out.Int(kHeightTag, request.height);
      break;
    case RequestType::kExec:
      out.Texts(kArgTag, request.exec.argv);
      out.Texts(kEnvTag, request.exec.environment);
      out.Text(kPidFileTag, request.exec.pid_file);
      out.Text(kConsoleTag, request.exec.console_socket);
      out.Text(kRuntimeLogTag, request.exec.runtime_log);
      out.Int(kTerminalTag, request.exec.terminal ? 1 : 0);
      descriptors(request.exec.stdin_fd, request.exec.stdout_fd, request.exec.stderr_fd);
      break;
    case RequestType::kAttach:
      descriptors(request.attach.stdin_fd, request.attach.stdout_fd, request.attach.stderr_fd);
      break;
    default:
      break;
  }
  return out.Take();
}

std::string EncodeReply(const Reply& reply) {
  Writer out(kReplyKind);
  out.Int(kCodeTag, static_cast<int64_t>(reply.status.code()));
  // The longest text is a runtime's message, which is capped where it is read.
  if (!reply.status.ok()) out.Text(kMessageTag, reply.status.message());
  out.Int(kPhaseTag, static_cast<int64_t>(reply.state.phase));
  out.Int(kPidTag, reply.state.pid);
  out.Int(kMonitorPidTag, reply.state.monitor_pid);
  out.Int(kStartedTag, reply.state.started_at_nanos);
  if (!reply.state.error.ok()) {
    out.Text(kErrorTag, reply.state.error.message());
    out.Int(kErrorCodeTag, static_cast<int64_t>(reply.state.error.code()));
  }
  if (reply.state.exit) {
    out.Int(kExitCodeTag, reply.state.exit->code);
    out.Int(kExitStartedTag, reply.state.exit->started_at_nanos);
    out.Int(kExitFinishedTag, reply.state.exit->finished_at_nanos);
    out.Int(kExitOomTag, reply.state.exit->oom_killed ? 1 : 0);
  }
  if (reply.exec_pid > 0) out.Int(kExecPidTag, reply.exec_pid);
  if (reply.exec_code >= 0) out.Int(kExecCodeTag, reply.exec_code);
  return out.Take();
}

std::string EncodeLaunchOptions(const LaunchOptions& options) {
  Writer out(kOptionsKind);
  out.Text(kDirectoryTag, options.directory);
  out.Text(kLogPathTag, options.log_path);
  out.Int(kTerminalOptTag, options.terminal ? 1 : 0);
  out.Int(kOpenStdinTag, options.open_stdin ? 1 : 0);
  out.Int(kStdinOnceTag, options.stdin_once ? 1 : 0);
  out.Texts(kCreateArgTag, options.create_argv);
  out.Texts(kStartArgTag, options.start_argv);
  out.Texts(kEnvironmentTag, options.environment);
  out.Text(kPidFileOptTag, options.pid_file);
  out.Text(kConsoleOptTag, options.console_socket);
  out.Text(kRuntimeLogOptTag, options.runtime_log);
  out.Text(kOomFileTag, options.oom_file);
  out.Int(kMaxLineTag, options.max_log_line_bytes);
  out.Int(kStdioOwnerTag, options.stdio_owner);
  out.Int(kMaxLogBytesTag, static_cast<int64_t>(options.max_log_bytes));
  out.Int(kMaxLogFilesTag, options.max_log_files);
  return out.Take();
}

Result<Request> DecodeRequest(std::string_view packet) {
  if (packet.size() > kMaxPacketBytes) return InvalidArgument("monitor message: too long");
  ASSIGN_OR_RETURN(uint8_t kind, TakeHeader(packet));
  if (kind < static_cast<uint8_t>(RequestType::kQuery) || kind > static_cast<uint8_t>(RequestType::kExecKill)) {
    return Unimplemented("monitor request: unknown type " + std::to_string(kind));
  }
  Request request;
  request.type = static_cast<RequestType>(kind);
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Field> field, Next(packet));
    if (!field) return request;
    RETURN_IF_ERROR(ReadRequestField(*field, request));
  }
}

Result<Reply> DecodeReply(std::string_view packet) {
  if (packet.size() > kMaxPacketBytes) return InvalidArgument("monitor message: too long");
  ASSIGN_OR_RETURN(uint8_t kind, TakeHeader(packet));
  if (kind != kReplyKind) return InvalidArgument("monitor message: not a reply");
  Reply reply;
  StatusParts status;
  StatusParts error;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Field> field, Next(packet));
    if (!field) break;
    RETURN_IF_ERROR(ReadReplyField(*field, reply, status, error));
  }
  reply.status = status.Take();
  reply.state.error = error.Take();
  return reply;
}

Result<LaunchOptions> DecodeLaunchOptions(std::string_view text) {
  if (text.size() > kMaxOptionsBytes) return InvalidArgument("launch options: too long");
  ASSIGN_OR_RETURN(uint8_t kind, TakeHeader(text));
  if (kind != kOptionsKind) return InvalidArgument("launch options: not launch options");
  LaunchOptions options;
  while (true) {
    ASSIGN_OR_RETURN(std::optional<Field> field, Next(text));
    if (!field) break;
    RETURN_IF_ERROR(ReadOptionsField(*field, options));
  }
  return options;
}

}  // namespace davit::monitor
