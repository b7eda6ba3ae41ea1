// davit cp: files to and from containers. The archives are those of the server; what is of this machine is packed and
// unpacked by tar(1), which knows not to follow what an archive brings.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "base/strings.h"
#include "cli/copy_plan.h"
#include "cli/everyday.h"
#include "davit/control/v1/files.pb.h"
#include "sys/process.h"

namespace davit::cli {
namespace {

namespace control = ::davit::control::v1;

constexpr size_t kChunk = 256 * 1024;

PathKind KindHere(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return PathKind::kAbsent;
  return S_ISDIR(info.st_mode) ? PathKind::kDirectory : PathKind::kFile;
}

Result<PathKind> KindThere(const Context& context, const CopyEnd& end) {
  control::StatPathRequest request;
  request.set_container(end.container);
  request.set_path(end.path);
  Result<control::StatPathResponse> found = context.client.Call(request);
  if (found.ok() && !found->link_target().empty() && S_ISLNK(found->mode())) {
    request.set_path(found->link_target());
    found = context.client.Call(request);
  }
  if (found.code() == StatusCode::kNotFound) {
    // Of the container or of the path? The root is in every container.
    request.set_path("/");
    RETURN_IF_ERROR(context.client.Call(request).status());
    return PathKind::kAbsent;
  }
  RETURN_IF_ERROR(found.status());
  return S_ISDIR(found->mode()) ? PathKind::kDirectory : PathKind::kFile;
}

// For tar's --transform: the text as it is, in a replacement with , around it.
std::string Escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '&' || c == ',') out += '\\';
    out += c;
  }
  return out;
}

// tar as a child; `ours` is the end of its pipe that is left to us.
struct Tar {
  sys::PidFd process;
  sys::UniqueFd ours;
};

Result<Tar> StartTar(std::vector<std::string> arguments, bool reads) {
  ASSIGN_OR_RETURN(sys::Pipe pipe, sys::MakePipe());
  sys::SpawnOptions spawn;
  spawn.argv = {"tar"};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  spawn.env = sys::MinimalEnvironment();
  spawn.env.emplace_back("LC_ALL=C");
  spawn.fds = {{reads ? pipe.read.get() : pipe.write.get(), reads ? 0 : 1}, {STDERR_FILENO, 2}};
  Tar tar;
  ASSIGN_OR_RETURN_WITH(tar.process, sys::Spawn(spawn), "cp");
  tar.ours = std::move(reads ? pipe.write : pipe.read);
  return tar;
}

Status Ended(const Tar& tar) {
  ASSIGN_OR_RETURN(sys::ExitStatus status, tar.process.Reap(Deadline::After(std::chrono::hours(24))));
  if (status.code != 0) return FailedPrecondition(fmt::format("cp: tar ended with {}", status.code));
  return {};
}

// ---- Out of a container ----

Status ReadInto(const Context& context, const CopyEnd& from, int fd) {
  control::ReadArchiveRequest request;
  request.set_container(from.container);
  request.set_path(from.path == "/" ? "" : from.path);
  return context.client.ReadArchive(
      request, [fd](const control::ArchiveChunk& chunk) { return sys::WriteAll(fd, chunk.data()); });
}

Status CopyOut(const Context& context, const CopyOptions& options, CopyEnd from, const std::string& to) {
  ASSIGN_OR_RETURN(PathKind what, KindThere(context, from));
  ASSIGN_OR_RETURN(CopyPlan plan, PlanCopy(from.path, what, to, KindHere(to)));
  if (KindHere(ParentOf(plan.directory)) != PathKind::kDirectory) {
    return NotFound(fmt::format("cp: there is no directory {}", Printable(ParentOf(plan.directory))));
  }
  if (plan.make_directory && ::mkdir(plan.directory.c_str(), 0755) != 0) {
    return ErrnoError(errno, "cp: make " + Printable(plan.directory));
  }
  if (from.path.ends_with("/.")) from.path.resize(from.path.size() - 2);
  if (from.path.empty()) from.path = "/";
  std::vector<std::string> arguments = {"-x", "-f", "-", "-C", plan.directory};
  if (!options.archive) arguments.emplace_back("--no-same-owner");
  const bool whole = from.path == "/";
  if (plan.name.empty() && !whole) arguments.emplace_back("--strip-components=1");
  // The entries begin with the name that it has there; links keep what they say.
  if (!plan.name.empty()) {
    arguments.push_back("--transform=flags=rh;s,^[^/]*," + Escaped(plan.name) + ",");
  }
  ASSIGN_OR_RETURN(Tar tar, StartTar(arguments, true));
  Status read = ReadInto(context, from, tar.ours.get());
  tar.ours.reset();
  Status ended = Ended(tar);
  // tar says on standard error what it could not do; the pipe that it closed says nothing more.
  return !ended.ok() ? ended : read;
}

// ---- Into a container ----

Status WriteFrom(const Context& context, const CopyOptions& options, const std::string& container,
                 const std::string& directory, int fd) {
  bool first = true;
  return context.client.WriteArchive([&](control::WriteArchiveRequest& message) -> Result<bool> {
    message.Clear();
    if (first) {
      first = false;
      message.set_container(container);
      message.set_path(directory);
      message.set_no_overwrite_dir_non_dir(true);
      message.set_copy_ids(options.archive);
      return true;
    }
    std::string bytes(kChunk, '\0');
    ssize_t n = -1;
    do {
      n = ::read(fd, bytes.data(), bytes.size());
    } while (n < 0 && errno == EINTR);
    if (n < 0) return ErrnoError(errno, "cp: read");
    bytes.resize(static_cast<size_t>(n));
    message.set_data(std::move(bytes));
    return n > 0;
  });
}

Status CopyIn(const Context& context, const CopyOptions& options, const std::string& from, const CopyEnd& to) {
  ASSIGN_OR_RETURN(PathKind there, KindThere(context, to));
  ASSIGN_OR_RETURN(CopyPlan plan, PlanCopy(from, KindHere(from), to.path, there));
  // A directory that is not there is made by the archive, in the one above it.
  if (plan.make_directory) {
    plan.name = BaseName(plan.directory);
    plan.directory = ParentOf(plan.directory);
  }
  std::vector<std::string> arguments = {"-c", "-f", "-", "--format=pax"};
  if (KindHere(from) == PathKind::kDirectory) {
    arguments.insert(arguments.end(), {"-C", from});
    if (!plan.name.empty()) arguments.push_back("--transform=flags=rh;s,^\\.," + Escaped(plan.name) + ",");
    arguments.emplace_back(".");
  } else {
    arguments.insert(arguments.end(), {"-C", ParentOf(from), "--dereference"});
    arguments.push_back("--transform=flags=rh;s,^.*$," + Escaped(plan.name) + ",");
    arguments.insert(arguments.end(), {"--", BaseName(from)});
  }
  ASSIGN_OR_RETURN(Tar tar, StartTar(arguments, false));
  Status written = WriteFrom(context, options, to.container, plan.directory, tar.ours.get());
  tar.ours.reset();
  Status ended = Ended(tar);
  return !written.ok() ? written : ended;
}

}  // namespace

Result<int> Copy(const Context& context, const CopyOptions& options) {
  const CopyEnd from = ParseCopyEnd(options.from);
  const CopyEnd to = ParseCopyEnd(options.to);
  if (from.container.empty() == to.container.empty()) {
    return InvalidArgument("cp: one of the two is CONTAINER:PATH, the other a path of this machine or -");
  }
  if (from.path.empty() || to.path.empty()) return InvalidArgument("cp: the path is empty");
  std::signal(SIGPIPE, SIG_IGN);  // of tar, which may end first
  Status done;
  if (to.stream()) {
    if (::isatty(STDOUT_FILENO) != 0) return InvalidArgument("cp: standard output is a terminal: pipe the archive on");
    done = ReadInto(context, from, STDOUT_FILENO);
  } else if (from.stream()) {
    done = WriteFrom(context, options, to.container, to.path, STDIN_FILENO);
  } else if (to.container.empty()) {
    done = CopyOut(context, options, from, to.path);
  } else {
    done = CopyIn(context, options, from.path, to);
  }
  RETURN_IF_ERROR(done);
  return 0;
}

Result<int> Export(const Context& context, const std::string& container, const std::string& output) {
  if (output == "-" && ::isatty(STDOUT_FILENO) != 0) {
    return InvalidArgument("export: standard output is a terminal: name a file (-o FILE), or pipe it on");
  }
  CopyEnd root{container, "/"};
  if (output == "-") {
    RETURN_IF_ERROR(ReadInto(context, root, STDOUT_FILENO));
    return 0;
  }
  // Beside its place, so that it is there whole or not at all.
  const std::string part = output + ".part";
  sys::UniqueFd file(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoError(errno, "export: make " + Printable(part));
  Status read = ReadInto(context, root, file.get());
  if (read.ok() && ::rename(part.c_str(), output.c_str()) != 0) read = ErrnoError(errno, "export: rename");
  if (!read.ok()) ::unlink(part.c_str());
  RETURN_IF_ERROR(read);
  return 0;
}

Result<int> Diff(const Context& context, const std::string& container) {
  control::ListChangesRequest request;
  request.set_container(container);
  ASSIGN_OR_RETURN(control::ListChangesResponse response, context.client.Call(request));
  if (context.out.json) {
    RETURN_IF_ERROR(PrintJson(response));
    return 0;
  }
  for (const auto& change : response.changes()) {
    PrintLine(fmt::format("{} {}",
                          change.kind() == 0   ? 'C'
                          : change.kind() == 1 ? 'A'
                                               : 'D',
                          Printable(change.path(), 4096)));
  }
  if (response.truncated()) std::fputs("davit: there are more changes than these\n", stderr);
  return 0;
}

Result<int> Commit(const Context& context, const CommitOptions& options) {
  control::CommitRequest request;
  request.set_container(options.container);
  request.set_reference(options.reference);
  for (const std::string& change : options.changes) request.add_changes(change);
  request.set_author(options.author);
  request.set_message(options.message);
  request.set_no_pause(!options.pause);
  ASSIGN_OR_RETURN(control::CommitResponse response, context.client.Call(request));
  PrintLine(response.image_id());
  return 0;
}

}  // namespace davit::cli
