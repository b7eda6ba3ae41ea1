#include "container/exec_process.h"

#include <algorithm>
#include <boost/json.hpp>

#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr size_t kMaxProcessJson = 4 << 20;

}  // namespace

Result<std::string> ExecProcessJson(const std::string& process_file, const std::vector<std::string>& command,
                                    bool terminal) {
  if (command.empty() || command[0].empty()) return InvalidArgument("cmd is empty");
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(process_file, kMaxProcessJson));
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;  // environment values are bytes
  boost::json::error_code error;
  boost::json::value process = boost::json::parse(text, error, {}, options);
  if (error || !process.is_object()) return DataLoss(process_file + " is not a process object");

  boost::json::object& object = process.as_object();
  object["args"] = boost::json::array(command.begin(), command.end());
  object["terminal"] = terminal;
  object.erase("consoleSize");
  if (boost::json::value* env = object.if_contains("env"); env != nullptr && env->is_array() && terminal) {
    auto& entries = env->as_array();
    bool has_term = std::any_of(entries.begin(), entries.end(), [](const boost::json::value& entry) {
      return entry.is_string() && entry.as_string().starts_with("TERM=");
    });
    if (!has_term) entries.emplace_back("TERM=xterm");
  }
  return boost::json::serialize(process);
}

}  // namespace davit::container
