// Engine: what there is behind the socket, in one model, whoever answers there.
//
// The model is that of davit.control.v1.StandaloneService (containers and pods with names, exit codes and health).
// Where that is not answered, it is put together from CRI: then everything is a pod's and a container's of a kubelet,
// or of this server in front of another runtime.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "davit/control/v1/files.pb.h"
#include "davit/control/v1/standalone.pb.h"

namespace davit::client {
class Client;
}

namespace davit::api {

namespace cri = ::runtime::v1;
namespace control = ::davit::control::v1;

struct Entry {
  control::Container container;
  control::Pod pod;
  std::string name;  // as shown: of the kubelet's "k8s_<container>_<pod>_<namespace>_<uid>_<attempt>"
};

// A service that the server behind the socket may not have. Asked again after half a minute, for davitd may be
// upgraded while this server runs.
class Available {
 public:
  [[nodiscard]] bool MayAsk() const;
  // It has answered, and has not been missing since.
  [[nodiscard]] bool Known() const;
  // Notes what a call came to; true when the service is not there.
  bool Missing(const Status& status);

 private:
  std::atomic<int64_t> missing_since_{0};  // steady nanoseconds; 0: nobody asked yet, -1: it is there
};

class Engine {
 public:
  explicit Engine(client::Client& client) : client_(client) {}

  client::Client& client() { return client_; }

  // ---- Containers and pods. `full`: with command lines, mounts and client data. ----
  Result<std::vector<Entry>> Containers(bool full = false);
  // By name, id or the beginning of one. The error says so in the words of the API asked.
  Result<Entry> Find(bool libpod, const std::string& name, bool full = true);
  Result<std::vector<control::Pod>> Pods();
  Result<control::Pod> FindPod(const std::string& name);
  // kPermissionDenied unless it is standalone or `allowed`.
  static Status MayChange(const Entry& entry, bool allowed, std::string_view verb);

  // ---- Streams ----
  Result<std::string> ExecUrl(const control::ExecStandaloneRequest& request);
  Result<std::string> AttachUrl(const Entry& entry, bool in, bool out, bool err);

  // ---- Images ----
  Result<std::vector<control::StoredImage>> Images(bool full = false);
  // What an image runs when nobody says otherwise, as one line: images do not change, so it is asked for once.
  std::string ImageCommand(const std::string& image_id);
  Result<control::StoredImage> FindImage(bool libpod, const std::string& name, bool full = true);

  // ---- Which services answer ----
  Available standalone;
  Available files;
  Available volumes;
  Available networks;
  // Whether StandaloneService answers; asks when that is not known.
  bool HasStandalone();

 private:
  Result<std::vector<Entry>> CriContainers(bool full);
  Result<std::vector<control::Pod>> CriPods();
  Status FillFromStatus(Entry& entry, bool full);
  Status FillPodFromStatus(control::Pod& pod);
  Result<std::vector<control::StoredImage>> CriImages();
  Result<control::StoredImage> CriImage(const std::string& name);

  client::Client& client_;

  // Of CRI alone: what ContainerStatus said, as long as the state stays.
  struct Known {
    int state = 0;
    control::Container container;
  };
  std::mutex mutex_;
  std::map<std::string, Known> known_;
  std::map<std::string, std::string> commands_;
};

// "sha256:abc…" without the algorithm.
std::string_view BareDigest(std::string_view id);
// What marks pods and containers that this server made in front of a runtime that has CRI alone.
inline constexpr char kNameAnnotation[] = "io.davit.api/name";
inline constexpr char kDataAnnotation[] = "io.davit.api/request";

}  // namespace davit::api
