#include "cli/take_over.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/strings.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "davit/control/v1/control.pb.h"
#include "oci/image_spec.h"
#include "sys/atomic_file.h"
#include "sys/process.h"
#include "sys/unique_fd.h"

namespace davit::cli {
namespace {

constexpr size_t kMaxImagesJson = 64 << 20;
constexpr size_t kMaxToolOutput = 8 << 20;
constexpr size_t kMaxNames = 100'000;
constexpr std::chrono::hours kExportBudget{2};  // of one image

// Where one archive lies while it is loaded.
class ScratchDirectory {
 public:
  static Result<ScratchDirectory> Create() {
    const char* folder = std::getenv("TMPDIR");
    std::string path = std::string(folder != nullptr && *folder == '/' ? folder : "/var/tmp") + "/davit-import-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return ErrnoError(errno, "make a directory like " + path);
    return ScratchDirectory(std::move(path));
  }
  ScratchDirectory(ScratchDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  ScratchDirectory& operator=(ScratchDirectory&&) = delete;
  ~ScratchDirectory() {
    if (!path_.empty()) IgnoreError(sys::RemoveTree(path_));  // the user's temporary files
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

Result<std::string> RunTool(std::vector<std::string> argv, const std::string& package) {
  sys::SpawnOptions spawn;
  spawn.argv = std::move(argv);
  spawn.env = sys::MinimalEnvironment();
  Result<sys::CommandResult> run = sys::RunCommand(spawn, "", kMaxToolOutput, Deadline::After(kExportBudget));
  if (run.code() == StatusCode::kNotFound) {
    return FailedPrecondition(
        fmt::format("{} is not installed; it reads the other engine's images (package {})", spawn.argv[0], package));
  }
  if (!run.ok()) return run.status();
  if (run->exit.signal == 0 && run->exit.code == 0) return std::move(run->out);
  std::string_view said = Trim(run->err);
  said = said.substr(said.rfind('\n') == std::string_view::npos ? 0 : said.rfind('\n') + 1);
  return FailedPrecondition(fmt::format("{}: {}", spawn.argv[0], Printable(said, 500)));
}

// One engine's images.
class Source {
 public:
  virtual ~Source() = default;
  virtual Result<std::vector<std::string>> Names() = 0;
  virtual Status Export(const std::string& name, const std::string& file) = 0;
};

class ContainersStorage final : public Source {
 public:
  explicit ContainersStorage(const std::string& where) : root_(where.empty() ? "/var/lib/containers/storage" : where) {}

  Result<std::vector<std::string>> Names() override {
    ASSIGN_OR_RETURN(std::string text, sys::ReadFile(root_ + "/overlay-images/images.json", kMaxImagesJson));
    Result<std::vector<std::string>> names = NamesInStorage(text);
    if (!names.ok()) return names.status().Annotate(root_ + "/overlay-images/images.json");
    return names;
  }

  Status Export(const std::string& name, const std::string& file) override {
    return RunTool({"skopeo", "copy", "--quiet", "--insecure-policy",
                    fmt::format("containers-storage:[overlay@{}+/run/containers/storage]{}", root_, name),
                    fmt::format("docker-archive:{}:{}", file, name)},
                   "skopeo")
        .status();
  }

 private:
  const std::string root_;
};

class Containerd final : public Source {
 public:
  Containerd(const std::string& where, std::string name_space)
      : socket_(where.empty() ? "/run/containerd/containerd.sock" : where), name_space_(std::move(name_space)) {}

  Result<std::vector<std::string>> Names() override {
    if (::access(socket_.c_str(), F_OK) != 0) return ErrnoError(errno, socket_);
    ASSIGN_OR_RETURN(std::string text, Ctr({"images", "ls", "-q"}));
    std::vector<std::string> names;
    for (std::string_view line : Split(text, '\n')) {
      line = Trim(line);
      // Its CRI plugin names each image by its id, too, and by its digest: the tags are the names.
      if (!line.empty() && !line.starts_with("sha256:") && line.find('@') == std::string_view::npos) {
        names.emplace_back(line);
      }
    }
    return names;
  }

  Status Export(const std::string& name, const std::string& file) override {
    return Ctr({"images", "export", "--platform", "linux/" + oci::HostPlatform().architecture, file, name}).status();
  }

 private:
  Result<std::string> Ctr(const std::vector<std::string>& words) {
    std::vector<std::string> argv = {"ctr", "--address", socket_, "--namespace", name_space_};
    argv.insert(argv.end(), words.begin(), words.end());
    return RunTool(std::move(argv), "containerd");
  }

  const std::string socket_;
  const std::string name_space_;
};

Result<std::unique_ptr<Source>> SourceOf(const TakeOverOptions& options) {
  if (options.from == "containers-storage") return std::unique_ptr<Source>(new ContainersStorage(options.where));
  if (options.from == "containerd") {
    return std::unique_ptr<Source>(new Containerd(options.where, options.name_space));
  }
  return InvalidArgument(
      fmt::format("--from \"{}\" is neither containers-storage nor containerd", Printable(options.from)));
}

Result<control::v1::PullImageProgress> TakeOne(const Context& context, Source& source, const std::string& name) {
  ASSIGN_OR_RETURN(ScratchDirectory scratch, ScratchDirectory::Create());
  control::v1::LoadImageRequest request;
  request.set_archive(scratch.path() + "/image.tar");
  RETURN_IF_ERROR(source.Export(name, request.archive()));
  return context.client.Load(request, [](const control::v1::PullImageProgress&) {});
}

}  // namespace

Result<std::vector<std::string>> NamesInStorage(const std::string& text) {
  boost::json::error_code error;
  boost::json::value json = boost::json::parse(text, error);
  if (error || !json.is_array()) return InvalidArgument("it is no list of images");
  std::vector<std::string> names;
  for (const boost::json::value& image : json.as_array()) {
    const boost::json::value* list = image.is_object() ? image.as_object().if_contains("names") : nullptr;
    if (list == nullptr || !list->is_array()) continue;
    for (const boost::json::value& name : list->as_array()) {
      if (!name.is_string() || names.size() == kMaxNames) continue;
      if (std::string_view(name.as_string()).find('@') == std::string_view::npos) names.emplace_back(name.as_string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<int> ImageTakeOver(const Context& context, const TakeOverOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Source> source, SourceOf(options));
  std::vector<std::string> names = options.images;
  if (names.empty()) {
    ASSIGN_OR_RETURN(names, source->Names());
  }
  boost::json::array taken;
  size_t failed = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string shown = Sanitise(names[i]);
    if (!options.quiet) std::fputs(fmt::format("[{}/{}] {}\n", i + 1, names.size(), shown).c_str(), stderr);
    Result<control::v1::PullImageProgress> last = TakeOne(context, *source, names[i]);
    if (!last.ok()) {
      // The tool that is missing, or a davitd that is not there, is so for all of them.
      if (i == 0 && (last.code() == StatusCode::kUnavailable || names.size() == 1)) return last.status();
      PrintError(last.status().Annotate(shown));
      ++failed;
      continue;
    }
    if (context.out.json) {
      boost::json::array list(last->names().begin(), last->names().end());
      taken.push_back(boost::json::object{{"id", last->image_ref()}, {"names", std::move(list)}});
    } else {
      PrintLine(options.quiet ? last->image_ref() : "Loaded image: " + shown);
    }
  }
  if (context.out.json) PrintLine(boost::json::serialize(taken));
  if (names.empty() && !context.out.json) PrintLine("there is no image with a name");
  return failed == 0 ? 0 : 1;
}

}  // namespace davit::cli
