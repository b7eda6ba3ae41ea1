// POST /build, of both APIs: through buildah in a store of its own.
//
// Images that the Dockerfile names come from Davit's store (and are pulled into it as every image is), and what is
// built goes into it: buildah sees no registry and needs none.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>

#include "api/api.h"
#include "api/build_spec.h"
#include "api/engine.h"
#include "api/error.h"
#include "api/json_out.h"
#include "api/make.h"
#include "api/tar_stream.h"
#include "base/log.h"
#include "base/strings.h"
#include "client/client.h"
#include "davit/control/v1/control.pb.h"
#include "sys/atomic_file.h"
#include "sys/process.h"

namespace davit::api {
namespace {

namespace json = boost::json;

constexpr size_t kMaxDockerfile = 4u << 20;
constexpr std::chrono::minutes kHelperLimit{30};

// A directory below the spool that goes with this.
class Workspace {
 public:
  static Result<Workspace> Make(const std::string& spool) {
    std::string path = spool + "/davit-api-build-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return ErrnoError(errno, "make a directory in " + spool);
    return Workspace(path);
  }
  Workspace(Workspace&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Workspace& operator=(Workspace&&) = delete;
  ~Workspace() {
    if (!path_.empty()) IgnoreError(sys::RemoveTree(path_));  // it is below a directory for what is temporary
  }
  [[nodiscard]] std::string At(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  explicit Workspace(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// Ours alone: the spool is everybody's to write into.
Result<std::string> StoreDirectory(const std::string& spool) {
  std::string path = spool + "/davit-api-builds";
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, "make " + path);
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return ErrnoError(errno, "look at " + path);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 0077) != 0) {
    return PermissionDenied(path + " is not a directory of this process alone");
  }
  return path;
}

// A build holds the store for itself and others (LOCK_SH), whoever clears it alone (LOCK_EX).
Result<sys::UniqueFd> LockStore(const std::string& store, int how) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(store + ".lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  while (::flock(fd.get(), how) != 0) {
    if (errno == EWOULDBLOCK) return FailedPrecondition("a build is under way: its cache is in use");
    if (errno != EINTR) return ErrnoError(errno, "lock " + store);
  }
  return fd;
}

uint64_t BytesBelow(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code gone;  // what goes meanwhile counts nothing
  std::filesystem::recursive_directory_iterator at(directory, gone);
  for (; !gone && at != std::filesystem::recursive_directory_iterator(); at.increment(gone)) {
    struct stat info {};
    if (::lstat(at->path().c_str(), &info) == 0) bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

// What earlier builds left, as far as it is more than `limit`: all of it, for its layers need each other.
Result<uint64_t> ClearStore(const std::string& spool, uint64_t limit) {
  ASSIGN_OR_RETURN(std::string store, StoreDirectory(spool));
  ASSIGN_OR_RETURN(sys::UniqueFd lock, LockStore(store, LOCK_EX | LOCK_NB));
  const uint64_t bytes = BytesBelow(store);
  if (bytes <= limit) return uint64_t{0};
  RETURN_IF_ERROR(sys::RemoveTree(store));
  return bytes;
}

std::vector<std::string> Environment(const Workspace& work) {
  std::vector<std::string> env = sys::MinimalEnvironment();
  env.push_back("TMPDIR=" + work.At(""));
  env.push_back("BUILDAH_ISOLATION=chroot");
  return env;
}

// The context's tar from the client into a directory.
Status Extract(const Request& request, const Workspace& work) {
  std::string context = work.At("context");
  if (::mkdir(context.c_str(), 0700) != 0) return ErrnoError(errno, "make " + context);
  ASSIGN_OR_RETURN(std::string first, request.stream->Read());
  if (first.empty()) return InvalidArgument("the build context is empty");
  ASSIGN_OR_RETURN(sys::Pipe input, sys::MakePipe());
  sys::SpawnOptions options;
  options.argv = {"tar", "--extract", "--file=-", "--no-same-owner", "--directory=" + context};
  if (std::string filter = TarFilter(first); !filter.empty()) options.argv.push_back(filter);
  options.env = sys::MinimalEnvironment();
  ASSIGN_OR_RETURN(sys::UniqueFd log, sys::Open(work.At("tar.log"), O_RDWR | O_CREAT | O_EXCL, 0600));
  options.fds = {{input.read.get(), 0}, {log.get(), 2}};
  ASSIGN_OR_RETURN_WITH(sys::PidFd tar, sys::Spawn(options), "unpack the build context");
  input.read.reset();
  Status fed;
  for (std::string piece = std::move(first); fed.ok() && !piece.empty();) {
    // tar may end before its input does: then what it says counts.
    if (!sys::WriteAll(input.write.get(), piece).ok()) break;
    Result<std::string> next = request.stream->Read();
    fed = next.status();
    piece = next.ok() ? std::move(*next) : std::string();
  }
  input.write.reset();
  ASSIGN_OR_RETURN(sys::ExitStatus exit, tar.Reap(Deadline::After(kHelperLimit)));
  RETURN_IF_ERROR(fed);
  if (exit.code != 0) {
    Result<std::string> said = sys::ReadFile(work.At("tar.log"), 64 * 1024);
    return InvalidArgument("the build context is no tar: " + Printable(Trim(said.value_or("")), 400));
  }
  return {};
}

Status MoveSecrets(const BuildSpec& spec, const Workspace& work) {
  for (const BuildSecret& secret : spec.secrets) {
    std::string from = work.At("context/" + secret.file);
    if (::rename(from.c_str(), work.At("secret-" + secret.id).c_str()) != 0) {
      return ErrnoError(errno, "secret " + secret.id);
    }
  }
  return {};
}

Result<std::string> ReadDockerfile(const Workspace& work, const std::string& name) {
  std::string path = work.At("context/" + name);
  Result<sys::UniqueFd> fd = sys::Open(path, O_RDONLY | O_NOFOLLOW);
  if (fd.code() == StatusCode::kNotFound && name == "Dockerfile")
    fd = sys::Open(work.At("context/Containerfile"), O_RDONLY | O_NOFOLLOW);
  if (!fd.ok()) return NotFound(fmt::format("Cannot locate specified Dockerfile: {}", Printable(name)));
  return sys::ReadAll(fd->get(), kMaxDockerfile);
}

// One client's build.
class Build {
 public:
  Build(Api& api, ExchangePtr exchange, BuildSpec spec, Workspace work, std::string store)
      : api_(api),
        exchange_(std::move(exchange)),
        spec_(std::move(spec)),
        work_(std::move(work)),
        store_(std::move(store)) {}

  Result<std::string> Run(const std::vector<std::string>& images) {
    for (const std::string& image : images) RETURN_IF_ERROR(Bring(image));
    RETURN_IF_ERROR(Call(BudArguments(), true).Annotate("build"));
    ASSIGN_OR_RETURN(std::string built, sys::ReadFile(work_.At("iid"), 256));
    std::string id(Trim(built));
    RETURN_IF_ERROR(Call({"push", "--quiet", "--signature-policy", work_.At("policy.json"), id,
                          "oci-archive:" + work_.At("out.tar")},
                         false)
                        .Annotate("write the image"));
    control::LoadImageRequest load;
    load.set_archive(work_.At("out.tar"));
    ASSIGN_OR_RETURN(control::PullImageProgress loaded,
                     api_.client().Load(load, [](const control::PullImageProgress&) {}));
    for (const std::string& tag : spec_.tags) {
      control::TagImageRequest call;
      call.set_image(loaded.image_ref());
      call.set_reference(FullName(tag));
      RETURN_IF_ERROR(api_.client().Call(call).status());
    }
    return loaded.image_ref();
  }

  void Say(const std::string& text) {
    if (!spec_.quiet) exchange_->WriteAndWait(JsonLine(json::object{{"stream", text}}));
  }
  [[nodiscard]] const BuildSpec& spec() const { return spec_; }
  // Podman's names without a registry are the node's own.
  [[nodiscard]] std::string FullName(const std::string& tag) const {
    std::string first = tag.substr(0, tag.find('/'));
    bool registry =
        tag.find('/') != std::string::npos &&
        (first.find('.') != std::string::npos || first.find(':') != std::string::npos || first == "localhost");
    return exchange_->request().libpod && !registry ? "localhost/" + tag : tag;
  }

 private:
  std::vector<std::string> BudArguments() const {
    std::vector<std::string> out = {
        "bud",       "--force-rm",    "--layers",           "--isolation",
        "chroot",    "--pull-never",  "--signature-policy", work_.At("policy.json"),
        "--iidfile", work_.At("iid"), "--network",          spec_.no_network ? "none" : "host"};
    if (spec_.no_cache) out.push_back("--no-cache");
    if (spec_.squash) out.push_back("--squash");
    if (!spec_.target.empty()) out.insert(out.end(), {"--target", spec_.target});
    if (!spec_.platform.empty()) out.insert(out.end(), {"--platform", spec_.platform});
    for (const auto& [key, value] : spec_.arguments) out.insert(out.end(), {"--build-arg", key + "=" + value});
    for (const auto& [key, value] : spec_.labels) out.insert(out.end(), {"--label", key + "=" + value});
    for (const std::string& host : spec_.extra_hosts) out.insert(out.end(), {"--add-host", host});
    for (const BuildSecret& secret : spec_.secrets) {
      out.insert(out.end(), {"--secret", "id=" + secret.id + ",src=" + work_.At("secret-" + secret.id)});
    }
    for (const std::string& file : spec_.dockerfiles) out.insert(out.end(), {"--file", work_.At("context/" + file)});
    out.push_back(work_.At("context"));
    return out;
  }

  // An image of Davit's store into buildah's, under its name.
  Status Bring(const std::string& image) {
    RETURN_IF_ERROR(EnsureImage(api_, image, spec_.pull).Annotate("image " + Printable(image)));
    ASSIGN_OR_RETURN(control::StoredImage stored, api_.engine().FindImage(true, image, false));
    std::string path = work_.At("from.tar");
    ::unlink(path.c_str());
    ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    TarStream tar([&](std::string_view bytes) { return sys::WriteAll(fd.get(), bytes); });
    control::SaveImagesRequest save;
    save.add_images(stored.id());
    save.set_docker(true);
    RETURN_IF_ERROR(api_.client().Save(save, [&](const control::SaveImagesChunk& chunk) {
      if (!chunk.path().empty()) RETURN_IF_ERROR(tar.BeginFile(chunk.path(), chunk.size()));
      return chunk.data().empty() ? Status() : tar.Data(chunk.data());
    }));
    RETURN_IF_ERROR(tar.Finish());
    RETURN_IF_ERROR(
        Call({"pull", "--quiet", "--signature-policy", work_.At("policy.json"), "docker-archive:" + path}, false)
            .Annotate("hand over " + Printable(image)));
    // The name of the Dockerfile, whatever names the image has.
    std::string bare(BareDigest(stored.id()));
    return Call({"tag", bare, image}, false).Annotate("name " + Printable(image));
  }

  // Runs buildah to its end; with `told` its lines go to the client. A client that leaves ends it.
  Status Call(const std::vector<std::string>& arguments, bool told) {
    ASSIGN_OR_RETURN(sys::Pipe output, sys::MakePipe());
    sys::SpawnOptions options;
    options.argv = {"buildah", "--root", store_ + "/root", "--runroot", store_ + "/run", "--storage-driver", "overlay"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.env = Environment(work_);
    options.fds = {{output.write.get(), 1}, {output.write.get(), 2}};
    options.new_session = true;
    ASSIGN_OR_RETURN(sys::PidFd child, sys::Spawn(options));
    output.write.reset();
    std::string last;
    std::string line;
    char buffer[16384];
    for (;;) {
      pollfd polled{output.read.get(), POLLIN, 0};
      int ready = ::poll(&polled, 1, 500);
      if (exchange_->closed()) {
        ::kill(-child.pid(), SIGKILL);  // its session: what it runs, too
        IgnoreError(child.Reap(Deadline::After(std::chrono::seconds(10))).status());
        return Cancelled("the client went away");
      }
      if (ready <= 0) continue;
      ssize_t n = ::read(output.read.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      line.append(buffer, static_cast<size_t>(n));
      for (size_t feed = line.find('\n'); feed != std::string::npos; feed = line.find('\n')) {
        last = line.substr(0, feed);
        if (told) Say(last + "\n");
        line.erase(0, feed + 1);
      }
      if (line.size() > (1u << 20)) line.clear();
    }
    ASSIGN_OR_RETURN(sys::ExitStatus exit, child.Reap(Deadline::After(kHelperLimit)));
    if (!line.empty()) last = line;
    if (exit.code != 0) return Internal(last.empty() ? fmt::format("exit status {}", exit.code) : last);
    return {};
  }

  Api& api_;
  const ExchangePtr exchange_;
  const BuildSpec spec_;
  const Workspace work_;
  const std::string store_;
};

void SayDone(Build& build, const ExchangePtr& exchange, const std::string& id) {
  std::string bare(BareDigest(id));
  auto record = [&](const std::string& text) { exchange->WriteAndWait(JsonLine(json::object{{"stream", text}})); };
  if (exchange->request().libpod) {
    // The last one that begins with an id is what Podman's clients take; records of another kind they refuse.
    record(bare + "\n");
    return;
  }
  exchange->WriteAndWait(JsonLine(json::object{{"aux", {{"ID", "sha256:" + bare}}}}));
  if (build.spec().quiet) {
    record("sha256:" + bare + "\n");
    return;
  }
  record("Successfully built " + bare.substr(0, 12) + "\n");
  for (const std::string& tag : build.spec().tags) record("Successfully tagged " + tag + "\n");
}

Status HandleBuild(Api& api, const ExchangePtr& exchange) {
  const Request& request = exchange->request();
  ASSIGN_OR_RETURN(BuildSpec spec, ReadBuild(request));
  sys::SpawnOptions probe;
  probe.argv = {"buildah", "--version"};
  probe.env = sys::MinimalEnvironment();
  if (!sys::RunCommand(probe, "", 1024, Deadline::After(std::chrono::seconds(20))).ok()) {
    return Unimplemented("build needs buildah on this node: install it, or build elsewhere and load the image");
  }
  ASSIGN_OR_RETURN(std::string store, StoreDirectory(api.options().spool));
  ASSIGN_OR_RETURN(Workspace work, Workspace::Make(api.options().spool));
  RETURN_IF_ERROR(Extract(request, work));
  RETURN_IF_ERROR(MoveSecrets(spec, work));
  std::vector<std::string> images;
  for (std::string& name : spec.dockerfiles) {
    ASSIGN_OR_RETURN(std::string text, ReadDockerfile(work, name));
    if (::access(work.At("context/" + name).c_str(), F_OK) != 0) name = "Containerfile";
    for (std::string& image : ImagesOf(text, spec.arguments)) images.push_back(std::move(image));
  }
  // What comes from Davit's store was judged when it came into that.
  {
    ASSIGN_OR_RETURN(sys::UniqueFd policy, sys::Open(work.At("policy.json"), O_WRONLY | O_CREAT | O_EXCL, 0600));
    RETURN_IF_ERROR(sys::WriteAll(policy.get(), R"({"default":[{"type":"insecureAcceptAnything"}]})"));
  }
  ASSIGN_OR_RETURN(sys::UniqueFd lock, LockStore(store, LOCK_SH));
  ASSIGN_OR_RETURN(store, StoreDirectory(api.options().spool));  // cleared while this waited for the context
  exchange->Begin(Reply());
  Build build(api, exchange, std::move(spec), std::move(work), std::move(store));
  Result<std::string> id = build.Run(images);
  if (id.ok()) {
    SayDone(build, exchange, *id);
  } else {
    exchange->WriteAndWait(JsonLine(
        json::object{{"errorDetail", {{"message", id.status().message()}}}, {"error", id.status().message()}}));
  }
  exchange->End();
  lock.reset();
  Result<uint64_t> cleared = ClearStore(api.options().spool, api.options().max_spool);
  if (cleared.ok() && *cleared > 0) LogInfo("the cache of builds was cleared: {} bytes", *cleared);
  return {};
}

// docker builder prune. Filters choose among records that there are none of: all or nothing.
Result<Reply> Prune(Api& api, const Request&) {
  ASSIGN_OR_RETURN(uint64_t bytes, ClearStore(api.options().spool, 0));
  return JsonReply(json::object{{"CachesDeleted", nullptr}, {"SpaceReclaimed", bytes}});
}

}  // namespace

void AddBuildRoutes(Router& router) {
  router.Add(Flavour::kCompat, "POST", "/build/prune", Prune, RouteOptions{false, true});
  router.Stream(Flavour::kBoth, "POST", "/build", HandleBuild, RouteOptions{true, true});
}

}  // namespace davit::api
