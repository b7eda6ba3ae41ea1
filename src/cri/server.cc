#include "cri/server.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <cerrno>

#include "cri/call_interceptor.h"
#include "cri/call_metrics.h"
#include "cri/control_service.h"
#include "cri/image_service.h"
#include "cri/runtime_service.h"

namespace davit::cri {
namespace {

constexpr int kMaxReceive = 16 << 20;  // what the kubelet itself takes
constexpr int kMaxSend = 80 << 20;     // lists of large nodes; newer clients raise their limit

}  // namespace

struct Server::State {
  explicit State(engine::Engine& owner) : engine(owner), runtime(owner), image(owner), control(owner) {}
  engine::Engine& engine;
  CallMetrics calls{{"runtime.v1.RuntimeService", "runtime.v1.ImageService", "davit.control.v1.ControlService"}};
  RuntimeService runtime;
  ImageService image;
  ControlService control;
  std::unique_ptr<::grpc::Server> server;
};

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::Start(engine::Engine& engine, const std::string& socket_path) {
  auto state = std::make_unique<State>(engine);
  ::grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kMaxReceive);
  builder.SetMaxSendMessageSize(kMaxSend);
  // One client cannot fill the server's memory with calls that wait (CVE-2023-44487 class).
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1000);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 64 << 10);
  int bound = 0;
  builder.AddListeningPort("unix:" + socket_path, ::grpc::InsecureServerCredentials(), &bound);
  builder.RegisterService(&state->runtime);
  builder.RegisterService(&state->image);
  builder.RegisterService(&state->control);
  std::vector<std::unique_ptr<::grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(std::make_unique<CallInterceptorFactory>(state->calls));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  state->server = builder.BuildAndStart();
  // A unix socket "binds" as port 1 here; the caller's directory is private, so nobody gets in before the
  // mode is set.
  if (!state->server || bound == 0) {
    return Unavailable("listen on " + socket_path + " failed: is the directory there, and the path below 108 bytes?");
  }
  if (::chmod(socket_path.c_str(), 0660) != 0) return ErrnoError(errno, "chmod " + socket_path);
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

void Server::WriteMetrics(MetricsText& out) const { state_->calls.Write(out); }

void Server::Shutdown(std::chrono::milliseconds patience) {
  state_->engine.Events().Close();  // streams that would go on until the patience is over
  state_->server->Shutdown(std::chrono::system_clock::now() + patience);
}

}  // namespace davit::cri
