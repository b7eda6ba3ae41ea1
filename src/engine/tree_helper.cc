#include "engine/tree_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>

#include "sys/unix_socket.h"

namespace davit::engine {
namespace {

constexpr size_t kPiece = 256 << 10;

// False: the deadline.
Result<bool> Ready(int fd, short events, Deadline deadline) {
  for (;;) {
    pollfd poll_fd{fd, events, 0};
    const int n = ::poll(&poll_fd, 1, deadline.PollTimeoutMs());
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if (n == 0 && deadline.expired()) return false;
  }
}

Status Stalled() { return DeadlineExceeded("the container's files do not answer"); }

// The job, as a file without a name: a pipe would want a reader.
Result<sys::UniqueFd> JobFile(const image::TreeJob& job) {
  const std::string text = EncodeTreeJob(job);
  if (text.size() > image::kMaxTreeJobBytes) return ResourceExhausted("the container has too many mounts");
  sys::UniqueFd fd(::memfd_create("davit-tree-job", MFD_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "memfd_create");
  RETURN_IF_ERROR(sys::WriteAll(fd.get(), text));
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoError(errno, "seek");
  return fd;
}

}  // namespace

Result<std::unique_ptr<TreeHelper>> TreeHelper::Start(const std::string& program, const image::TreeJob& job, int root) {
  std::unique_ptr<TreeHelper> helper(new TreeHelper());
  ASSIGN_OR_RETURN(auto input, sys::MakeSocketPair(SOCK_STREAM));
  ASSIGN_OR_RETURN(sys::Pipe output, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::Pipe reports, sys::MakePipe());
  ASSIGN_OR_RETURN(sys::UniqueFd job_file, JobFile(job));
  sys::SpawnOptions options;
  options.argv = {program, "--tree"};
  options.env = sys::MinimalEnvironment();
  options.cwd = "/";
  options.fds = {{input.second.get(), 0},
                 {output.write.get(), 1},
                 {root, image::kTreeRootFd},
                 {job_file.get(), image::kTreeJobFd},
                 {reports.write.get(), image::kTreeReportFd}};
  if (root < 0) options.fds.erase(options.fds.begin() + 2);
  options.new_session = true;
  ASSIGN_OR_RETURN(helper->process_, sys::Spawn(options));
  helper->input_ = std::move(input.first);
  helper->output_ = std::move(output.read);
  helper->reports_ = std::move(reports.read);
  for (const sys::UniqueFd* fd : {&helper->input_, &helper->output_, &helper->reports_}) {
    RETURN_IF_ERROR(sys::SetNonBlocking(fd->get(), true));
  }
  return helper;
}

TreeHelper::~TreeHelper() {
  if (!process_.valid()) return;
  IgnoreError(process_.Signal(SIGKILL));
  IgnoreError(process_.Reap(Deadline::After(std::chrono::seconds(10))).status());
}

Result<image::TreeReport> TreeHelper::Report(Deadline deadline) {
  for (;;) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return image::DecodeTreeReport(line);
    }
    if (buffer_.size() > image::kMaxTreeReportBytes) return Internal("davit-pull --tree talks too much");
    ASSIGN_OR_RETURN(bool ready, Ready(reports_.get(), POLLIN, deadline));
    if (!ready) return Stalled();
    char piece[4096];
    const ssize_t n = ::read(reports_.get(), piece, sizeof piece);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return ErrnoError(errno, "read from davit-pull");
    if (n == 0) return Internal("davit-pull --tree ended without a word");
    buffer_.append(piece, static_cast<size_t>(n));
  }
}

Result<image::TreeStat> TreeHelper::Stat(Deadline deadline) {
  ASSIGN_OR_RETURN(image::TreeReport report, Report(deadline));
  if (report.stat) return std::move(*report.stat);
  if (report.code <= 0 || report.code > 16) return Internal("davit-pull --tree reported nothing");
  return Status(static_cast<StatusCode>(report.code), report.message);
}

Result<std::string> TreeHelper::Read(Deadline deadline) {
  for (;;) {
    ASSIGN_OR_RETURN(bool ready, Ready(output_.get(), POLLIN, deadline));
    if (!ready) return Stalled();
    piece_.resize(kPiece);
    const ssize_t n = ::read(output_.get(), piece_.data(), piece_.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return ErrnoError(errno, "read from davit-pull");
    piece_.resize(static_cast<size_t>(n));
    return std::move(piece_);
  }
}

Result<bool> TreeHelper::Write(std::string_view bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(input_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno == EPIPE || errno == ECONNRESET) return false;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return ErrnoError(errno, "write to davit-pull");
    ASSIGN_OR_RETURN(bool ready, Ready(input_.get(), POLLOUT, deadline));
    if (!ready) return Stalled();
  }
  return true;
}

Status TreeHelper::Finish(Deadline deadline) {
  for (;;) {
    ASSIGN_OR_RETURN(image::TreeReport report, Report(deadline));
    if (!report.done) continue;
    if (report.code == 0) return {};
    if (report.code < 0 || report.code > 16) return Internal("davit-pull --tree: " + report.message);
    return Status(static_cast<StatusCode>(report.code), report.message);
  }
}

}  // namespace davit::engine
