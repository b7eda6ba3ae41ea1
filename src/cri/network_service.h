// davit.control.v1.NetworkService over the engine.
#pragma once

#include <grpcpp/grpcpp.h>

#include <vector>

#include "davit/control/v1/networks.grpc.pb.h"
#include "davit/control/v1/standalone.pb.h"
#include "engine/engine.h"

namespace davit::cri {

class NetworkService final : public ::davit::control::v1::NetworkService::CallbackService {
 public:
  explicit NetworkService(engine::Engine& engine) : engine_(engine) {}  // `engine` outlives this

  using Context = ::grpc::CallbackServerContext;
  using Reactor = ::grpc::ServerUnaryReactor;

  Reactor* CreateNetwork(Context*, const control::v1::CreateNetworkRequest*,
                         control::v1::CreateNetworkResponse*) override;
  Reactor* ListNetworks(Context*, const control::v1::ListNetworksRequest*, control::v1::ListNetworksResponse*) override;
  Reactor* RemoveNetwork(Context*, const control::v1::RemoveNetworkRequest*,
                         control::v1::RemoveNetworkResponse*) override;
  Reactor* ConnectNetwork(Context*, const control::v1::ConnectNetworkRequest*,
                          control::v1::ConnectNetworkResponse*) override;
  Reactor* DisconnectNetwork(Context*, const control::v1::DisconnectNetworkRequest*,
                             control::v1::DisconnectNetworkResponse*) override;

 private:
  engine::Engine& engine_;
};

// PodOptions.networks. kInvalidArgument beyond the caps: 32 networks, 64 aliases of 253 bytes each.
Result<std::vector<pod::NetworkEndpoint>> ToEndpoints(const control::v1::PodOptions& options);
// Pod.options.networks, Pod.networks and Pod.ports.
void AddNetworks(const pod::PodRecord& record, control::v1::Pod& out);

}  // namespace davit::cri
