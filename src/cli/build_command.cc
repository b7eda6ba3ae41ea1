// davit build: buildah in a store of its own. The images that the Dockerfile names come from Davit's store, and are
// pulled into it as every image is; what is built goes into it. buildah sees no registry and needs none.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strings.h"
#include "cli/everyday.h"
#include "client/dockerfile.h"
#include "davit/control/v1/control.pb.h"
#include "davit/control/v1/files.pb.h"
#include "runtime/v1/cri.pb.h"
#include "sys/atomic_file.h"
#include "sys/process.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

constexpr size_t kMaxDockerfile = 4u << 20;
constexpr std::chrono::minutes kBuildLimit{1};  // from its end to its exit code

std::string SpoolFolder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder == '/' ? folder : "/var/tmp";
}

// buildah's store, which makes the next build of the same steps short. Ours alone: the folder is everybody's.
Result<std::string> BuildStore() {
  std::string path = SpoolFolder() + "/davit-builds-" + std::to_string(::geteuid());
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoError(errno, "make " + path);
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return ErrnoError(errno, "look at " + path);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 0077) != 0) {
    return PermissionDenied(path + " is not a directory of this user alone");
  }
  return path;
}

// A directory that goes with this.
class Workspace {
 public:
  static Result<Workspace> Make() {
    std::string path = SpoolFolder() + "/davit-build-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return ErrnoError(errno, "make a directory in " + SpoolFolder());
    return Workspace(path);
  }
  Workspace(Workspace&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Workspace& operator=(Workspace&&) = delete;
  ~Workspace() {
    if (!path_.empty()) IgnoreError(sys::RemoveTree(path_));  // below a folder for what is temporary
  }
  [[nodiscard]] std::string At(const std::string& name) const { return path_ + "/" + name; }

 private:
  explicit Workspace(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

struct Builder {
  const Context& context;
  const BuildOptions& options;
  Workspace work;
  std::string store;
};

// Runs buildah to its end, its words on standard error unless `quiet`.
Status Buildah(const Builder& builder, const std::vector<std::string>& arguments, bool quiet) {
  sys::SpawnOptions spawn;
  spawn.argv = {"buildah", "--root", builder.store + "/root", "--runroot", builder.store + "/run"};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  spawn.env = sys::MinimalEnvironment();
  spawn.env.push_back("TMPDIR=" + builder.work.At(""));
  spawn.env.emplace_back("BUILDAH_ISOLATION=chroot");
  spawn.fds = {{STDERR_FILENO, 2}};
  if (!quiet) spawn.fds.emplace_back(STDERR_FILENO, 1);  // standard output has the id alone
  Result<sys::PidFd> child = sys::Spawn(spawn);
  if (child.code() == StatusCode::kNotFound) {
    return FailedPrecondition(
        "build needs buildah on this machine: install it, or build elsewhere and load the image (davit load)");
  }
  RETURN_IF_ERROR(child.status());
  // A signal is passed on, so that buildah takes its mounts down, and ends the build.
  int signal = 0;
  for (;;) {
    pollfd polled[2] = {{child->fd(), POLLIN, 0}, {builder.context.signals.fd(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if (polled[1].revents != 0) {
      const int came = builder.context.signals.Take();
      if (came != 0 && came != SIGWINCH) IgnoreError(child->Signal(signal = came));
    }
    if (polled[0].revents != 0) break;
  }
  ASSIGN_OR_RETURN(sys::ExitStatus exit, child->Reap(Deadline::After(kBuildLimit)));
  if (signal != 0) return Cancelled(fmt::format("ended by signal {}", signal));
  if (exit.code != 0) return Internal(fmt::format("buildah {} ended with {}", arguments.front(), exit.code));
  return {};
}

Result<std::string> Dockerfile(const BuildOptions& options) {
  if (!options.file.empty()) return options.file;
  for (const char* name : {"/Containerfile", "/Dockerfile"}) {
    std::string path = options.context + name;
    if (::access(path.c_str(), F_OK) == 0) return path;
  }
  return NotFound(fmt::format("build: neither Containerfile nor Dockerfile in {}", Printable(options.context)));
}

// An image of Davit's store into buildah's, under its name.
Status Bring(const Builder& builder, const std::string& image) {
  const Context& context = builder.context;
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(image);
  ASSIGN_OR_RETURN(cri::ImageStatusResponse there, context.client.Call(request));
  if (!there.has_image() || builder.options.pull) {
    RETURN_IF_ERROR(PullWithProgress(context, image, "").status());
    ASSIGN_OR_RETURN(there, context.client.Call(request));
  }
  const std::string id = there.image().id();
  const std::string path = builder.work.At("from.tar");
  ::unlink(path.c_str());
  ImageSaveOptions save;
  save.images = {id};
  save.output = path;
  save.quiet = true;
  RETURN_IF_ERROR(ImageSave(context, save).status());
  RETURN_IF_ERROR(
      Buildah(builder,
              {"pull", "--quiet", "--signature-policy", builder.work.At("policy.json"), "docker-archive:" + path}, true)
          .Annotate("hand over " + Printable(image)));
  // The name that the Dockerfile has, whatever names the image has.
  return Buildah(builder, {"tag", id.substr(id.find(':') + 1), image}, true).Annotate("name " + Printable(image));
}

std::vector<std::string> BudArguments(const Builder& builder, const std::string& dockerfile) {
  const BuildOptions& options = builder.options;
  std::vector<std::string> out = {"bud",
                                  "--layers",
                                  "--isolation",
                                  "chroot",
                                  "--pull-never",
                                  "--force-rm",
                                  "--network",
                                  "host",
                                  "--signature-policy",
                                  builder.work.At("policy.json"),
                                  "--iidfile",
                                  builder.work.At("iid"),
                                  "--file",
                                  dockerfile};
  if (options.no_cache) out.emplace_back("--no-cache");
  if (!options.target.empty()) out.insert(out.end(), {"--target", options.target});
  for (const std::string& text : options.arguments) out.insert(out.end(), {"--build-arg", text});
  for (const std::string& text : options.labels) out.insert(out.end(), {"--label", text});
  out.push_back(options.context);
  return out;
}

// What was built, into Davit's store: its id.
Result<std::string> Take(const Builder& builder) {
  ASSIGN_OR_RETURN(std::string built, sys::ReadFile(builder.work.At("iid"), 256));
  const std::string archive = builder.work.At("out.tar");
  RETURN_IF_ERROR(Buildah(builder,
                          {"push", "--quiet", "--signature-policy", builder.work.At("policy.json"),
                           std::string(Trim(built)), "oci-archive:" + archive},
                          true)
                      .Annotate("write the image"));
  control::LoadImageRequest load;
  load.set_archive(archive);
  ASSIGN_OR_RETURN(control::PullImageProgress loaded,
                   builder.context.client.Load(load, [](const control::PullImageProgress&) {}));
  RETURN_IF_ERROR(TagImage(builder.context, loaded.image_ref(), builder.options.tags).status());
  return loaded.image_ref();
}

}  // namespace

Result<int> Build(const Context& context, const BuildOptions& options) {
  struct stat info {};
  if (::stat(options.context.c_str(), &info) != 0) return ErrnoError(errno, "build: " + Printable(options.context));
  if (!S_ISDIR(info.st_mode)) {
    return InvalidArgument(fmt::format("build: {} is no directory", Printable(options.context)));
  }
  std::map<std::string, std::string> arguments;
  for (const std::string& text : options.arguments) {
    ASSIGN_OR_RETURN(auto pair, ParsePair(text, "--build-arg"));
    arguments.insert(pair);
  }
  ASSIGN_OR_RETURN(std::string dockerfile, Dockerfile(options));
  ASSIGN_OR_RETURN_WITH(std::string text, sys::ReadFile(dockerfile, kMaxDockerfile), "build");
  ASSIGN_OR_RETURN(Workspace work, Workspace::Make());
  ASSIGN_OR_RETURN(std::string store, BuildStore());
  Builder builder{context, options, std::move(work), std::move(store)};
  {
    // What comes from Davit's store was judged when it came into that.
    ASSIGN_OR_RETURN(sys::UniqueFd policy,
                     sys::Open(builder.work.At("policy.json"), O_WRONLY | O_CREAT | O_EXCL, 0600));
    RETURN_IF_ERROR(sys::WriteAll(policy.get(), R"({"default":[{"type":"insecureAcceptAnything"}]})"));
  }
  for (const std::string& image : client::ImagesOfDockerfile(text, arguments)) {
    RETURN_IF_ERROR(Bring(builder, image).Annotate("build"));
  }
  RETURN_IF_ERROR(Buildah(builder, BudArguments(builder, dockerfile), options.quiet).Annotate("build"));
  ASSIGN_OR_RETURN_WITH(std::string id, Take(builder), "build");
  if (!options.id_file.empty()) {
    ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(options.id_file, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    RETURN_IF_ERROR(sys::WriteAll(file.get(), id));
  }
  PrintLine(id);
  return 0;
}

}  // namespace davit::cli
