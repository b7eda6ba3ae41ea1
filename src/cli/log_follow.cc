#include "cli/log_follow.h"

#include <poll.h>
#include <unistd.h>

#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

constexpr int kFilePeriodMs = 100;
constexpr int kServerEvery = 5;    // periods
constexpr int kMostFailures = 60;  // in a row: half a minute for a restart of the server

Status Emit(const client::LogOutput& output) {
  RETURN_IF_ERROR(sys::WriteAll(STDOUT_FILENO, output.out));
  return sys::WriteAll(STDERR_FILENO, output.err);
}

}  // namespace

Result<std::optional<int>> ExitCodeOf(const Context& context, const std::string& id) {
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  ASSIGN_OR_RETURN(cri::ContainerStatusResponse response, context.client.Call(request));
  if (response.status().state() != cri::CONTAINER_EXITED) return std::optional<int>();
  return std::optional<int>(response.status().exit_code());
}

Status LogFollower::Drain() {
  for (;;) {
    ASSIGN_OR_RETURN(std::string bytes, file_.Read());
    if (bytes.empty() && !file_.Rotated()) return {};
    client::LogOutput output;
    decoder_.Feed(bytes, output);
    RETURN_IF_ERROR(Emit(output));
  }
}

Status LogFollower::Finish() {
  client::LogOutput output;
  decoder_.Finish(output);
  return Emit(output);
}

Result<std::optional<int>> LogFollower::Follow(const Context& context, const std::string& id,
                                               const std::function<void(int)>& on_signal) {
  int failures = 0;
  for (int period = 0;; ++period) {
    // A short-lived container's end is noticed at once: the first rounds ask every time.
    bool ask = period < 10 || period % kServerEvery == 0;
    std::optional<int> code;
    if (ask) {
      Result<std::optional<int>> answer = ExitCodeOf(context, id);
      // Removed while we watched, or davitd restarts: the log is still the log.
      if (answer.code() == StatusCode::kNotFound) return std::optional<int>();
      failures = answer.ok() ? 0 : failures + 1;
      if (failures > kMostFailures) return answer.status();
      if (answer.ok()) code = *answer;
    }
    // After the question: what an ended container wrote is in the file by now.
    RETURN_IF_ERROR(Drain());
    if (code) {
      RETURN_IF_ERROR(Finish());
      return code;
    }
    pollfd polled{context.signals.fd(), POLLIN, 0};
    if (::poll(&polled, 1, kFilePeriodMs) > 0) {
      if (int signal = context.signals.Take(); signal != 0) on_signal(signal);
    }
  }
}

}  // namespace davit::cli
