#include "cli/client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>

#include "base/strings.h"
#include "davit/control/v1/control.grpc.pb.h"
#include "runtime/v1/cri.grpc.pb.h"
#include "sys/unix_socket.h"

namespace davit::cli {
namespace {

constexpr int kMaxMessageBytes = 64 << 20;  // lists of thousands of pods with their annotations
constexpr Millis kDefaultTimeout{4 * 60 * 1000};

// Which of the reasons for "nobody answers" it is.
std::string WhyUnavailable(const std::string& path, const std::string& text) {
  Result<sys::UniqueFd> fd = sys::ConnectUnix(path, SOCK_STREAM);
  return fd.ok() ? text : fd.status().message();
}

Status ToStatus(const ::grpc::Status& status, const std::string& path, std::string_view what) {
  if (status.ok()) return {};
  std::string text = status.error_message();
  if (status.error_code() == ::grpc::StatusCode::UNAVAILABLE) text = WhyUnavailable(path, text);
  if (text.empty()) text = "the server gave no reason";
  return Status(static_cast<StatusCode>(status.error_code()), std::move(text)).Annotate(what);
}

}  // namespace

struct Client::Stubs {
  Stubs(const std::shared_ptr<::grpc::Channel>& channel, Millis limit)
      : runtime(channel), images(channel), control(channel), timeout(limit) {}

  void Limit(::grpc::ClientContext& context, Millis extra) const {
    context.set_deadline(std::chrono::system_clock::now() + (timeout == kNoTimeout ? kDefaultTimeout : timeout) +
                         extra);
  }
  void LimitIfSet(::grpc::ClientContext& context) const {
    if (timeout != kNoTimeout) context.set_deadline(std::chrono::system_clock::now() + timeout);
  }

  template <class Response, class Stub, class Request>
  Result<Response> Do(const std::string& path, std::string_view what, Stub& stub,
                      ::grpc::Status (Stub::*rpc)(::grpc::ClientContext*, const Request&, Response*),
                      const Request& request, Millis extra = Millis(0)) {
    ::grpc::ClientContext context;
    Limit(context, extra);
    Response response;
    RETURN_IF_ERROR(ToStatus((stub.*rpc)(&context, request, &response), path, what));
    return response;
  }

  cri::RuntimeService::Stub runtime;
  cri::ImageService::Stub images;
  control::v1::ControlService::Stub control;
  const Millis timeout;
};

Result<std::string> SocketPath(const std::string& endpoint) {
  std::string path = endpoint;
  if (path.starts_with("unix://")) {
    path = path.substr(7);
  } else if (path.starts_with("unix:")) {
    path = path.substr(5);
  }
  if (path.empty() || path[0] != '/') {
    return InvalidArgument(
        fmt::format("endpoint \"{}\" is not a unix socket: unix:///path or /path", Printable(endpoint)));
  }
  return path;
}

Client::Client(std::string socket_path, std::unique_ptr<Stubs> stubs)
    : socket_path_(std::move(socket_path)), stubs_(std::move(stubs)) {}
Client::~Client() = default;

Result<std::unique_ptr<Client>> Client::Make(const std::string& endpoint, Millis timeout) {
  ASSIGN_OR_RETURN(std::string path, SocketPath(endpoint));
  ::grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // gRPC sends the percent-encoded path as :authority by default, which Go servers refuse.
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto channel = ::grpc::CreateCustomChannel("unix:" + path, ::grpc::InsecureChannelCredentials(), arguments);
  return std::unique_ptr<Client>(new Client(std::move(path), std::make_unique<Stubs>(channel, timeout)));
}

#define DAVIT_RPC(service, Rpc, what)                                                                                \
  Result<cri::Rpc##Response> Client::Call(const cri::Rpc##Request& request) {                                        \
    return stubs_->Do(socket_path_, what, stubs_->service, &std::remove_reference_t<decltype(stubs_->service)>::Rpc, \
                      request);                                                                                      \
  }

DAVIT_RPC(runtime, Version, "get version")
DAVIT_RPC(runtime, Status, "get runtime status")
DAVIT_RPC(runtime, RunPodSandbox, "run pod")
DAVIT_RPC(runtime, StopPodSandbox, "stop pod")
DAVIT_RPC(runtime, RemovePodSandbox, "remove pod")
DAVIT_RPC(runtime, PodSandboxStatus, "get pod status")
DAVIT_RPC(runtime, ListPodSandbox, "list pods")
DAVIT_RPC(runtime, CreateContainer, "create container")
DAVIT_RPC(runtime, StartContainer, "start container")
DAVIT_RPC(runtime, RemoveContainer, "remove container")
DAVIT_RPC(runtime, ContainerStatus, "get container status")
DAVIT_RPC(runtime, ListContainers, "list containers")
DAVIT_RPC(runtime, ListContainerStats, "list container statistics")
DAVIT_RPC(runtime, ListPodSandboxStats, "list pod statistics")
DAVIT_RPC(runtime, ListPodSandboxMetrics, "list pod metrics")
DAVIT_RPC(runtime, UpdateContainerResources, "update container")
DAVIT_RPC(runtime, Exec, "exec")
DAVIT_RPC(runtime, Attach, "attach")
DAVIT_RPC(runtime, PortForward, "forward ports")
DAVIT_RPC(images, ListImages, "list images")
DAVIT_RPC(images, ImageStatus, "get image status")
DAVIT_RPC(images, RemoveImage, "remove image")
#undef DAVIT_RPC

Result<control::v1::DiskUsageResponse> Client::Call(const control::v1::DiskUsageRequest& request) {
  return stubs_->Do(socket_path_, "measure the store", stubs_->control, &control::v1::ControlService::Stub::DiskUsage,
                    request);
}

Result<cri::StopContainerResponse> Client::Call(const cri::StopContainerRequest& request) {
  return stubs_->Do(socket_path_, "stop container", stubs_->runtime, &cri::RuntimeService::Stub::StopContainer, request,
                    Millis(std::max<int64_t>(0, std::min<int64_t>(request.timeout(), 86400)) * 1000));
}

Result<cri::ExecSyncResponse> Client::Call(const cri::ExecSyncRequest& request) {
  return stubs_->Do(socket_path_, "exec", stubs_->runtime, &cri::RuntimeService::Stub::ExecSync, request,
                    Millis(std::max<int64_t>(0, std::min<int64_t>(request.timeout(), 86400)) * 1000));
}

Result<cri::PullImageResponse> Client::Call(const cri::PullImageRequest& request) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  cri::PullImageResponse response;
  RETURN_IF_ERROR(ToStatus(stubs_->images.PullImage(&context, request, &response), socket_path_,
                           "pull " + Printable(request.image().image())));
  return response;
}

Result<std::string> Client::Pull(const control::v1::PullImageRequest& request,
                                 const std::function<void(const control::v1::PullImageProgress&)>& progress) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  auto reader = stubs_->control.PullImage(&context, request);
  control::v1::PullImageProgress message;
  std::string image_ref;
  while (reader->Read(&message)) {
    if (!message.image_ref().empty()) image_ref = message.image_ref();
    progress(message);
  }
  std::string what = "pull " + Printable(request.image().image());
  RETURN_IF_ERROR(ToStatus(reader->Finish(), socket_path_, what));
  if (image_ref.empty()) return Internal(what + ": the server named no image");
  return image_ref;
}

namespace {

// Of a call that makes an image of what is on the node: its last message.
Result<control::v1::PullImageProgress> Loaded(
    ::grpc::ClientReader<control::v1::PullImageProgress>& reader, const std::string& socket_path,
    const std::string& what, const std::function<void(const control::v1::PullImageProgress&)>& progress) {
  control::v1::PullImageProgress message;
  while (reader.Read(&message)) progress(message);
  RETURN_IF_ERROR(ToStatus(reader.Finish(), socket_path, what));
  if (message.image_ref().empty()) return Internal(what + ": the server named no image");
  return message;
}

}  // namespace

Result<control::v1::PullImageProgress> Client::Load(
    const control::v1::LoadImageRequest& request,
    const std::function<void(const control::v1::PullImageProgress&)>& progress) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  return Loaded(*stubs_->control.LoadImage(&context, request), socket_path_, "load " + Printable(request.archive()),
                progress);
}

Result<control::v1::PullImageProgress> Client::Import(
    const control::v1::ImportImageRequest& request,
    const std::function<void(const control::v1::PullImageProgress&)>& progress) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  return Loaded(*stubs_->control.ImportImage(&context, request), socket_path_, "import " + Printable(request.archive()),
                progress);
}

Result<control::v1::VerifyImagesReport> Client::Verify(
    const control::v1::VerifyImagesRequest& request,
    const std::function<void(const control::v1::VerifyImagesProgress&)>& progress) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  auto reader = stubs_->control.VerifyImages(&context, request);
  control::v1::VerifyImagesProgress message;
  while (reader->Read(&message)) progress(message);
  RETURN_IF_ERROR(ToStatus(reader->Finish(), socket_path_, "verify images"));
  if (!message.has_report()) return Internal("verify images: the server sent no report");
  return message.report();
}

Status Client::Save(const control::v1::SaveImagesRequest& request,
                    const std::function<Status(const control::v1::SaveImagesChunk&)>& chunk) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  auto reader = stubs_->control.SaveImages(&context, request);
  control::v1::SaveImagesChunk message;
  Status taken;
  while (taken.ok() && reader->Read(&message)) taken = chunk(message);
  if (!taken.ok()) context.TryCancel();
  ::grpc::Status end = reader->Finish();
  return taken.ok() ? ToStatus(end, socket_path_, "save") : taken.Annotate("save");
}

Status Client::Events(const std::function<bool(const cri::ContainerEventResponse&)>& event) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  auto reader = stubs_->runtime.GetContainerEvents(&context, {});
  cri::ContainerEventResponse message;
  bool wanted = true;
  while (wanted && reader->Read(&message)) wanted = event(message);
  if (!wanted) context.TryCancel();
  ::grpc::Status end = reader->Finish();
  return wanted ? ToStatus(end, socket_path_, "read events") : Status();
}

}  // namespace davit::cli
