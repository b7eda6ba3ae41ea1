// StreamBackend: opens processes and ports for the streaming server.
#pragma once

#include "container/containers.h"
#include "engine/records.h"
#include "pod/paths.h"
#include "stream/backend.h"

namespace davit::engine {

class StreamBackend final : public stream::Backend {
 public:
  // The references outlive this.
  StreamBackend(const Records& records, container::Containers& containers, pod::Paths pods)
      : records_(records), containers_(containers), pods_(std::move(pods)) {}

  Result<std::unique_ptr<stream::Process>> OpenExec(const stream::ExecRequest& request) override;
  Result<std::unique_ptr<stream::Process>> OpenAttach(const stream::AttachRequest& request) override;
  Result<sys::UniqueFd> OpenPort(const PodId& pod, int port) override;

 private:
  const Records& records_;
  container::Containers& containers_;
  pod::Paths pods_;
};

}  // namespace davit::engine
