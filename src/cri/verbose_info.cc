#include "cri/verbose_info.h"

#include <boost/json.hpp>

namespace davit::cri {
namespace {

boost::json::value ParseOrNull(const std::string& text) {
  boost::json::error_code error;
  boost::json::value value = boost::json::parse(text, error);
  return error ? boost::json::value(nullptr) : value;
}

}  // namespace

std::string ConfigInfo(const config::Config& config) {
  // "stateDir" is what critest looks for to choose where it tests idmapped mounts.
  boost::json::object info = {{"rootDir", config.root},
                              {"stateDir", config.state},
                              {"listen", config.api.listen},
                              {"defaultRuntimeHandler", config.runtime.default_handler},
                              {"effective", config::Dump(config)}};
  return boost::json::serialize(info);
}

std::string PreloadInfo(const std::string& summary) {
  return boost::json::serialize(boost::json::object{{"summary", summary}});
}

std::string PodInfo(const pod::PodRecord& record) {
  boost::json::object info = {
      {"runtimeHandler", record.runtime_handler},
      {"cgroup", record.cgroup},
      {"hostname", record.hostname},
      {"initPid", record.init_pid},
      {"resources", ParseOrNull(pod::ToText(record.spec.resources))},
      {"overhead", ParseOrNull(pod::ToText(record.spec.overhead))},
      {"network", record.attachment.empty() ? boost::json::value(nullptr) : ParseOrNull(record.attachment)}};
  return boost::json::serialize(info);
}

std::string ContainerInfo(const container::ContainerRecord& record, const std::string& runtime_spec) {
  boost::json::object info = {{"sandboxID", record.pod.str()},
                              {"pid", record.pid},
                              {"runtimeHandler", record.runtime_handler},
                              {"cgroup", record.cgroup},
                              {"runtimeSpec", ParseOrNull(runtime_spec)}};
  return boost::json::serialize(info);
}

}  // namespace davit::cri
