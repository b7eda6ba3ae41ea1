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
class ContainerStatusRequest;
class ContainerStatusResponse;
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
class PodSandboxStatusRequest;
class PodSandboxStatusResponse;
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
}  // namespace davit::control::v1

namespace davit::cli {

namespace cri = ::runtime::v1;
using Millis = std::chrono::milliseconds;

inline constexpr Millis kNoTimeout{0};
inline constexpr char kDefaultEndpoint[] = "unix:///run/davit/davit.sock";

// "/run/x.sock" of "unix:///run/x.sock", "unix:/run/x.sock" or "/run/x.sock". kInvalidArgument otherwise.
Result<std::string> SocketPath(const std::string& endpoint);

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

}  // namespace davit::cli
