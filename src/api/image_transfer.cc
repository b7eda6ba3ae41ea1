// Images that come and go: pull, load, import, save, commit; push as an honest error.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "api/api.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/json_out.h"
#include "api/json_reader.h"
#include "api/make.h"
#include "api/tar_stream.h"
#include "base/strings.h"
#include "client/client.h"
#include "davit/control/v1/control.pb.h"
#include "http/base64.h"
#include "oci/json.h"
#include "runtime/v1/cri.pb.h"

namespace davit::api {
namespace {

namespace json = boost::json;

// X-Registry-Auth: base64 (URL or standard, padded or not) of {"username", "password", …}.
Result<cri::AuthConfig> ReadAuth(const Request& request) {
  cri::AuthConfig auth;
  std::string text(request.head.Header("x-registry-auth"));
  if (text.empty()) return auth;
  for (char& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
  while (!text.empty() && text.back() == '=') text.pop_back();
  while (text.size() % 4 != 0) text += '=';
  std::optional<std::string> decoded = http::Base64Decode(text);
  if (!decoded) return InvalidArgument("X-Registry-Auth is not base64");
  ASSIGN_OR_RETURN_WITH(JsonDocument document, JsonDocument::Parse(*decoded), "X-Registry-Auth");
  JsonReader root = document.root();
  auth.set_username(root["username"].Str());
  auth.set_password(root["password"].Str());
  auth.set_auth(root["auth"].Str());
  auth.set_identity_token(root["identitytoken"].Str());
  auth.set_registry_token(root["registrytoken"].Str());
  RETURN_IF_ERROR(document.status());
  return auth;
}

struct Progress {
  uint64_t fetched = 0;
  uint64_t total = 0;
  uint32_t done = 0;
  uint32_t layers = 0;
};

// The image's ID. `progress` is false when nobody listens any more; the pull goes on all the same.
Result<std::string> PullImage(Api& api, const std::string& reference, const cri::AuthConfig& auth,
                              const std::function<void(const Progress&)>& progress) {
  control::PullImageRequest pull;
  pull.mutable_image()->set_image(reference);
  if (auth.ByteSizeLong() > 0) *pull.mutable_auth() = auth;
  Result<std::string> id = api.client().Pull(pull, [&](const control::PullImageProgress& message) {
    progress({message.fetched_bytes(), message.total_bytes(), message.layers_done(), message.layers_total()});
  });
  if (id.code() != StatusCode::kUnimplemented) return id;
  cri::PullImageRequest plain;
  plain.mutable_image()->set_image(reference);
  if (auth.ByteSizeLong() > 0) *plain.mutable_auth() = auth;
  ASSIGN_OR_RETURN(cri::PullImageResponse response, api.client().Call(plain));
  return response.image_ref();
}

std::string WithTag(const std::string& name, const std::string& tag) {
  if (tag.empty()) return name;
  return tag.find(':') != std::string::npos ? name + "@" + tag : name + ":" + tag;
}

bool HasTag(const std::string& name) {
  return name.find('@') != std::string::npos ||
         name.find(':', name.rfind('/') == std::string::npos ? 0 : name.rfind('/')) != std::string::npos;
}

void SendStatus(const ExchangePtr& exchange, std::string_view text, std::string_view id = {}) {
  json::object record = {{"status", View(text)}, {"progressDetail", json::object()}};
  if (!id.empty()) record["id"] = View(id);
  exchange->WriteAndWait(JsonLine(record));
}

void SendFailure(const ExchangePtr& exchange, const Status& status) {
  exchange->WriteAndWait(
      JsonLine(json::object{{"errorDetail", {{"message", status.message()}}}, {"error", status.message()}}));
}

Status ImportFrom(Api& api, const ExchangePtr& exchange);

// POST /images/create: Docker's pull, and its import.
Status CompatPull(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  if (!request.Query("fromSrc").empty()) return ImportFrom(api, exchange);
  std::string name = request.Query("fromImage");
  if (name.empty()) return InvalidArgument("fromImage or fromSrc is required");
  std::string tag = request.Query("tag");
  // Without a tag Docker's API means all of them; its command line always names one.
  std::string reference = tag.empty() && !HasTag(name) ? name + ":latest" : WithTag(name, tag);
  ASSIGN_OR_RETURN(cri::AuthConfig auth, ReadAuth(request));
  Reply head;
  exchange->Begin(head);
  SendStatus(exchange, "Pulling from " + name, tag.empty() ? "latest" : tag);
  uint64_t told = 0;
  Result<std::string> id = PullImage(api, reference, auth, [&](const Progress& progress) {
    // A record for each hundredth part is enough for every terminal.
    if (progress.total == 0 || progress.fetched < told + progress.total / 100) return;
    told = progress.fetched;
    exchange->WriteAndWait(JsonLine(
        json::object{{"status", "Downloading"},
                     {"progressDetail", {{"current", progress.fetched}, {"total", progress.total}}},
                     {"progress", fmt::format("{}/{}", HumanBytes(progress.fetched), HumanBytes(progress.total))},
                     {"id", fmt::format("{} of {} layers", progress.done, progress.layers)}}));
  });
  if (!id.ok()) {
    SendFailure(exchange, id.status());
  } else {
    Result<control::StoredImage> image = api.engine().FindImage(false, *id, false);
    if (image.ok() && !image->manifest_digest().empty()) SendStatus(exchange, "Digest: " + image->manifest_digest());
    SendStatus(exchange, "Status: Image is up to date for " + reference);
  }
  exchange->End();
  return {};
}

Status LibpodPull(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  std::string reference = request.Query("reference");
  if (reference.empty()) return InvalidArgument("reference parameter cannot be empty");
  if (reference.starts_with("docker://")) reference.erase(0, 9);
  std::string policy = request.Query("policy");
  ASSIGN_OR_RETURN(bool quiet, request.QueryBool("quiet", false));
  ASSIGN_OR_RETURN(bool all_tags, request.QueryBool("allTags", false));
  if (all_tags) return Unimplemented("allTags is not supported");
  if (reference.find("://") != std::string::npos || reference.starts_with("docker-archive:") ||
      reference.starts_with("oci-archive:")) {
    return Unimplemented(fmt::format("transport of {} is not supported: only registries are", Printable(reference)));
  }
  ASSIGN_OR_RETURN(cri::AuthConfig auth, ReadAuth(request));
  exchange->Begin(Reply());
  auto done = [&](std::string_view id) {
    std::string bare(BareDigest(id));
    exchange->WriteAndWait(JsonLine(json::object{{"images", json::array{bare}}, {"id", bare}}));
    exchange->End();
    return Status();
  };
  if (policy == "missing" || policy == "never" || policy.empty()) {
    Result<control::StoredImage> image = api.engine().FindImage(true, reference, false);
    if (image.ok() && (policy != "" || HasTag(reference))) return done(image->id());
    if (policy == "never") {
      exchange->WriteAndWait(JsonLine(json::object{{"error", image.ok() ? "" : image.status().message()}}));
      exchange->End();
      return {};
    }
  }
  if (!quiet) exchange->WriteAndWait(JsonLine(json::object{{"stream", "Trying to pull " + reference + "...\n"}}));
  uint32_t layers = 0;
  Result<std::string> id =
      PullImage(api, HasTag(reference) ? reference : reference + ":latest", auth, [&](const Progress& progress) {
        if (quiet || progress.done <= layers) return;
        layers = progress.done;
        exchange->WriteAndWait(JsonLine(
            json::object{{"stream", fmt::format("Copied {} of {} layers\n", progress.done, progress.layers)}}));
      });
  if (!id.ok()) {
    exchange->WriteAndWait(JsonLine(json::object{{"error", id.status().message()}}));
    exchange->End();
    return {};
  }
  return done(*id);
}

// ---- Archives that clients send ----

// A request's body as a file of the node, for davitd to read; gone with this.
class Spooled {
 public:
  static Result<Spooled> From(Api& api, const Request& request) {
    std::string path = fmt::format("{}/davit-api-{}-XXXXXX", api.options().spool, ::getpid());
    sys::UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
    if (!fd.valid()) return ErrnoError(errno, "make a file in " + api.options().spool);
    Spooled spooled(path);
    uint64_t bytes = 0;
    for (;;) {
      ASSIGN_OR_RETURN(std::string piece, request.stream->Read());
      if (piece.empty()) break;
      bytes += piece.size();
      if (bytes > api.options().max_spool) {
        return ResourceExhausted(fmt::format("the archive is longer than {}", HumanBytes(api.options().max_spool)));
      }
      RETURN_IF_ERROR(sys::WriteAll(fd.get(), piece).Annotate("write " + path));
    }
    if (bytes == 0) return InvalidArgument("the archive is empty");
    return spooled;
  }
  Spooled(Spooled&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Spooled& operator=(Spooled&&) = delete;
  ~Spooled() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit Spooled(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Status Load(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(Spooled archive, Spooled::From(api, request));
  std::vector<std::string> names;
  uint32_t count = 1;
  for (uint32_t image = 0; image < count; ++image) {
    control::LoadImageRequest load;
    load.set_archive(archive.path());
    load.set_image(image);
    Result<control::PullImageProgress> loaded = api.client().Load(load, [](const control::PullImageProgress&) {});
    if (loaded.code() == StatusCode::kUnimplemented) return NeedsDavit("load");
    RETURN_IF_ERROR(loaded.status());
    count = std::max(count, loaded->archive_images());
    if (loaded->names_size() == 0) names.push_back(loaded->image_ref());
    for (const std::string& name : loaded->names()) names.push_back(name);
  }
  if (request.libpod) {
    exchange->Send(JsonReply(json::object{{"Names", StringArray(names)}}));
    return {};
  }
  exchange->Begin(Reply());
  for (const std::string& name : names) {
    exchange->WriteAndWait(JsonLine(json::object{{"stream", "Loaded image: " + name + "\n"}}));
  }
  exchange->End();
  return {};
}

Status ImportFrom(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  std::string source = request.libpod ? request.Query("url") : request.Query("fromSrc");
  if (!source.empty() && source != "-") return Unimplemented("import from a URL is not supported: send the archive");
  ASSIGN_OR_RETURN(Spooled archive, Spooled::From(api, request));
  control::ImportImageRequest call;
  call.set_archive(archive.path());
  call.set_reference(request.libpod ? request.Query("reference")
                                    : WithTag(request.Query("repo"), request.Query("tag")));
  for (const std::string& change : request.QueryAll("changes")) call.add_changes(change);
  call.set_message(request.Query("message"));
  call.set_platform(request.Query("platform"));
  Result<control::PullImageProgress> made = api.client().Import(call, [](const control::PullImageProgress&) {});
  if (made.code() == StatusCode::kUnimplemented) return NeedsDavit("import");
  RETURN_IF_ERROR(made.status());
  if (request.libpod) {
    exchange->Send(JsonReply(json::object{{"Id", View(BareDigest(made->image_ref()))}}));
    return {};
  }
  exchange->Begin(Reply());
  exchange->WriteAndWait(JsonLine(json::object{{"status", made->image_ref()}}));
  exchange->End();
  return {};
}

// ---- Archives that clients get ----

Status Save(Api& api, const ExchangePtr& exchange, const std::vector<std::string>& names, bool docker) {
  const Request& request = exchange->request();
  if (names.empty()) return InvalidArgument("no images to save were named");
  control::SaveImagesRequest call;
  call.set_docker(docker);
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(control::StoredImage image, api.engine().FindImage(request.libpod, name, false));
    bool by_id = BareDigest(image.id()).starts_with(BareDigest(name));
    call.add_images(by_id ? image.id() : name);
  }
  Reply head;
  head.content_type = "application/x-tar";
  bool begun = false;
  TarStream tar([&](std::string_view bytes) {
    if (!begun) exchange->Begin(head);
    begun = true;
    return exchange->WriteAndWait(bytes) ? Status() : Cancelled("the client went away");
  });
  Status saved = api.client().Save(call, [&](const control::SaveImagesChunk& chunk) {
    if (!chunk.path().empty()) RETURN_IF_ERROR(tar.BeginFile(chunk.path(), chunk.size()));
    return chunk.data().empty() ? Status() : tar.Data(chunk.data());
  });
  if (saved.code() == StatusCode::kUnimplemented) return NeedsDavit("save");
  if (saved.ok()) saved = tar.Finish();
  if (!saved.ok() && !begun) return saved;
  // A stream that fails is cut, so that the client sees that it is not whole.
  if (saved.ok()) exchange->End();
  return {};
}

Status SaveOne(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  std::string format = request.Query("format");
  return Save(api, exchange, {request.Param("name")}, !request.libpod || format.empty() || format == "docker-archive");
}

Status SaveMany(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  std::string format = request.Query("format");
  if (format.ends_with("-dir"))
    return Unimplemented("format " + format + " is not supported: docker-archive and oci-archive are");
  std::vector<std::string> names = request.QueryAll(request.libpod ? "references" : "names");
  // docker-py sends one list with commas.
  if (names.size() == 1 && names[0].find(',') != std::string::npos) names = Split(names[0], ',');
  return Save(api, exchange, names, !request.libpod || format.empty() || format == "docker-archive");
}

Result<Reply> Push(Api& api, const Request& request) {
  RETURN_IF_ERROR(api.engine().FindImage(request.libpod, request.Param("name"), false).status());
  return Unimplemented("push is not supported: save the image and copy the archive to the registry (skopeo copy)");
}

// ---- commit ----

Result<Reply> Commit(Api& api, const Request& request) {
  ASSIGN_OR_RETURN(Entry entry, api.engine().Find(request.libpod, request.Query("container"), false));
  control::CommitRequest call;
  call.set_container(entry.container.id());
  call.set_reference(WithTag(request.Query("repo"), request.Query("tag")));
  if (request.Query("repo").empty()) call.clear_reference();
  for (const std::string& change : request.QueryAll("changes")) {
    for (const std::string& line : Split(change, '\n')) {
      if (!Trim(line).empty()) call.add_changes(line);
    }
  }
  call.set_author(request.Query("author"));
  call.set_message(request.Query("comment"));
  ASSIGN_OR_RETURN(bool pause, request.QueryBool("pause", true));
  call.set_no_pause(!pause);
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(request.body));
  if (!document.root().Members().empty()) call.set_config(request.body);
  Result<control::CommitResponse> made = api.client().Call(call);
  if (api.engine().files.Missing(made.status())) return NeedsDavit("commit");
  RETURN_IF_ERROR(made.status());
  return JsonReply(json::object{{"Id", request.libpod ? std::string(BareDigest(made->image_id())) : made->image_id()}},
                   201);
}

}  // namespace

Status EnsureImage(Api& api, const std::string& reference, bool always) {
  if (!always && api.engine().FindImage(true, reference, false).ok()) return {};
  return PullImage(api, HasTag(reference) ? reference : reference + ":latest", {}, [](const Progress&) {}).status();
}

void AddImageTransferRoutes(Router& router) {
  RouteOptions upload{true, true};
  RouteOptions slow{false, true};
  router.Stream(Flavour::kCompat, "POST", "/images/create", CompatPull, upload);
  router.Stream(Flavour::kLibpod, "POST", "/images/pull", LibpodPull, slow);
  router.Stream(Flavour::kBoth, "POST", "/images/load", Load, upload);
  router.Stream(Flavour::kLibpod, "POST", "/images/import", ImportFrom, upload);
  router.Stream(Flavour::kBoth, "GET", "/images/{name*}/get", SaveOne, slow);
  router.Stream(Flavour::kCompat, "GET", "/images/get", SaveMany, slow);
  router.Stream(Flavour::kLibpod, "GET", "/images/export", SaveMany, slow);
  router.Add(Flavour::kBoth, "POST", "/images/{name*}/push", Push);
  router.Add(Flavour::kBoth, "POST", "/commit", Commit, slow);
}

}  // namespace davit::api
