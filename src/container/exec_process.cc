#include "container/exec_process.h"

#include <algorithm>
#include <boost/json.hpp>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

constexpr size_t kMaxProcessJson = 4 << 20;

void SetVariable(boost::json::array& env, const std::string& entry) {
  const std::string key = entry.substr(0, entry.find('=') + 1);
  for (boost::json::value& existing : env) {
    if (existing.is_string() && existing.as_string().starts_with(key)) {
      existing = entry;
      return;
    }
  }
  env.emplace_back(entry);
}

boost::json::array& ArrayOf(boost::json::object& object, const char* key) {
  boost::json::value& value = object[key];
  return value.is_array() ? value.as_array() : value.emplace_array();
}

// Another user has the home and the groups that it has in the image, and no more capabilities than the container.
void SetUser(boost::json::object& process, const User& user) {
  boost::json::value& entry = process["user"];
  boost::json::object& target = entry.is_object() ? entry.as_object() : entry.emplace_object();
  target["uid"] = user.uid;
  target["gid"] = user.gid;
  target["additionalGids"] = boost::json::array(user.groups.begin(), user.groups.end());
  SetVariable(ArrayOf(process, "env"), "HOME=" + user.home);
  boost::json::value* capabilities = process.if_contains("capabilities");
  if (user.uid == 0 || capabilities == nullptr || !capabilities->is_object()) return;
  // As the kernel does at setuid(2): effective and permitted ones are root's.
  for (const char* set : {"effective", "permitted", "ambient"}) capabilities->as_object()[set] = boost::json::array();
}

Status ApplyChange(boost::json::object& object, const ExecProcess& process) {
  if (process.user != nullptr) SetUser(object, *process.user);
  if (process.change == nullptr) return {};
  const ProcessChange& change = *process.change;
  for (const std::string& entry : change.envs) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0 || entry.find('\0') != std::string::npos) {
      return InvalidArgument("envs: \"" + Printable(entry) + "\" is not NAME=VALUE");
    }
    SetVariable(ArrayOf(object, "env"), entry);
  }
  if (!change.working_dir.empty()) {
    if (change.working_dir[0] != '/') {
      return InvalidArgument("working_dir \"" + Printable(change.working_dir) + "\" is not absolute");
    }
    object["cwd"] = change.working_dir;
  }
  if (!change.privileged) return {};
  const std::vector<std::string>& all = process.privileged_capabilities;
  const boost::json::array names(all.begin(), all.end());
  object["capabilities"] = {{"bounding", names},
                            {"effective", names},
                            {"permitted", names},
                            {"inheritable", boost::json::array()},
                            {"ambient", boost::json::array()}};
  object["noNewPrivileges"] = false;
  object.erase("apparmorProfile");
  return {};
}

}  // namespace

Result<std::string> ExecProcessJson(const std::string& process_file, const ExecProcess& exec) {
  if (exec.command.empty() || exec.command[0].empty()) return InvalidArgument("cmd is empty");
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(process_file, kMaxProcessJson));
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;  // environment values are bytes
  boost::json::error_code error;
  boost::json::value process = boost::json::parse(text, error, {}, options);
  if (error || !process.is_object()) return DataLoss(process_file + " is not a process object");

  boost::json::object& object = process.as_object();
  object["args"] = boost::json::array(exec.command.begin(), exec.command.end());
  object["terminal"] = exec.terminal;
  object.erase("consoleSize");
  if (boost::json::value* env = object.if_contains("env"); env != nullptr && env->is_array() && exec.terminal) {
    auto& entries = env->as_array();
    bool has_term = std::any_of(entries.begin(), entries.end(), [](const boost::json::value& entry) {
      return entry.is_string() && entry.as_string().starts_with("TERM=");
    });
    if (!has_term) entries.emplace_back("TERM=xterm");
  }
  RETURN_IF_ERROR(ApplyChange(object, exec));
  return boost::json::serialize(process);
}

}  // namespace davit::container
