// ExitWait: an exit code that is waited for while other calls are made.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "client/client.h"
#include "davit/control/v1/standalone.pb.h"

namespace davit::cli {

class ExitWait {
 public:
  // The wait has begun, at the server, when Begun is back.
  ExitWait(client::Client& client, const std::string& container, control::v1::WaitCondition condition);
  ~ExitWait();
  ExitWait(const ExitWait&) = delete;
  ExitWait& operator=(const ExitWait&) = delete;

  Status Begun();
  // Blocks. A davitd that goes away and comes back within half a minute is waited for.
  Result<int> Take();
  // nullopt when it has not come in that time.
  Result<std::optional<int>> TakeWithin(std::chrono::milliseconds time);

 private:
  struct Shared;
  void Subscribe();

  client::Client& client_;
  control::v1::WaitContainerRequest request_;
  const std::shared_ptr<Shared> shared_;
  std::unique_ptr<client::Subscription> subscription_;
};

}  // namespace davit::cli
