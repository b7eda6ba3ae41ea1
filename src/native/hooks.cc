#include "native/hooks.h"

#include <fmt/format.h>

#include <chrono>

#include "base/strings.h"
#include "sys/process.h"

namespace davit::native {
namespace {

inline constexpr size_t kMaxHookOutput = 64 * 1024;

Status RunHook(const oci::Hook& hook, std::string_view state_json) {
  sys::SpawnOptions options;
  options.program = hook.path;
  options.argv = hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
  options.env = hook.env;
  options.new_session = true;  // a group of its own, so that the timeout reaches what it has started
  Deadline deadline = hook.timeout ? Deadline::After(std::chrono::seconds(*hook.timeout)) : Deadline::Infinite();
  Result<sys::CommandResult> run = sys::RunCommand(std::move(options), state_json, kMaxHookOutput, deadline);
  if (run.code() == StatusCode::kDeadlineExceeded) {
    return DeadlineExceeded(fmt::format("killed after its timeout of {} s", *hook.timeout));
  }
  if (!run.ok()) return run.status();
  const sys::CommandResult& result = *run;
  if (result.exit.code == 0) return {};
  std::string words = Printable(Trim(result.err.empty() ? result.out : result.err), 1024);
  std::string how = result.exit.signal != 0 ? fmt::format("killed by signal {}", result.exit.signal)
                                            : fmt::format("exit status {}", result.exit.code);
  return Internal(words.empty() ? how : how + ": " + words);
}

Status RunAt(const oci::Hook& hook, std::string_view point, size_t index, std::string_view state_json) {
  return RunHook(hook, state_json).Annotate(fmt::format("hooks.{}[{}] {}", point, index, Printable(hook.path)));
}

}  // namespace

Status RunHooks(const std::vector<oci::Hook>& hooks, std::string_view point, std::string_view state_json) {
  for (size_t i = 0; i < hooks.size(); ++i) RETURN_IF_ERROR(RunAt(hooks[i], point, i, state_json));
  return {};
}

std::vector<std::string> RunAllHooks(const std::vector<oci::Hook>& hooks, std::string_view point,
                                     std::string_view state_json) {
  std::vector<std::string> failures;
  for (size_t i = 0; i < hooks.size(); ++i) {
    Status status = RunAt(hooks[i], point, i, state_json);
    if (!status.ok()) failures.emplace_back(status.message());
  }
  return failures;
}

}  // namespace davit::native
