#include "api/engine.h"

#include <fmt/format.h>

#include "api/error.h"
#include "base/strings.h"
#include "client/client.h"
#include "oci/json.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

constexpr size_t kMostCommands = 1024;
constexpr int64_t kAskAgain = 30'000'000'000;

int64_t SteadyNanos() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

std::string ShownName(const control::Container& container, const control::Pod& pod) {
  if (container.standalone()) return container.name();
  const cri::PodSandboxMetadata& metadata = pod.config().metadata();
  return fmt::format("k8s_{}_{}_{}_{}_{}", container.name(), metadata.name(), metadata.namespace_(), metadata.uid(),
                     container.config().metadata().attempt());
}

// The one of `items` that `text` names. `id` and `name` give an item's.
template <class Item, class Id, class Name>
Result<const Item*> Resolve(const std::vector<Item>& items, std::string_view text, const Id& id, const Name& name,
                            const Status& none) {
  if (text.starts_with('/')) text.remove_prefix(1);  // as docker shows names
  const Item* found = nullptr;
  for (const Item& item : items) {
    if (id(item) == text) return &item;
    if (name(item) == text) found = &item;
  }
  if (found != nullptr) return found;
  for (const Item& item : items) {
    if (text.empty() || !std::string_view(id(item)).starts_with(text)) continue;
    if (found != nullptr) {
      return Internal(fmt::format("more than one result for the ID or name {}: multiple matches", Printable(text)));
    }
    found = &item;
  }
  if (found == nullptr) return none;
  return found;
}

}  // namespace

bool Available::MayAsk() const {
  int64_t since = missing_since_;
  return since <= 0 || SteadyNanos() - since > kAskAgain;
}

bool Available::Known() const { return missing_since_ < 0; }

bool Available::Missing(const Status& status) {
  bool missing = status.code() == StatusCode::kUnimplemented;
  if (missing) {
    missing_since_ = SteadyNanos();
  } else if (status.code() != StatusCode::kUnavailable && status.code() != StatusCode::kDeadlineExceeded) {
    missing_since_ = -1;  // whoever refuses is there
  }
  return missing;
}

std::string_view BareDigest(std::string_view id) {
  size_t colon = id.find(':');
  return colon == std::string_view::npos ? id : id.substr(colon + 1);
}

bool Engine::HasStandalone() {
  if (standalone.Known()) return true;
  if (!standalone.MayAsk()) return false;
  control::ListPodsRequest request;
  request.add_pods("0");  // nothing is named so; only the code matters
  return !standalone.Missing(client_.Call(request).status());
}

Result<std::vector<Entry>> Engine::Containers(bool full) {
  if (standalone.MayAsk()) {
    control::ListContainersAllRequest request;
    request.set_full(full);
    Result<control::ListContainersAllResponse> response = client_.Call(request);
    if (!standalone.Missing(response.status())) {
      RETURN_IF_ERROR(response.status());
      std::map<std::string, const control::Pod*> pods;
      for (const control::Pod& pod : response->pods()) pods[pod.id()] = &pod;
      std::vector<Entry> entries;
      entries.reserve(static_cast<size_t>(response->containers_size()));
      for (control::Container& container : *response->mutable_containers()) {
        Entry entry;
        if (auto it = pods.find(container.pod_id()); it != pods.end()) entry.pod = *it->second;
        entry.container = std::move(container);
        entry.name = ShownName(entry.container, entry.pod);
        entries.push_back(std::move(entry));
      }
      return entries;
    }
  }
  return CriContainers(full);
}

Result<Entry> Engine::Find(bool libpod, const std::string& name, bool full) {
  Status none = NoSuchContainer(libpod, name);
  if (standalone.MayAsk()) {
    // A name or id that davitd knows is one call; names of the kubelet's are ours, and need the list.
    control::ListContainersAllRequest request;
    request.add_containers(name.starts_with('/') ? name.substr(1) : name);
    request.set_full(full);
    Result<control::ListContainersAllResponse> response =
        name.starts_with("k8s_") ? NotFound("not davitd's name") : client_.Call(request);
    if (response.ok() && response->containers_size() == 1) {
      Entry entry;
      entry.container = std::move(*response->mutable_containers(0));
      for (control::Pod& pod : *response->mutable_pods()) {
        if (pod.id() == entry.container.pod_id()) entry.pod = std::move(pod);
      }
      entry.name = ShownName(entry.container, entry.pod);
      return entry;
    }
    if (!response.ok() && !standalone.Missing(response.status()) && response.code() != StatusCode::kNotFound) {
      return response.status();
    }
  }
  ASSIGN_OR_RETURN(std::vector<Entry> entries, Containers(full && standalone.MayAsk()));
  ASSIGN_OR_RETURN(const Entry* found,
                   Resolve(
                       entries, name, [](const Entry& entry) -> const std::string& { return entry.container.id(); },
                       [](const Entry& entry) -> const std::string& { return entry.name; }, none));
  Entry entry = *found;
  if (full && !standalone.MayAsk()) {
    RETURN_IF_ERROR(FillFromStatus(entry, true));
    RETURN_IF_ERROR(FillPodFromStatus(entry.pod));
  }
  return entry;
}

Result<std::vector<control::Pod>> Engine::Pods() {
  if (standalone.MayAsk()) {
    Result<control::ListPodsResponse> response = client_.Call(control::ListPodsRequest());
    if (!standalone.Missing(response.status())) {
      RETURN_IF_ERROR(response.status());
      std::vector<control::Pod> pods;
      for (control::Pod& pod : *response->mutable_pods()) {
        if (!pod.implicit()) pods.push_back(std::move(pod));
      }
      return pods;
    }
  }
  return CriPods();
}

Result<control::Pod> Engine::FindPod(const std::string& name) {
  ASSIGN_OR_RETURN(std::vector<control::Pod> pods, Pods());
  ASSIGN_OR_RETURN(const control::Pod* found,
                   Resolve(
                       pods, name, [](const control::Pod& pod) -> const std::string& { return pod.id(); },
                       [](const control::Pod& pod) -> const std::string& { return pod.name(); }, NoSuchPod(name)));
  control::Pod pod = *found;
  if (!standalone.MayAsk()) RETURN_IF_ERROR(FillPodFromStatus(pod));
  return pod;
}

Status Engine::MayChange(const Entry& entry, bool allowed, std::string_view verb) {
  if (allowed || entry.container.standalone()) return {};
  return KubernetesOwns(verb, entry.name);
}

Result<std::string> Engine::ExecUrl(const control::ExecStandaloneRequest& request) {
  if (standalone.MayAsk()) {
    Result<control::ExecStandaloneResponse> response = client_.Call(request);
    if (!standalone.Missing(response.status())) {
      RETURN_IF_ERROR(response.status());
      return response->url();
    }
  }
  if (!request.user().empty() || !request.working_dir().empty() || request.envs_size() > 0 || request.privileged()) {
    return NeedsDavit("exec with a user, an environment, a working directory or privileges");
  }
  cri::ExecRequest exec;
  exec.set_container_id(request.container());
  *exec.mutable_cmd() = request.command();
  exec.set_tty(request.tty());
  exec.set_stdin(request.stdin());
  exec.set_stdout(request.stdout() || (!request.stdin() && !request.stderr()));
  exec.set_stderr(request.stderr() && !request.tty());
  ASSIGN_OR_RETURN(cri::ExecResponse response, client_.Call(exec));
  return response.url();
}

Result<std::string> Engine::AttachUrl(const Entry& entry, bool in, bool out, bool err) {
  cri::AttachRequest request;
  bool tty = entry.container.config().tty();
  request.set_container_id(entry.container.id());
  request.set_tty(tty);
  request.set_stdin(in && entry.container.config().stdin());
  request.set_stdout(out || (!err && !request.stdin()));
  request.set_stderr(err && !tty);
  ASSIGN_OR_RETURN(cri::AttachResponse response, client_.Call(request));
  return response.url();
}

std::string Engine::ImageCommand(const std::string& image_id) {
  if (image_id.empty()) return {};
  {
    std::lock_guard lock(mutex_);
    if (auto it = commands_.find(image_id); it != commands_.end()) return it->second;
  }
  Result<control::StoredImage> image = FindImage(true, image_id);
  if (!image.ok()) return {};
  std::vector<std::string> words;
  if (Result<boost::json::value> config = oci::ParseJson(image->config_json()); config.ok()) {
    oci::JsonNode run = oci::JsonNode(*config, "image").Key("config");
    for (const char* key : {"Entrypoint", "Cmd"}) {
      Result<std::vector<std::string>> part = run.Key(key).Strings();
      if (part.ok()) words.insert(words.end(), part->begin(), part->end());
    }
  }
  std::string line = Join(words, " ");
  std::lock_guard lock(mutex_);
  if (commands_.size() >= kMostCommands) commands_.clear();
  commands_[image_id] = line;
  return line;
}

Result<std::vector<control::StoredImage>> Engine::Images(bool full) {
  if (files.MayAsk()) {
    control::ListStoredImagesRequest request;
    request.set_full(full);
    Result<control::ListStoredImagesResponse> response = client_.Call(request);
    if (!files.Missing(response.status())) {
      RETURN_IF_ERROR(response.status());
      return std::vector<control::StoredImage>(response->images().begin(), response->images().end());
    }
  }
  return CriImages();
}

namespace {

// "busybox" and "team/app", which may stand for an image of this node alone.
bool HasRegistry(const std::string& name) {
  std::string first = name.substr(0, name.find('/'));
  return name.find('/') != std::string::npos &&
         (first.find('.') != std::string::npos || first.find(':') != std::string::npos || first == "localhost");
}

}  // namespace

Result<control::StoredImage> Engine::FindImage(bool libpod, const std::string& name, bool full) {
  Status none = NoSuchImage(libpod, name);
  if (files.MayAsk()) {
    control::ListStoredImagesRequest request;
    request.add_images(name);
    request.set_full(full);
    Result<control::ListStoredImagesResponse> response = client_.Call(request);
    if (!files.Missing(response.status())) {
      // A beginning of an id, which other calls do not take.
      if (response.code() == StatusCode::kNotFound || response.code() == StatusCode::kInvalidArgument) {
        std::string_view digits = BareDigest(name);
        if (digits.size() < 4 || digits.size() > 64 ||
            digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
          if (HasRegistry(name)) return none;
          Result<control::StoredImage> local = FindImage(libpod, "localhost/" + name, full);
          return local.code() == StatusCode::kNotFound ? Result<control::StoredImage>(none) : local;
        }
        request.clear_images();
        response = client_.Call(request);
        RETURN_IF_ERROR(response.status());
        const control::StoredImage* found = nullptr;
        for (const control::StoredImage& image : response->images()) {
          if (BareDigest(image.id()).starts_with(digits)) found = &image;
        }
        if (found == nullptr) return none;
        return *found;
      }
      RETURN_IF_ERROR(response.status());
      if (response->images_size() == 0) return none;
      return response->images(0);
    }
  }
  Result<control::StoredImage> image = CriImage(name);
  if (image.code() == StatusCode::kNotFound) return none;
  return image;
}

}  // namespace davit::api
