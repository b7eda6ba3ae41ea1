#include "client/client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>

#include <mutex>

#include "base/strings.h"
#include "davit/control/v1/control.grpc.pb.h"
#include "davit/control/v1/files.grpc.pb.h"
#include "davit/control/v1/networks.grpc.pb.h"
#include "davit/control/v1/standalone.grpc.pb.h"
#include "davit/control/v1/volumes.grpc.pb.h"
#include "runtime/v1/cri.grpc.pb.h"
#include "sys/unix_socket.h"

namespace davit::client {
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
      : runtime(channel),
        images(channel),
        control(channel),
        standalone(channel),
        volumes(channel),
        networks(channel),
        files(channel),
        timeout(limit) {}

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

  // With the limit alone that was set explicitly.
  template <class Response, class Stub, class Request>
  Result<Response> Wait(const std::string& path, std::string_view what, Stub& stub,
                        ::grpc::Status (Stub::*rpc)(::grpc::ClientContext*, const Request&, Response*),
                        const Request& request) {
    ::grpc::ClientContext context;
    LimitIfSet(context);
    Response response;
    RETURN_IF_ERROR(ToStatus((stub.*rpc)(&context, request, &response), path, what));
    return response;
  }

  cri::RuntimeService::Stub runtime;
  cri::ImageService::Stub images;
  control::v1::ControlService::Stub control;
  control::v1::StandaloneService::Stub standalone;
  control::v1::VolumeService::Stub volumes;
  control::v1::NetworkService::Stub networks;
  control::v1::FileService::Stub files;
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
DAVIT_RPC(runtime, ContainerStats, "get container statistics")
DAVIT_RPC(runtime, PodSandboxStats, "get pod statistics")
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

#define DAVIT_CONTROL(how, service, Rpc, Request, Response, what)                                                     \
  Result<control::v1::Response> Client::Call(const control::v1::Request& request) {                                   \
    return stubs_->how(socket_path_, what, stubs_->service, &std::remove_reference_t<decltype(stubs_->service)>::Rpc, \
                       request);                                                                                      \
  }

DAVIT_CONTROL(Do, standalone, CreatePod, CreatePodRequest, CreatePodResponse, "create pod")
DAVIT_CONTROL(Do, standalone, StartPod, StartPodRequest, StartPodResponse, "start pod")
DAVIT_CONTROL(Wait, standalone, StopPod, StopPodRequest, StopPodResponse, "stop pod")
DAVIT_CONTROL(Wait, standalone, RemovePod, RemovePodRequest, RemovePodResponse, "remove pod")
DAVIT_CONTROL(Do, standalone, ListPods, ListPodsRequest, ListPodsResponse, "list pods")
DAVIT_CONTROL(Do, standalone, CreateContainer, CreateContainerRequest, CreateContainerResponse, "create container")
DAVIT_CONTROL(Do, standalone, PrepareContainer, PrepareContainerRequest, PrepareContainerResponse, "prepare container")
DAVIT_CONTROL(Do, standalone, StartContainer, StartStandaloneRequest, StartStandaloneResponse, "start container")
DAVIT_CONTROL(Wait, standalone, StopContainer, StopStandaloneRequest, StopStandaloneResponse, "stop container")
DAVIT_CONTROL(Do, standalone, KillContainer, KillContainerRequest, KillContainerResponse, "kill container")
DAVIT_CONTROL(Do, standalone, PauseContainer, PauseContainerRequest, PauseContainerResponse, "pause container")
DAVIT_CONTROL(Do, standalone, UnpauseContainer, UnpauseContainerRequest, UnpauseContainerResponse, "unpause container")
DAVIT_CONTROL(Do, standalone, RenameContainer, RenameContainerRequest, RenameContainerResponse, "rename container")
DAVIT_CONTROL(Do, standalone, UpdateContainer, UpdateStandaloneRequest, UpdateStandaloneResponse, "update container")
DAVIT_CONTROL(Wait, standalone, RemoveContainer, RemoveStandaloneRequest, RemoveStandaloneResponse, "remove container")
DAVIT_CONTROL(Do, standalone, ListContainers, ListContainersAllRequest, ListContainersAllResponse, "list containers")
DAVIT_CONTROL(Do, standalone, Exec, ExecStandaloneRequest, ExecStandaloneResponse, "exec")
DAVIT_CONTROL(Do, standalone, ListProcesses, ListProcessesRequest, ListProcessesResponse, "list processes")
DAVIT_CONTROL(Do, standalone, CheckHealth, CheckHealthRequest, CheckHealthResponse, "check health")
DAVIT_CONTROL(Do, volumes, CreateVolume, CreateVolumeRequest, CreateVolumeResponse, "create volume")
DAVIT_CONTROL(Wait, volumes, ListVolumes, ListVolumesRequest, ListVolumesResponse, "list volumes")
DAVIT_CONTROL(Do, volumes, RemoveVolume, RemoveVolumeRequest, RemoveVolumeResponse, "remove volume")
DAVIT_CONTROL(Do, networks, CreateNetwork, CreateNetworkRequest, CreateNetworkResponse, "create network")
DAVIT_CONTROL(Do, networks, ListNetworks, ListNetworksRequest, ListNetworksResponse, "list networks")
DAVIT_CONTROL(Do, networks, RemoveNetwork, RemoveNetworkRequest, RemoveNetworkResponse, "remove network")
DAVIT_CONTROL(Do, networks, ConnectNetwork, ConnectNetworkRequest, ConnectNetworkResponse, "connect network")
DAVIT_CONTROL(Do, networks, DisconnectNetwork, DisconnectNetworkRequest, DisconnectNetworkResponse,
              "disconnect network")
DAVIT_CONTROL(Do, files, StatPath, StatPathRequest, StatPathResponse, "look at path")
DAVIT_CONTROL(Do, files, ListChanges, ListChangesRequest, ListChangesResponse, "list changes")
DAVIT_CONTROL(Wait, files, Commit, CommitRequest, CommitResponse, "commit")
DAVIT_CONTROL(Do, files, TagImage, TagImageRequest, TagImageResponse, "tag image")
DAVIT_CONTROL(Do, files, RemoveImage, RemoveStoredImageRequest, RemoveStoredImageResponse, "remove image")
DAVIT_CONTROL(Do, files, ListImages, ListStoredImagesRequest, ListStoredImagesResponse, "list images")
#undef DAVIT_CONTROL

Status Client::ReadArchive(const control::v1::ReadArchiveRequest& request,
                           const std::function<Status(const control::v1::ArchiveChunk&)>& chunk) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  auto reader = stubs_->files.ReadArchive(&context, request);
  control::v1::ArchiveChunk message;
  Status taken;
  while (taken.ok() && reader->Read(&message)) taken = chunk(message);
  if (!taken.ok()) context.TryCancel();
  ::grpc::Status end = reader->Finish();
  return taken.ok() ? ToStatus(end, socket_path_, "read archive") : taken;
}

Status Client::WriteArchive(const std::function<Result<bool>(control::v1::WriteArchiveRequest&)>& next) {
  ::grpc::ClientContext context;
  stubs_->LimitIfSet(context);
  control::v1::WriteArchiveResponse response;
  auto writer = stubs_->files.WriteArchive(&context, &response);
  Status given;
  for (;;) {
    control::v1::WriteArchiveRequest message;
    Result<bool> more = next(message);
    if (!more.ok()) given = more.status();
    if (!more.ok() || !*more) break;
    if (!writer->Write(message)) break;  // the server has an answer already
  }
  if (!given.ok()) {
    context.TryCancel();
  } else {
    writer->WritesDone();
  }
  ::grpc::Status end = writer->Finish();
  return given.ok() ? ToStatus(end, socket_path_, "write archive") : given;
}

namespace {

// What the handle and the reactor share. The mutex is recursive, so that a callback may destroy its own handle.
template <class Message>
struct SharedStream {
  std::recursive_mutex mutex;
  bool over = false;
  ::grpc::ClientContext context;
  std::function<void(const Message&)> message;
  std::function<void(const Status&)> end;
};

// Deletes itself when gRPC is done with it.
template <class Message>
class StreamReactor final : public ::grpc::ClientReadReactor<Message> {
 public:
  StreamReactor(std::shared_ptr<SharedStream<Message>> shared, std::string path, std::string what)
      : shared_(std::move(shared)), path_(std::move(path)), what_(std::move(what)) {}
  void Begin() {
    this->StartRead(&message_);
    this->StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    {
      std::lock_guard lock(shared_->mutex);
      if (!shared_->over) shared_->message(message_);
    }
    this->StartRead(&message_);
  }
  void OnDone(const ::grpc::Status& status) override {
    {
      std::lock_guard lock(shared_->mutex);
      if (!shared_->over) {
        shared_->over = true;
        shared_->end(ToStatus(status, path_, what_));
      }
    }
    delete this;
  }

 private:
  const std::shared_ptr<SharedStream<Message>> shared_;
  const std::string path_;
  const std::string what_;
  Message message_;
};

template <class Message>
class StreamHandle final : public Subscription {
 public:
  explicit StreamHandle(std::shared_ptr<SharedStream<Message>> shared) : shared_(std::move(shared)) {}
  ~StreamHandle() override {
    {
      std::lock_guard lock(shared_->mutex);
      shared_->over = true;
    }
    shared_->context.TryCancel();
  }

 private:
  const std::shared_ptr<SharedStream<Message>> shared_;
};

template <class Message, class Start>
std::unique_ptr<Subscription> Subscribe(const std::string& path, const char* what,
                                        std::function<void(const Message&)> message,
                                        std::function<void(const Status&)> end, const Start& start) {
  auto shared = std::make_shared<SharedStream<Message>>();
  shared->message = std::move(message);
  shared->end = std::move(end);
  auto handle = std::make_unique<StreamHandle<Message>>(shared);
  auto* reactor = new StreamReactor<Message>(shared, path, what);
  start(&shared->context, reactor);
  reactor->Begin();
  return handle;
}

}  // namespace

std::unique_ptr<Subscription> Client::Wait(const control::v1::WaitContainerRequest& request,
                                           std::function<void(const control::v1::WaitContainerResponse&)> message,
                                           std::function<void(const Status&)> end) {
  return Subscribe<control::v1::WaitContainerResponse>(
      socket_path_, "wait", std::move(message), std::move(end),
      [&](auto* context, auto* reactor) { stubs_->standalone.async()->WaitContainer(context, &request, reactor); });
}

std::unique_ptr<Subscription> Client::Watch(const control::v1::EventsRequest& request,
                                            std::function<void(const control::v1::Event&)> message,
                                            std::function<void(const Status&)> end) {
  return Subscribe<control::v1::Event>(
      socket_path_, "read events", std::move(message), std::move(end),
      [&](auto* context, auto* reactor) { stubs_->standalone.async()->Events(context, &request, reactor); });
}

std::unique_ptr<Subscription> Client::WatchCri(std::function<void(const cri::ContainerEventResponse&)> message,
                                               std::function<void(const Status&)> end) {
  cri::GetEventsRequest request;
  return Subscribe<cri::ContainerEventResponse>(
      socket_path_, "read events", std::move(message), std::move(end),
      [&](auto* context, auto* reactor) { stubs_->runtime.async()->GetContainerEvents(context, &request, reactor); });
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

}  // namespace davit::client
