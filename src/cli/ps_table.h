// What `davit ps` shows of a container in one cell each, and which containers its filters let through.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/filters.h"
#include "cli/run_values.h"
#include "davit/control/v1/standalone.pb.h"

namespace davit::cli {

// "Up 2 minutes (healthy)", "Exited (0) 3 hours ago"; times as times with `full`.
std::string StatusCell(const control::v1::Container& container, bool full, int64_t now_nanos);
// "\"sh -c sleep 1…\"": of people's width unless `full`.
std::string CommandCell(const control::v1::Container& container, bool full);
// "0.0.0.0:8080->80/tcp, 443/tcp"
std::string PortsCell(const control::v1::Pod& pod);
// Empty for a pod that is one container's alone; marked for the kubelet's.
std::string PodCell(const control::v1::Pod& pod);
std::string ProtocolWord(int protocol);
// "0.0.0.0:8080"
std::string HostAddress(const runtime::v1::PortMapping& port);
// "running", "exited", as filters and inspect have it.
std::string StateName(const control::v1::Container& container);

const std::vector<std::string>& PsFilterKeys();

class PsFilter {
 public:
  // Keys as PsFilterKeys. Those of one key: one of them has to hold (all, of label); of several keys: each.
  // kInvalidArgument for a value that cannot be; kNotFound for a container of before and since.
  static Result<PsFilter> Make(const Filters& filters, const control::v1::ListContainersAllResponse& list);
  [[nodiscard]] bool Matches(const control::v1::Container& container) const;

 private:
  [[nodiscard]] bool Holds(const std::string& key, const std::string& value,
                           const control::v1::Container& container) const;

  Filters filters_;
  std::map<std::string, int64_t> moments_;            // "before": the newest that is meant
  std::map<std::string, std::string> pod_of_;         // pod ids to their names
  std::multimap<std::string, std::string> networks_;  // pod ids to names of networks
};

}  // namespace davit::cli
