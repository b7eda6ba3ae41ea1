#include "cli/output.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/time.h"
#include "cli/format.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "sys/unix_socket.h"

namespace davit::cli {

Output MakeOutput(bool json, bool no_trunc) {
  Output out;
  out.json = json;
  out.terminal = ::isatty(STDOUT_FILENO) == 1;
  out.colour = out.terminal && std::getenv("NO_COLOR") == nullptr;
  out.full = no_trunc || !out.terminal;
  if (auto size = SizeOf(STDOUT_FILENO)) out.columns = size->columns;
  return out;
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void PrintLine(std::string_view text) { Print(std::string(text) + "\n"); }

namespace {

Result<std::string> ToJson(const google::protobuf::Message& message, bool indented) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indented;
  options.always_print_primitive_fields = true;
  std::string text;
  auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return Internal("print as JSON: " + std::string(status.message().data(), status.message().size()));
  return text;
}

}  // namespace

Status PrintJson(const google::protobuf::Message& message) {
  ASSIGN_OR_RETURN(std::string text, ToJson(message, true));
  Print(text);
  return {};
}

Status PrintJsonLine(const google::protobuf::Message& message) {
  ASSIGN_OR_RETURN(std::string text, ToJson(message, false));
  PrintLine(text);
  return {};
}

std::string Moment(const Output& out, int64_t nanos) {
  if (nanos == 0) return {};
  return out.full ? FormatRfc3339Nano(nanos) : Ago(WallNanos(), nanos);
}

void PrintError(const Status& status) {
  std::string message = Sanitise(status.message());
  std::fputs(fmt::format("davit: {} ({})\n", message, CodeName(status.code())).c_str(), stderr);
}

void PrintHint(const Status& status, const std::string& socket_path) {
  // A streaming server or a port in a pod may be what is unavailable.
  if (status.code() == StatusCode::kUnavailable && !sys::ConnectUnix(socket_path, SOCK_STREAM).ok()) {
    std::fputs(
        "davit: is davitd running? try \"systemctl status davitd\", or name its socket with --connect or DAVIT_HOST\n",
        stderr);
  }
  if (status.code() == StatusCode::kUnimplemented) {
    std::fputs("davit: where another runtime than davitd is behind the socket: davit pod, ctr and image work with it\n",
               stderr);
  }
  if (::geteuid() != 0 && sys::ConnectUnix(socket_path, SOCK_STREAM).code() == StatusCode::kPermissionDenied) {
    std::fputs("davit: the socket belongs to root: try with sudo\n", stderr);
  }
}

}  // namespace davit::cli
