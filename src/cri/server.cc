#include "cri/server.h"

#include <grpcpp/grpcpp.h>

#include "cri/call_interceptor.h"
#include "cri/call_metrics.h"
#include "cri/control_service.h"
#include "cri/file_service.h"
#include "cri/image_service.h"
#include "cri/network_service.h"
#include "cri/runtime_service.h"
#include "cri/standalone_service.h"
#include "cri/volume_service.h"

namespace davit::cri {
namespace {

constexpr int kMaxReceive = 16 << 20;  // what the kubelet itself takes
constexpr int kMaxSend = 80 << 20;     // lists of large nodes; newer clients raise their limit

}  // namespace

struct Server::State {
  explicit State(engine::Engine& owner)
      : engine(owner),
        runtime(owner),
        image(owner),
        control(owner),
        standalone(owner),
        networks(owner),
        volumes(owner),
        files(owner) {}
  engine::Engine& engine;
  CallMetrics calls{{"runtime.v1.RuntimeService", "runtime.v1.ImageService", "davit.control.v1.ControlService",
                     "davit.control.v1.StandaloneService", "davit.control.v1.NetworkService",
                     "davit.control.v1.VolumeService", "davit.control.v1.FileService"}};
  RuntimeService runtime;
  ImageService image;
  ControlService control;
  StandaloneService standalone;
  NetworkService networks;
  VolumeService volumes;
  FileService files;
  std::unique_ptr<::grpc::experimental::ExternalConnectionAcceptor> acceptor;
  std::unique_ptr<::grpc::Server> server;
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Start(engine::Engine& engine) {
  auto state = std::make_unique<State>(engine);
  ::grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxReceive);
  builder.SetMaxSendMessageSize(kMaxSend);
  // One client cannot fill the server's memory with calls that wait (CVE-2023-44487 class).
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 64 << 10);
  // Not a listener of gRPC's: its first accept(2) without a descriptor would be its last.
  state->acceptor = builder.experimental().AddExternalConnectionAcceptor(
      ::grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, ::grpc::InsecureServerCredentials());
  builder.RegisterService(&state->runtime);
  builder.RegisterService(&state->image);
  builder.RegisterService(&state->control);
  builder.RegisterService(&state->standalone);
  builder.RegisterService(&state->networks);
  builder.RegisterService(&state->volumes);
  builder.RegisterService(&state->files);
  std::vector<std::unique_ptr<::grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<CallInterceptorFactory>(state->calls));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  state->server = builder.BuildAndStart();
  if (!state->server) return Internal("gRPC's server does not start");
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

void Server::Adopt(int connection) {
  ::grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.fd = connection;
  state_->acceptor->HandleNewConnection(&parameters);
}

void Server::WriteMetrics(MetricsText& out) const { state_->calls.Write(out); }

void Server::Shutdown(std::chrono::milliseconds patience) {
  state_->engine.Activities().Close();
  state_->engine.Events().Close();  // streams that would go on until the patience is over
  state_->server->Shutdown(std::chrono::system_clock::now() + patience);
}

}  // namespace davit::cri
