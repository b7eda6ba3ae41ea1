#include "cri/call_metrics.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "base/status.h"

namespace davit::cri {

CallMetrics::CallMetrics(const std::vector<std::string>& services) {
  for (const std::string& name : services) {
    const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    if (service == nullptr) continue;
    for (int i = 0; i < service->method_count(); ++i) {
      auto method = std::make_unique<Method>();
      method->service = name;
      method->name = service->method(i)->name();
      by_path_.emplace("/" + name + "/" + method->name, method.get());
      methods_.push_back(std::move(method));
    }
  }
}

CallMetrics::Method* CallMetrics::Find(std::string_view path) const {
  auto found = by_path_.find(std::string(path));
  return found == by_path_.end() ? nullptr : found->second;
}

void CallMetrics::Write(MetricsText& out) const {
  out.Family("davitd_cri_calls_total", "counter", "Calls that ended, by code.");
  for (const auto& method : methods_) {
    for (size_t code = 0; code < method->by_code.size(); ++code) {
      uint64_t count = method->by_code[code].value();
      if (count == 0) continue;
      std::string name(CodeName(static_cast<StatusCode>(code)));
      out.Sample("davitd_cri_calls_total", {{"service", method->service}, {"method", method->name}, {"code", name}},
                 count);
    }
  }
  out.Family("davitd_cri_calls_in_flight", "gauge", "Calls that are being answered.");
  for (const auto& method : methods_) {
    uint64_t ended = 0;  // read first: a call counts as started before it ends
    for (const Counter& code : method->by_code) ended += code.value();
    uint64_t started = method->started.value();
    if (started == 0) continue;
    out.Sample("davitd_cri_calls_in_flight", {{"service", method->service}, {"method", method->name}},
               started - std::min(ended, started));
  }
  out.Family("davitd_cri_call_duration_seconds", "histogram", "From a call's arrival to its answer.");
  for (const auto& method : methods_) {
    if (method->seconds.count() == 0) continue;
    out.Sample("davitd_cri_call_duration_seconds", {{"service", method->service}, {"method", method->name}},
               method->seconds);
  }
}

}  // namespace davit::cri
