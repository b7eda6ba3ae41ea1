// CallMetrics: how many CRI calls there were, with which code, and how long they took, by method.
//
// An interceptor of every call counts with a few atomic additions; the table of methods is made once, so that
// no lock is taken. Streams are counted when they end.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/metrics.h"

namespace davit::cri {

class CallMetrics {
 public:
  // `services` are full names of the generated services: "runtime.v1.RuntimeService".
  explicit CallMetrics(const std::vector<std::string>& services);

  struct Method {
    std::string service;
    std::string name;
    std::array<Counter, 17> by_code;  // gRPC's codes
    Histogram seconds;
    Counter started;
  };
  // `path` is "/runtime.v1.RuntimeService/Version"; nullptr for one that is not served.
  [[nodiscard]] Method* Find(std::string_view path) const;

  // Methods that have never been called are left out.
  void Write(MetricsText& out) const;

 private:
  std::vector<std::unique_ptr<Method>> methods_;
  std::unordered_map<std::string, Method*> by_path_;
};

}  // namespace davit::cri
