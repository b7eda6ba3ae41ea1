// Client: CRI and davit.control over a unix socket, with this project's errors.
//
// One overload of Call for each request, so that the request's type says which RPC is meant. Blocking;
// any thread. The endpoint may be any CRI runtime.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace runtime::v1 {
class AttachRequest;
class AttachResponse;
class ContainerEventResponse;
class ContainerStatsRequest;
class ContainerStatsResponse;
class ContainerStatusRequest;
class ContainerStatusResponse;
class ContainerStatsRequest;
class ContainerStatsResponse;
class CreateContainerRequest;
class CreateContainerResponse;
class ExecRequest;
class ExecResponse;
class ExecSyncRequest;
class ExecSyncResponse;
class ImageStatusRequest;
class ImageStatusResponse;
class ListContainerStatsRequest;
class ListContainerStatsResponse;
class ListContainersRequest;
class ListContainersResponse;
class ListImagesRequest;
class ListImagesResponse;
class ListPodSandboxMetricsRequest;
class ListPodSandboxMetricsResponse;
class ListPodSandboxRequest;
class ListPodSandboxResponse;
class ListPodSandboxStatsRequest;
class ListPodSandboxStatsResponse;
class PodSandboxStatsRequest;
class PodSandboxStatsResponse;
class PodSandboxStatusRequest;
class PodSandboxStatusResponse;
class PodSandboxStatsRequest;
class PodSandboxStatsResponse;
class PortForwardRequest;
class PortForwardResponse;
class LoadImageRequest;
class PullImageRequest;
class PullImageResponse;
class RemoveContainerRequest;
class RemoveContainerResponse;
class RemoveImageRequest;
class RemoveImageResponse;
class RemovePodSandboxRequest;
class RemovePodSandboxResponse;
class RunPodSandboxRequest;
class RunPodSandboxResponse;
class StartContainerRequest;
class StartContainerResponse;
class StatusRequest;
class StatusResponse;
class StopContainerRequest;
class StopContainerResponse;
class StopPodSandboxRequest;
class StopPodSandboxResponse;
class UpdateContainerResourcesRequest;
class UpdateContainerResourcesResponse;
class VersionRequest;
class VersionResponse;
}  // namespace runtime::v1

namespace davit::control::v1 {
class DiskUsageRequest;
class DiskUsageResponse;
class PullImageProgress;
class ImportImageRequest;
class LoadImageRequest;
class PullImageRequest;
class VerifyImagesProgress;
class VerifyImagesReport;
class VerifyImagesRequest;
class SaveImagesChunk;
class SaveImagesRequest;
class ArchiveChunk;
class CheckHealthRequest;
class CheckHealthResponse;
class CommitRequest;
class CommitResponse;
class ConnectNetworkRequest;
class ConnectNetworkResponse;
class CreateContainerRequest;
class CreateContainerResponse;
class CreateNetworkRequest;
class CreateNetworkResponse;
class CreatePodRequest;
class CreatePodResponse;
class CreateVolumeRequest;
class CreateVolumeResponse;
class DisconnectNetworkRequest;
class DisconnectNetworkResponse;
class Event;
class EventsRequest;
class ExecStandaloneRequest;
class ExecStandaloneResponse;
class KillContainerRequest;
class KillContainerResponse;
class ListChangesRequest;
class ListChangesResponse;
class ListContainersAllRequest;
class ListContainersAllResponse;
class ListNetworksRequest;
class ListNetworksResponse;
class ListPodsRequest;
class ListPodsResponse;
class ListProcessesRequest;
class ListProcessesResponse;
class ListStoredImagesRequest;
class ListStoredImagesResponse;
class ListVolumesRequest;
class ListVolumesResponse;
class PauseContainerRequest;
class PauseContainerResponse;
class PrepareContainerRequest;
class PrepareContainerResponse;
class ReadArchiveRequest;
class RemoveNetworkRequest;
class RemoveNetworkResponse;
class RemovePodRequest;
class RemovePodResponse;
class RemoveStandaloneRequest;
class RemoveStandaloneResponse;
class RemoveStoredImageRequest;
class RemoveStoredImageResponse;
class RemoveVolumeRequest;
class RemoveVolumeResponse;
class RenameContainerRequest;
class RenameContainerResponse;
class StartPodRequest;
class StartPodResponse;
class StartStandaloneRequest;
class StartStandaloneResponse;
class StatPathRequest;
class StatPathResponse;
class StopPodRequest;
class StopPodResponse;
class StopStandaloneRequest;
class StopStandaloneResponse;
class TagImageRequest;
class TagImageResponse;
class UnpauseContainerRequest;
class UnpauseContainerResponse;
class UpdateStandaloneRequest;
class UpdateStandaloneResponse;
class WaitContainerRequest;
class WaitContainerResponse;
class WriteArchiveRequest;
}  // namespace davit::control::v1

namespace davit::client {

namespace cri = ::runtime::v1;
using Millis = std::chrono::milliseconds;

inline constexpr Millis kNoTimeout{0};
inline constexpr char kDefaultEndpoint[] = "unix:///run/davit/davit.sock";

// "/run/x.sock" of "unix:///run/x.sock", "unix:/run/x.sock" or "/run/x.sock". kInvalidArgument otherwise.
Result<std::string> SocketPath(const std::string& endpoint);

// A stream that goes on until it ends, or this is destroyed: no callback runs after that. May be destroyed from its
// own callbacks.
class Subscription {
 public:
  virtual ~Subscription() = default;
};

class Client {
 public:
  // Connects at the first call. `timeout` is for each call that names none; kNoTimeout: no limit.
  static Result<std::unique_ptr<Client>> Make(const std::string& endpoint, Millis timeout);
  ~Client();

  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }

  // The error has the server's code and text, behind the verb ("run pod: …"). When nobody answers it is
  // kUnavailable and says what is wrong with the socket.
  Result<cri::VersionResponse> Call(const cri::VersionRequest& request);
  Result<cri::StatusResponse> Call(const cri::StatusRequest& request);
  Result<cri::RunPodSandboxResponse> Call(const cri::RunPodSandboxRequest& request);
  Result<cri::StopPodSandboxResponse> Call(const cri::StopPodSandboxRequest& request);
  Result<cri::RemovePodSandboxResponse> Call(const cri::RemovePodSandboxRequest& request);
  Result<cri::PodSandboxStatusResponse> Call(const cri::PodSandboxStatusRequest& request);
  Result<cri::ListPodSandboxResponse> Call(const cri::ListPodSandboxRequest& request);
  Result<cri::CreateContainerResponse> Call(const cri::CreateContainerRequest& request);
  Result<cri::StartContainerResponse> Call(const cri::StartContainerRequest& request);
  // Waits for the grace period in the request besides the timeout; ExecSync likewise for its limit.
  Result<cri::StopContainerResponse> Call(const cri::StopContainerRequest& request);
  Result<cri::RemoveContainerResponse> Call(const cri::RemoveContainerRequest& request);
  Result<cri::ContainerStatusResponse> Call(const cri::ContainerStatusRequest& request);
  Result<cri::ListContainersResponse> Call(const cri::ListContainersRequest& request);
  Result<cri::ContainerStatsResponse> Call(const cri::ContainerStatsRequest& request);
  Result<cri::PodSandboxStatsResponse> Call(const cri::PodSandboxStatsRequest& request);
  Result<cri::ListContainerStatsResponse> Call(const cri::ListContainerStatsRequest& request);
  Result<cri::ListPodSandboxStatsResponse> Call(const cri::ListPodSandboxStatsRequest& request);
  Result<cri::ListPodSandboxMetricsResponse> Call(const cri::ListPodSandboxMetricsRequest& request);
  Result<cri::UpdateContainerResourcesResponse> Call(const cri::UpdateContainerResourcesRequest& request);
  Result<cri::ExecSyncResponse> Call(const cri::ExecSyncRequest& request);
  Result<cri::ExecResponse> Call(const cri::ExecRequest& request);
  Result<cri::AttachResponse> Call(const cri::AttachRequest& request);
  Result<cri::PortForwardResponse> Call(const cri::PortForwardRequest& request);
  Result<cri::ListImagesResponse> Call(const cri::ListImagesRequest& request);
  Result<cri::ImageStatusResponse> Call(const cri::ImageStatusRequest& request);
  Result<cri::RemoveImageResponse> Call(const cri::RemoveImageRequest& request);
  // No limit unless one was set explicitly: a pull takes as long as it takes.
  Result<cri::PullImageResponse> Call(const cri::PullImageRequest& request);

  // kUnimplemented where another CRI runtime is behind the socket.
  Result<control::v1::DiskUsageResponse> Call(const control::v1::DiskUsageRequest& request);

  // Standalone pods and containers, volumes, networks, files. Calls that wait for a grace period or for the
  // disk (StopContainer, StopPod, RemovePod, RemoveContainer, Commit, ListVolumes) have no limit of their own.
  Result<control::v1::CreatePodResponse> Call(const control::v1::CreatePodRequest& request);
  Result<control::v1::StartPodResponse> Call(const control::v1::StartPodRequest& request);
  Result<control::v1::StopPodResponse> Call(const control::v1::StopPodRequest& request);
  Result<control::v1::RemovePodResponse> Call(const control::v1::RemovePodRequest& request);
  Result<control::v1::ListPodsResponse> Call(const control::v1::ListPodsRequest& request);
  Result<control::v1::CreateContainerResponse> Call(const control::v1::CreateContainerRequest& request);
  Result<control::v1::PrepareContainerResponse> Call(const control::v1::PrepareContainerRequest& request);
  Result<control::v1::StartStandaloneResponse> Call(const control::v1::StartStandaloneRequest& request);
  Result<control::v1::StopStandaloneResponse> Call(const control::v1::StopStandaloneRequest& request);
  Result<control::v1::KillContainerResponse> Call(const control::v1::KillContainerRequest& request);
  Result<control::v1::PauseContainerResponse> Call(const control::v1::PauseContainerRequest& request);
  Result<control::v1::UnpauseContainerResponse> Call(const control::v1::UnpauseContainerRequest& request);
  Result<control::v1::RenameContainerResponse> Call(const control::v1::RenameContainerRequest& request);
  Result<control::v1::UpdateStandaloneResponse> Call(const control::v1::UpdateStandaloneRequest& request);
  Result<control::v1::RemoveStandaloneResponse> Call(const control::v1::RemoveStandaloneRequest& request);
  Result<control::v1::ListContainersAllResponse> Call(const control::v1::ListContainersAllRequest& request);
  Result<control::v1::ExecStandaloneResponse> Call(const control::v1::ExecStandaloneRequest& request);
  Result<control::v1::ListProcessesResponse> Call(const control::v1::ListProcessesRequest& request);
  Result<control::v1::CheckHealthResponse> Call(const control::v1::CheckHealthRequest& request);
  Result<control::v1::CreateVolumeResponse> Call(const control::v1::CreateVolumeRequest& request);
  Result<control::v1::ListVolumesResponse> Call(const control::v1::ListVolumesRequest& request);
  Result<control::v1::RemoveVolumeResponse> Call(const control::v1::RemoveVolumeRequest& request);
  Result<control::v1::CreateNetworkResponse> Call(const control::v1::CreateNetworkRequest& request);
  Result<control::v1::ListNetworksResponse> Call(const control::v1::ListNetworksRequest& request);
  Result<control::v1::RemoveNetworkResponse> Call(const control::v1::RemoveNetworkRequest& request);
  Result<control::v1::ConnectNetworkResponse> Call(const control::v1::ConnectNetworkRequest& request);
  Result<control::v1::DisconnectNetworkResponse> Call(const control::v1::DisconnectNetworkRequest& request);
  Result<control::v1::StatPathResponse> Call(const control::v1::StatPathRequest& request);
  Result<control::v1::ListChangesResponse> Call(const control::v1::ListChangesRequest& request);
  Result<control::v1::CommitResponse> Call(const control::v1::CommitRequest& request);
  Result<control::v1::TagImageResponse> Call(const control::v1::TagImageRequest& request);
  Result<control::v1::RemoveStoredImageResponse> Call(const control::v1::RemoveStoredImageRequest& request);
  Result<control::v1::ListStoredImagesResponse> Call(const control::v1::ListStoredImagesRequest& request);

  // A tar; an error of `chunk` ends it and is returned.
  Status ReadArchive(const control::v1::ReadArchiveRequest& request,
                     const std::function<Status(const control::v1::ArchiveChunk&)>& chunk);
  // `next` fills one message after the other and returns false at the end; its error ends the call and is returned.
  Status WriteArchive(const std::function<Result<bool>(control::v1::WriteArchiveRequest&)>& next);

  // Streams without a thread of their own: `message` and `end` are called on gRPC's threads, one at a time.
  std::unique_ptr<Subscription> Wait(const control::v1::WaitContainerRequest& request,
                                     std::function<void(const control::v1::WaitContainerResponse&)> message,
                                     std::function<void(const Status&)> end);
  std::unique_ptr<Subscription> Watch(const control::v1::EventsRequest& request,
                                      std::function<void(const control::v1::Event&)> message,
                                      std::function<void(const Status&)> end);
  std::unique_ptr<Subscription> WatchCri(std::function<void(const cri::ContainerEventResponse&)> message,
                                         std::function<void(const Status&)> end);

  // Pulls with progress; the image's ID. kUnimplemented when the endpoint has no davit.control.
  Result<std::string> Pull(const control::v1::PullImageRequest& request,
                           const std::function<void(const control::v1::PullImageProgress&)>& progress);
  // One image of an archive; the last message. kUnimplemented where another CRI runtime is behind the socket.
  Result<control::v1::PullImageProgress> Load(
      const control::v1::LoadImageRequest& request,
      const std::function<void(const control::v1::PullImageProgress&)>& progress);

  Result<control::v1::PullImageProgress> Import(
      const control::v1::ImportImageRequest& request,
      const std::function<void(const control::v1::PullImageProgress&)>& progress);
  // What was found. Going away ends it.
  Result<control::v1::VerifyImagesReport> Verify(
      const control::v1::VerifyImagesRequest& request,
      const std::function<void(const control::v1::VerifyImagesProgress&)>& progress);
  // Until the end of the archive; an error of `chunk` ends it and is returned. OK: it is whole.
  Status Save(const control::v1::SaveImagesRequest& request,
              const std::function<Status(const control::v1::SaveImagesChunk&)>& chunk);

  // Until `event` returns false or the server ends the stream: then with its error. No limit unless one was
  // set explicitly.
  Status Events(const std::function<bool(const cri::ContainerEventResponse&)>& event);

 private:
  struct Stubs;
  Client(std::string socket_path, std::unique_ptr<Stubs> stubs);

  const std::string socket_path_;
  const std::unique_ptr<Stubs> stubs_;
};

}  // namespace davit::client
