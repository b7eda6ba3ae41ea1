#include "cli/archive_output.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::cli {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kMaxPath = 100;

// A server is not believed: no path of it leads out of the archive.
Status CheckPath(const std::string& path) {
  bool plain = !path.empty() && path.size() <= kMaxPath && path.find('\0') == std::string::npos;
  for (const std::string& part : Split(path, '/')) plain = plain && !part.empty() && part != "." && part != "..";
  return plain ? Status() : InvalidArgument(fmt::format("the server named a file \"{}\"", Printable(path)));
}

// How much of a file is still to come.
class Remaining {
 public:
  Status Begin(const std::string& path, uint64_t size) {
    RETURN_IF_ERROR(Finish());
    RETURN_IF_ERROR(CheckPath(path));
    path_ = path;
    left_ = size;
    return {};
  }
  Status Take(size_t bytes) {
    if (bytes > left_) return DataLoss(fmt::format("\"{}\" is longer than the server said", Printable(path_)));
    left_ -= bytes;
    return {};
  }
  [[nodiscard]] Status Finish() const {
    return left_ == 0 ? Status() : DataLoss(fmt::format("\"{}\" is shorter than the server said", Printable(path_)));
  }

 private:
  std::string path_;
  uint64_t left_ = 0;
};

class TarOutput final : public ArchiveOutput {
 public:
  TarOutput(sys::UniqueFd file, int fd, std::string temporary, std::string path)
      : file_(std::move(file)), fd_(fd), temporary_(std::move(temporary)), path_(std::move(path)) {}
  ~TarOutput() override {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  Status Begin(const std::string& path, uint64_t size) override {
    RETURN_IF_ERROR(remaining_.Begin(path, size));
    RETURN_IF_ERROR(Pad());
    written_ = size;
    return Put(TarHeader(path, size));
  }
  Status Write(std::string_view bytes) override {
    RETURN_IF_ERROR(remaining_.Take(bytes.size()));
    return Put(bytes);
  }
  Status Finish() override {
    RETURN_IF_ERROR(remaining_.Finish());
    RETURN_IF_ERROR(Pad());
    RETURN_IF_ERROR(Put(std::string(2 * kBlock, '\0')));
    if (temporary_.empty()) return {};
    if (::fsync(fd_) != 0) return ErrnoError(errno, "write " + path_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return ErrnoError(errno, "write " + path_);
    temporary_.clear();
    return {};
  }

 private:
  Status Put(std::string_view bytes) { return sys::WriteAll(fd_, bytes).Annotate("write " + path_); }
  Status Pad() { return Put(std::string((kBlock - written_ % kBlock) % kBlock, '\0')); }

  sys::UniqueFd file_;
  int fd_;
  std::string temporary_;  // empty: nothing to rename
  const std::string path_;
  Remaining remaining_;
  uint64_t written_ = 0;  // of the file, once it is whole
};

class DirectoryOutput final : public ArchiveOutput {
 public:
  DirectoryOutput(std::string path, bool made) : path_(std::move(path)), made_(made) {}
  ~DirectoryOutput() override {
    if (finished_) return;
    file_.reset();
    std::reverse(names_.begin(), names_.end());
    for (const std::string& name : names_) ::remove((path_ + "/" + name).c_str());
    if (made_) ::rmdir(path_.c_str());
  }
  Status Begin(const std::string& path, uint64_t size) override {
    RETURN_IF_ERROR(remaining_.Begin(path, size));
    RETURN_IF_ERROR(Close());
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      const std::string directory = path.substr(0, slash);
      if (::mkdir((path_ + "/" + directory).c_str(), 0755) == 0) {
        names_.push_back(directory);
      } else if (errno != EEXIST) {
        return ErrnoError(errno, fmt::format("make {}/{}", path_, directory));
      }
    }
    ASSIGN_OR_RETURN(file_, sys::Open(path_ + "/" + path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644));
    names_.push_back(path);
    return {};
  }
  Status Write(std::string_view bytes) override {
    RETURN_IF_ERROR(remaining_.Take(bytes.size()));
    return sys::WriteAll(file_.get(), bytes).Annotate("write " + path_ + "/" + names_.back());
  }
  Status Finish() override {
    RETURN_IF_ERROR(remaining_.Finish());
    RETURN_IF_ERROR(Close());
    finished_ = true;
    return {};
  }

 private:
  Status Close() {
    if (!file_.valid()) return {};
    if (::fsync(file_.get()) != 0) return ErrnoError(errno, "write " + path_ + "/" + names_.back());
    file_.reset();
    return {};
  }

  const std::string path_;
  const bool made_;
  bool finished_ = false;
  Remaining remaining_;
  sys::UniqueFd file_;
  std::vector<std::string> names_;  // that were made, in order
};

}  // namespace

std::string TarHeader(const std::string& path, uint64_t size) {
  std::string block(kBlock, '\0');
  auto put = [&](size_t at, std::string_view text) {
    std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, path.substr(0, kMaxPath));
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  if (size < uint64_t{1} << 33) {
    put(124, fmt::format("{:011o}", size));
  } else {
    block[124] = static_cast<char>(0x80);
    for (size_t i = 0; i < 8; ++i) block[135 - i] = static_cast<char>(size >> (8 * i));
  }
  put(136, "00000000000");  // a time would make each save another
  put(148, "        ");
  block[156] = '0';
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  unsigned sum = 0;
  for (char c : block) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return block;
}

Result<std::unique_ptr<ArchiveOutput>> MakeTarOutput(const std::string& path) {
  if (path == "-") {
    return std::unique_ptr<ArchiveOutput>(new TarOutput(sys::UniqueFd(), STDOUT_FILENO, "", "standard output"));
  }
  struct stat info {};
  const bool there = ::stat(path.c_str(), &info) == 0;
  if (there && S_ISDIR(info.st_mode)) {
    return InvalidArgument(fmt::format("{} is a directory: name a file, or --format oci-dir", path));
  }
  if (there && !S_ISREG(info.st_mode)) {  // a pipe, /dev/stdout: nothing to put in its place
    ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_WRONLY));
    const int raw = fd.get();
    return std::unique_ptr<ArchiveOutput>(new TarOutput(std::move(fd), raw, "", path));
  }
  std::string temporary = path + ".XXXXXX";
  sys::UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(errno, "create " + path);
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(fd.get(), 0644 & ~mask);
  const int raw = fd.get();
  return std::unique_ptr<ArchiveOutput>(new TarOutput(std::move(fd), raw, std::move(temporary), path));
}

Result<std::unique_ptr<ArchiveOutput>> MakeDirectoryOutput(const std::string& path) {
  const bool made = ::mkdir(path.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) return ErrnoError(errno, "make " + path);
  std::unique_ptr<DIR, int (*)(DIR*)> list(::opendir(path.c_str()), ::closedir);
  if (!list) return ErrnoError(errno, "open " + path);
  while (const dirent* entry = ::readdir(list.get())) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      return FailedPrecondition(fmt::format("{} is not empty: name a new directory", path));
  }
  return std::unique_ptr<ArchiveOutput>(new DirectoryOutput(path, made));
}

}  // namespace davit::cli
