// davit run and davit create: image, container, its streams, its end.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <memory>
#include <set>
#include <thread>

#include "base/rollback.h"
#include "base/strings.h"
#include "cli/cri_run.h"
#include "cli/everyday.h"
#include "cli/exit_wait.h"
#include "cli/run_values.h"
#include "cli/standalone_spec.h"
#include "cli/stream_client.h"
#include "cli/table.h"
#include "davit/control/v1/files.pb.h"
#include "runtime/v1/cri.pb.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

// While one exists, SIGINT and SIGTERM end the process at once: nothing is made yet that would have to be
// taken down. A thread, because the call that waits cannot look.
class ExitOnSignal {
 public:
  static Result<std::unique_ptr<ExitOnSignal>> Make(Signals& signals) {
    ASSIGN_OR_RETURN(sys::Pipe pipe, sys::MakePipe());
    return std::unique_ptr<ExitOnSignal>(new ExitOnSignal(signals, std::move(pipe)));
  }
  ~ExitOnSignal() {
    pipe_.write.reset();
    thread_.join();
  }

 private:
  ExitOnSignal(Signals& signals, sys::Pipe pipe)
      : pipe_(std::move(pipe)), thread_([this, &signals] { Watch(signals); }) {}
  void Watch(Signals& signals) const {
    for (;;) {
      pollfd polled[2] = {{signals.fd(), POLLIN, 0}, {pipe_.read.get(), POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0 && errno != EINTR) return;
      if (polled[1].revents != 0) return;
      int signal = polled[0].revents != 0 ? signals.Take() : 0;
      if (signal == SIGINT || signal == SIGTERM) ::_exit(128 + signal);
    }
  }

  sys::Pipe pipe_;
  std::thread thread_;
};

// By the policy of --pull.
Status EnsureImage(const Context& context, const std::string& image, const std::string& policy) {
  ASSIGN_OR_RETURN(std::unique_ptr<ExitOnSignal> exit_on_signal, ExitOnSignal::Make(context.signals));
  if (policy == "always" || policy == "newer") return PullWithProgress(context, image, "").status();
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(image);
  ASSIGN_OR_RETURN(cri::ImageStatusResponse response, context.client.Call(request));
  if (response.has_image()) return {};
  if (policy == "never") return NotFound(fmt::format("no image \"{}\" (and --pull never)", Printable(image)));
  return PullWithProgress(context, image, "").status();
}

// What -P publishes: the ports that the image exposes, each on one that the server chooses.
Status PublishExposed(const Context& context, StandaloneSpec& spec) {
  control::ListStoredImagesRequest request;
  request.add_images(spec.request.config().image().image());
  request.set_full(true);
  Result<control::ListStoredImagesResponse> found = context.client.Call(request);
  // Not the sign that another runtime is behind the socket, which CreateContainer gives.
  if (found.code() == StatusCode::kUnimplemented) return FailedPrecondition(found.status().message());
  RETURN_IF_ERROR(found.status());
  boost::json::error_code error;
  boost::json::value config = boost::json::parse(found->images_size() > 0 ? found->images(0).config_json() : "", error);
  const boost::json::value* ports = error ? nullptr : config.find_pointer("/config/ExposedPorts", error);
  if (ports == nullptr || !ports->is_object()) return {};
  auto& mappings = *spec.request.mutable_pod_config();
  for (const auto& pair : ports->get_object()) {
    Result<std::vector<cri::PortMapping>> exposed = ParsePublish(std::string(pair.key()));
    if (!exposed.ok()) continue;  // of the image, not of the user
    for (const cri::PortMapping& one : *exposed) {
      const bool there = std::any_of(
          mappings.port_mappings().begin(), mappings.port_mappings().end(), [&](const cri::PortMapping& other) {
            return other.container_port() == one.container_port() && other.protocol() == one.protocol();
          });
      if (there) continue;
      *mappings.add_port_mappings() = one;
      spec.request.mutable_pod_options()->set_random_ports(true);
    }
  }
  return {};
}

Status RemoveVolumeOf(const Context& context, const std::string& name) {
  control::RemoveVolumeRequest request;
  request.set_name(name);
  request.set_force(true);
  return context.client.Call(request).status();
}

// kUnimplemented: the server has no standalone containers.
Result<control::CreateContainerResponse> Make(const Context& context, const RunOptions& options) {
  ASSIGN_OR_RETURN(StandaloneSpec spec, MakeStandaloneSpec(options));
  RETURN_IF_ERROR(EnsureImage(context, options.image, options.pull));
  if (options.publish_all) RETURN_IF_ERROR(PublishExposed(context, spec));
  Rollback undo;
  for (auto& [request, volume] : spec.new_volumes) {
    Result<control::CreateVolumeResponse> made = context.client.Call(request);
    // Not the sign that another runtime is behind the socket, which CreateContainer gives.
    if (made.code() == StatusCode::kUnimplemented) return FailedPrecondition(made.status().message());
    RETURN_IF_ERROR(made.status());
    volume.set_name(made->volume().name());
    undo.Add("volume", [&context, name = volume.name()] { return RemoveVolumeOf(context, name); });
    *spec.request.mutable_options()->add_volumes() = volume;
  }
  ASSIGN_OR_RETURN(control::CreateContainerResponse made, context.client.Call(spec.request));
  undo.Commit();
  for (const std::string& warning : made.warnings()) {
    std::fputs(("davit: warning: " + Sanitise(warning) + "\n").c_str(), stderr);
  }
  return made;
}

Status CheckOptions(const RunOptions& options) {
  static const std::set<std::string, std::less<>> kPolicies = {"missing", "always", "never", "newer"};
  if (!kPolicies.contains(options.pull)) {
    return InvalidArgument(fmt::format("--pull \"{}\": missing, always, newer or never", Printable(options.pull)));
  }
  if (!options.id_file.empty() && ::access(options.id_file.c_str(), F_OK) == 0) {
    return AlreadyExists("--cidfile " + Printable(options.id_file) + " is there already");
  }
  return {};
}

Status WriteIdFile(const std::string& path, const std::string& id) {
  if (path.empty()) return {};
  sys::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!file.valid()) return ErrnoError(errno, "--cidfile " + Printable(path));
  return sys::WriteAll(file.get(), id);
}

// SIGINT and SIGTERM stop the container, beside its streams; the second time at once.
class Stopper {
 public:
  Stopper(const Context& context, std::string id) : context_(context), id_(std::move(id)) {}
  ~Stopper() {
    for (std::thread& thread : threads_) thread.join();
  }
  void operator()(int signal) {
    if (signal == SIGWINCH || threads_.size() > 1) return;
    const bool first = threads_.empty();
    threads_.emplace_back([this, first] {
      // A container that has just ended needs neither.
      if (first) {
        control::StopStandaloneRequest stop;
        stop.set_container(id_);
        IgnoreError(context_.client.Call(stop).status());
      } else {
        control::KillContainerRequest kill;
        kill.set_container(id_);
        IgnoreError(context_.client.Call(kill).status());
      }
    });
  }

 private:
  const Context& context_;
  const std::string id_;
  std::vector<std::thread> threads_;
};

Result<StreamClient> AttachStreams(const Context& context, const AttachedRun& run, bool terminal) {
  cri::AttachRequest request;
  request.set_container_id(run.container);
  request.set_stdin(run.input);
  request.set_tty(terminal);
  request.set_stdout(true);
  request.set_stderr(!terminal);
  ASSIGN_OR_RETURN(cri::AttachResponse response, context.client.Call(request));
  return StreamClient::Connect(response.url());
}

// What shells say of a program that could not be started (126, 127), else the error itself.
Result<int> FailedStart(const Context& context, const AttachedRun& run, ExitWait& wait, const Status& why) {
  int code = 0;
  if (run.removed_at_end) {
    Result<std::optional<int>> told = wait.TakeWithin(std::chrono::seconds(5));
    if (told.ok() && *told) code = **told;
  } else if (Result<control::ListContainersAllResponse> found = FindContainer(context, run.container); found.ok()) {
    code = found->containers(0).exit_code();
  }
  if (code != 126 && code != 127) return why;
  PrintError(why);
  return code;
}

}  // namespace

Result<int> RunAttached(const Context& context, const AttachedRun& run) {
  ASSIGN_OR_RETURN(control::ListContainersAllResponse found, FindContainer(context, run.container));
  const bool terminal = found.containers(0).config().tty();
  ExitWait wait(context.client, run.container, run.removed_at_end ? control::WAIT_REMOVED : control::WAIT_NEXT_EXIT);
  RETURN_IF_ERROR(wait.Begun());
  control::PrepareContainerRequest prepare;
  prepare.set_container(run.container);
  if (Status status = context.client.Call(prepare).status(); !status.ok()) {
    return FailedStart(context, run, wait, status);
  }
  ASSIGN_OR_RETURN(StreamClient streams, AttachStreams(context, run, terminal));
  control::StartStandaloneRequest start;
  start.set_container(run.container);
  if (Status status = context.client.Call(start).status(); !status.ok()) {
    return FailedStart(context, run, wait, status);
  }
  Stopper stopper(context, run.container);
  StreamOptions stream = OwnStreams(run.input, terminal, context.signals);
  stream.on_signal = std::ref(stopper);
  ASSIGN_OR_RETURN(StreamResult result, streams.Run(stream));
  if (result.end == StreamEnd::kDetached) return 0;
  if (result.end == StreamEnd::kClosed) {
    // It may have closed its streams, or davitd went away.
    Result<std::optional<int>> code = wait.TakeWithin(std::chrono::seconds(10));
    if (code.ok() && *code) return **code;
    std::fputs("davit: the connection to the container ended before it did: waiting for its end\n", stderr);
  }
  return wait.Take();
}

Result<int> Create(const Context& context, const RunOptions& given) {
  RunOptions options = given;
  if (options.name.empty()) options.name = ChooseName();
  RETURN_IF_ERROR(CheckOptions(options));
  options.detach = true;  // a later start -i finds its standard input open
  ASSIGN_OR_RETURN(control::CreateContainerResponse made, Make(context, options));
  RETURN_IF_ERROR(WriteIdFile(options.id_file, made.container_id()));
  PrintLine(made.container_id());
  return 0;
}

Result<int> Run(const Context& context, const RunOptions& given) {
  RunOptions options = given;
  if (options.terminal && options.interactive && !options.detach && ::isatty(STDIN_FILENO) != 1) {
    return InvalidArgument("run: -t with -i needs a terminal on standard input");
  }
  RETURN_IF_ERROR(CheckOptions(options));
  if (options.name.empty()) options.name = ChooseName();
  Result<control::CreateContainerResponse> made = Make(context, options);
  if (made.code() == StatusCode::kUnimplemented) {
    options.name = given.name;
    return RunByCri(context, options);
  }
  RETURN_IF_ERROR(made.status());
  RETURN_IF_ERROR(WriteIdFile(options.id_file, made->container_id()));
  AttachedRun run;
  run.container = made->container_id();
  run.input = options.interactive;
  run.removed_at_end = options.remove;
  if (!options.detach) return RunAttached(context, run);
  control::StartStandaloneRequest start;
  start.set_container(made->container_id());
  if (Status status = context.client.Call(start).status(); !status.ok()) {
    ExitWait wait(context.client, run.container, control::WAIT_REMOVED);
    return FailedStart(context, run, wait, status);
  }
  PrintLine(made->container_id());
  return 0;
}

}  // namespace davit::cli
