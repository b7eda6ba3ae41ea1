#include "store/layer_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>

#include "base/fault.h"
#include "base/strings.h"
#include "store/directory.h"
#include "store/tree_usage.h"
#include "sys/rooted.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

constexpr std::string_view kHeader = "davit-checksums 1\n";
constexpr size_t kSumDigits = 16;
constexpr size_t kPiece = 1 << 20;
constexpr size_t kMaxLine = 64 << 10;   // a path of 4 KiB, each byte escaped, fits
constexpr size_t kMaxLinked = 100'000;  // 15 MB
constexpr size_t kWalkStep = 10'000;

std::string ListOf(const Layer& layer) { return layer.path + "/../checksums"; }

class Hash {
 public:
  Hash() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void Add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  // Numbers and texts one after the other without two sequences that look alike.
  void AddNumber(uint64_t number) { Add({reinterpret_cast<const char*>(&number), sizeof number}); }
  void AddText(std::string_view text) {
    AddNumber(text.size());
    Add(text);
  }
  std::string Hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), sum.data(), &size);
    std::string hex;
    for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", sum[i]);
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

// Names are bytes: what would end a line, and the escape itself, are written as %XX.
std::string Escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '%' || c == '\n') {
      out += fmt::format("%{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::optional<std::string> Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (text.substr(i, 3) != "%25" && text.substr(i, 3) != "%0a") return std::nullopt;
    out += text[i + 1] == '2' ? '%' : '\n';
    i += 2;
  }
  return out;
}

std::string Below(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

// A look into one layer.
class Tree {
 public:
  static Result<Tree> Open(const Layer& layer, const CheckProgress& progress) {
    Result<sys::UniqueFd> root = sys::Open(layer.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!root.ok()) return root.status();
    return Tree(std::move(*root), progress);
  }

  struct OpenDirectory {
    sys::UniqueFd fd;
    std::vector<std::string> names;  // sorted
  };
  Result<OpenDirectory> List(const std::string& path) {
    OpenDirectory out;
    ASSIGN_OR_RETURN(out.fd,
                     sys::OpenInRoot(root_.get(), path.empty() ? "." : path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    ASSIGN_OR_RETURN(Directory directory, Directory::OpenBelow(out.fd.get(), "."));
    while (true) {
      ASSIGN_OR_RETURN(std::optional<std::string> name, directory.Next());
      if (!name) break;
      out.names.push_back(std::move(*name));
    }
    std::sort(out.names.begin(), out.names.end());
    return out;
  }

  struct Sum {
    std::string text;
    bool directory = false;
  };
  // Of one entry: type, owner, mode, size, times, links, attributes and content; of a directory without what is in it.
  // kCancelled; other errors are of the entry.
  Result<Sum> Of(int directory, const std::string& name) {
    struct stat info {};
    if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, "stat");
    Hash hash;
    for (uint64_t number :
         {uint64_t{info.st_mode}, uint64_t{info.st_uid}, uint64_t{info.st_gid}, uint64_t{info.st_rdev},
          static_cast<uint64_t>(info.st_mtim.tv_sec), static_cast<uint64_t>(info.st_mtim.tv_nsec)}) {
      hash.AddNumber(number);
    }
    // Directories of different filesystems count links, and bytes, in their own ways.
    if (!S_ISDIR(info.st_mode)) {
      hash.AddNumber(info.st_nlink);
      hash.AddNumber(static_cast<uint64_t>(info.st_size));
    }
    RETURN_IF_ERROR(AddAttributes(fmt::format("/proc/self/fd/{}/{}", directory, name), hash));
    if (S_ISLNK(info.st_mode)) RETURN_IF_ERROR(AddTarget(directory, name, hash));
    if (S_ISREG(info.st_mode)) {
      ASSIGN_OR_RETURN(const std::string content, ContentOf(directory, name, info));
      hash.AddText(content);
    }
    ++entries_;
    if (!progress_(0)) return Cancelled("cancelled");
    return Sum{hash.Hex().substr(0, kSumDigits), S_ISDIR(info.st_mode)};
  }
  Result<Sum> OfRoot() { return Of(root_.get(), "."); }

  [[nodiscard]] uint64_t entries() const { return entries_; }
  [[nodiscard]] uint64_t bytes() const { return bytes_; }

 private:
  Tree(sys::UniqueFd root, const CheckProgress& progress)
      : root_(std::move(root)), progress_(progress), buffer_(kPiece, '\0') {}

  static Status AddAttributes(const std::string& path, Hash& hash) {
    std::string names(64 << 10, '\0');
    const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
    if (size < 0) return errno == ENOTSUP ? Status() : ErrnoError(errno, "list attributes");
    names.resize(static_cast<size_t>(size));
    std::vector<std::string> sorted;
    for (size_t at = 0; at < names.size(); at += sorted.back().size() + 1) sorted.emplace_back(names.c_str() + at);
    std::sort(sorted.begin(), sorted.end());
    std::string value(64 << 10, '\0');
    for (const std::string& name : sorted) {
      if (name == "security.selinux") continue;  // the node's, not the layer's
      const ssize_t length = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
      if (length < 0) return ErrnoError(errno, "read attribute " + Printable(name));
      hash.AddText(name);
      hash.AddText(std::string_view(value).substr(0, static_cast<size_t>(length)));
    }
    return {};
  }

  static Status AddTarget(int directory, const std::string& name, Hash& hash) {
    std::string target(8192, '\0');
    const ssize_t size = ::readlinkat(directory, name.c_str(), target.data(), target.size());
    if (size < 0) return ErrnoError(errno, "read the link");
    hash.AddText(std::string_view(target).substr(0, static_cast<size_t>(size)));
    return {};
  }

  // A file with hundreds of names, as a busybox is, is read once.
  Result<std::string> ContentOf(int directory, const std::string& name, const struct stat& info) {
    if (info.st_nlink < 2) return Content(directory, name);
    const auto known = contents_.find(info.st_ino);
    if (known != contents_.end()) return known->second;
    ASSIGN_OR_RETURN(std::string content, Content(directory, name));
    if (contents_.size() < kMaxLinked) contents_[info.st_ino] = content;
    return content;
  }

  Result<std::string> Content(int directory, const std::string& name) {
    constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    sys::UniqueFd file(::openat(directory, name.c_str(), kFlags | O_NOATIME));
    if (!file.valid() && errno == EPERM) file.reset(::openat(directory, name.c_str(), kFlags));
    if (!file.valid()) return ErrnoError(errno, "open");
    Hash hash;
    while (true) {
      const ssize_t n = ::read(file.get(), buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == EIO || errno == EUCLEAN || errno == EBADMSG)) {
        return DataLoss(ErrnoError(errno, "read").message());
      }
      if (n < 0) return ErrnoError(errno, "read");
      if (n == 0) return hash.Hex();
      hash.Add(std::string_view(buffer_).substr(0, static_cast<size_t>(n)));
      bytes_ += static_cast<uint64_t>(n);
      if (!progress_(static_cast<uint64_t>(n))) return Cancelled("cancelled");
    }
  }

  sys::UniqueFd root_;
  const CheckProgress& progress_;
  std::string buffer_;
  std::map<ino_t, std::string> contents_;  // of files with several names; a layer is in one filesystem
  uint64_t entries_ = 0;
  uint64_t bytes_ = 0;
};

// The list, line by line, once its own sum is known to be right.
class ListReader {
 public:
  // kNotFound when there is none, kDataLoss when it is damaged.
  static Result<ListReader> Open(const Layer& layer, const CheckProgress& progress) {
    Result<sys::UniqueFd> file = sys::Open(ListOf(layer), O_RDONLY | O_NOFOLLOW);
    if (!file.ok()) return file.status();
    ListReader reader(std::move(*file));
    RETURN_IF_ERROR(reader.CheckSum(progress));
    return reader;
  }
  // Without its line feed; nullopt at the end.
  Result<std::optional<std::string>> Next() {
    while (true) {
      if (size_t end = buffer_.find('\n', at_); end != std::string::npos) {
        std::string line = buffer_.substr(at_, end - at_);
        at_ = end + 1;
        if (line.starts_with("end ")) return std::optional<std::string>();
        return std::optional<std::string>(std::move(line));
      }
      buffer_.erase(0, at_);
      at_ = 0;
      ASSIGN_OR_RETURN(bool more, Fill());
      if (!more) return DataLoss("the list ends early");
    }
  }

 private:
  explicit ListReader(sys::UniqueFd file) : file_(std::move(file)) {}

  Result<bool> Fill() {
    if (buffer_.size() > kMaxLine + kPiece) return DataLoss("the list has a line without an end");
    const size_t before = buffer_.size();
    buffer_.resize(before + kPiece);
    ssize_t n = 0;
    do {
      n = ::pread(file_.get(), buffer_.data() + before, kPiece, offset_);
    } while (n < 0 && errno == EINTR);
    buffer_.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0) return DataLoss("the list cannot be read: " + ErrnoError(errno, "read").message());
    offset_ += n;
    return n > 0;
  }

  Status CheckSum(const CheckProgress& progress) {
    Hash hash;
    std::string last;
    bool header = false;
    while (true) {
      ASSIGN_OR_RETURN(bool more, Fill());
      if (!progress(0)) return Cancelled("cancelled");
      size_t end = 0;
      while (last.empty() && (end = buffer_.find('\n', at_)) != std::string::npos) {
        const std::string_view line = std::string_view(buffer_).substr(at_, end + 1 - at_);
        if (!header && line != kHeader) return DataLoss("the list has another format");
        header = true;
        if (line.starts_with("end ")) {
          last = line.substr(4, line.size() - 5);
        } else {
          hash.Add(line);
        }
        at_ = end + 1;
      }
      buffer_.erase(0, at_);
      at_ = 0;
      if (!last.empty() && !buffer_.empty()) return DataLoss("the list goes on behind its end");
      if (!more) break;
    }
    if (last.empty() || last != hash.Hex()) return DataLoss("the list is damaged");
    offset_ = 0;
    buffer_.clear();
    return Next().status();  // the header
  }

  sys::UniqueFd file_;
  off_t offset_ = 0;
  std::string buffer_;
  size_t at_ = 0;
};

// Compares one directory with its part of the list.
class Comparison {
 public:
  Comparison(Tree& tree, LayerFindings& findings) : tree_(tree), findings_(findings) {}

  Status Begin(const std::string& path) {
    RETURN_IF_ERROR(End());
    path_ = path;
    Result<Tree::OpenDirectory> open = tree_.List(path);
    directory_.reset();
    next_ = 0;
    if (open.ok()) {
      directory_ = std::move(*open);
    } else if (missing_.empty() || !(path == missing_ || path.starts_with(missing_ + "/"))) {
      // That it is missing, or no directory any more, its parent's part has said.
      if (open.code() != StatusCode::kNotFound && open.code() != StatusCode::kFailedPrecondition) {
        findings_.Add(path, "it cannot be read: " + open.status().message());
      }
    }
    return {};
  }

  Status Entry(const std::string& sum, const std::string& name) {
    if (!directory_) return {};
    while (next_ < directory_->names.size() && directory_->names[next_] < name) Extra();
    if (next_ == directory_->names.size() || directory_->names[next_] != name) {
      findings_.Add(Below(path_, name), "it is missing");
      missing_ = Below(path_, name);
      return {};
    }
    ++next_;
    return Compare(sum, tree_.Of(directory_->fd.get(), name), Below(path_, name));
  }

  Status Compare(const std::string& sum, const Result<Tree::Sum>& now, const std::string& path) {
    if (now.code() == StatusCode::kCancelled) return now.status();
    if (!now.ok()) {
      findings_.Add(path, "it cannot be read: " + now.status().message());
    } else if (now->text != sum) {
      findings_.Add(path, now->directory ? "its metadata differ" : "its content or metadata differ");
    }
    return {};
  }

  Status End() {
    while (directory_ && next_ < directory_->names.size()) Extra();
    return {};
  }

 private:
  void Extra() { findings_.Add(Below(path_, directory_->names[next_++]), "it is not of the layer"); }

  Tree& tree_;
  LayerFindings& findings_;
  std::string path_;
  std::string missing_;  // the last one
  std::optional<Tree::OpenDirectory> directory_;
  size_t next_ = 0;
};

Status CompareWithList(ListReader& list, Tree& tree, LayerFindings& findings) {
  Comparison comparison(tree, findings);
  while (true) {
    ASSIGN_OR_RETURN(std::optional<std::string> line, list.Next());
    if (!line) return comparison.End();
    std::optional<std::string> name = Unescape(std::string_view(*line).substr(std::min<size_t>(line->size(), 17)));
    if (!name) return DataLoss("the list has a malformed line");
    if (line->starts_with("directory        ")) {
      RETURN_IF_ERROR(comparison.Begin(*name));
    } else if (line->starts_with("root ")) {
      RETURN_IF_ERROR(comparison.Compare(line->substr(5), tree.OfRoot(), "/"));
    } else {
      RETURN_IF_ERROR(comparison.Entry(line->substr(0, kSumDigits), *name));
    }
  }
}

// A list in the making: a file without a name until it is whole.
class ListWriter {
 public:
  static Result<ListWriter> Begin(const Layer& layer) {
    ListWriter writer;
    writer.path_ = ListOf(layer);
    ASSIGN_OR_RETURN(writer.file_, sys::Open(layer.path + "/..", O_TMPFILE | O_RDWR, 0600));
    RETURN_IF_ERROR(writer.Line(kHeader.substr(0, kHeader.size() - 1)));
    return writer;
  }
  Status Line(std::string_view line) {
    buffer_.append(line);
    buffer_ += '\n';
    return buffer_.size() < kPiece ? Status() : Flush();
  }
  Status Finish() {
    RETURN_IF_ERROR(Flush());
    RETURN_IF_ERROR(sys::WriteAll(file_.get(), "end " + hash_.Hex() + "\n"));
    if (::fsync(file_.get()) != 0) return ErrnoError(errno, "sync " + path_);
    FaultPoint("store.layer.checksums.written");
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, "remove " + path_);
    const std::string source = fmt::format("/proc/self/fd/{}", file_.get());
    if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, path_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      return ErrnoError(errno, "make " + path_);
    }
    return {};
  }

 private:
  ListWriter() = default;
  Status Flush() {
    hash_.Add(buffer_);
    Status written = sys::WriteAll(file_.get(), buffer_);
    buffer_.clear();
    return written;
  }
  std::string path_;
  sys::UniqueFd file_;
  std::string buffer_;
  Hash hash_;
};

Status AddSums(Tree& tree, ListWriter& list) {
  ASSIGN_OR_RETURN(Tree::Sum root, tree.OfRoot());
  RETURN_IF_ERROR(list.Line("root " + root.text));
  std::vector<std::string> left = {""};
  while (!left.empty()) {
    const std::string path = std::move(left.back());
    left.pop_back();
    ASSIGN_OR_RETURN(Tree::OpenDirectory directory, tree.List(path));
    RETURN_IF_ERROR(list.Line("directory        " + Escape(path)));
    const size_t first = left.size();
    for (const std::string& name : directory.names) {
      ASSIGN_OR_RETURN_WITH(Tree::Sum sum, tree.Of(directory.fd.get(), name), Printable(Below(path, name)));
      RETURN_IF_ERROR(list.Line(sum.text + " " + Escape(name)));
      if (sum.directory) left.push_back(Below(path, name));
    }
    std::reverse(left.begin() + static_cast<std::ptrdiff_t>(first), left.end());
  }
  return {};
}

}  // namespace

void LayerFindings::Add(std::string path, std::string what) {
  ++damages;
  if (damaged.size() < kMaxNamed) damaged.push_back({std::move(path), std::move(what)});
}

Result<LayerFindings> ChecksumVerifier::Verify(const Layer& layer, const CheckProgress& progress) {
  LayerFindings findings;
  findings.method = "checksums";
  Result<ListReader> list = ListReader::Open(layer, progress);
  if (list.code() == StatusCode::kDataLoss) {
    // It cannot be told any more whether the rest is right.
    findings.Add("", "its list of checksums: " + list.status().message());
    return findings;
  }
  if (!list.ok()) return list.status();
  Result<Tree> tree = Tree::Open(layer, progress);
  if (!tree.ok()) {
    findings.Add("", tree.status().message());
    return findings;
  }
  Status compared = CompareWithList(*list, *tree, findings);
  if (compared.code() == StatusCode::kCancelled) return compared;
  if (!compared.ok()) findings.Add("", compared.message());
  findings.entries = tree->entries();
  findings.bytes = tree->bytes();
  return findings;
}

Result<LayerFindings> CountVerifier::Verify(const Layer& layer, const CheckProgress& progress) {
  LayerFindings findings;
  findings.method = "counts";
  Result<TreeWalk> walk = TreeWalk::Begin(layer.path + "/..");
  if (!walk.ok()) {
    findings.Add("", walk.status().message());
    return findings;
  }
  while (!walk->Step(kWalkStep)) {
    if (!progress(0)) return Cancelled("cancelled");
  }
  const TreeUsage& now = walk->usage();
  struct stat info {};
  if (::lstat(layer.path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) findings.Add("", "its directory is missing");
  if (now.truncated) findings.Add("", "a part of it cannot be read");
  // Records of earlier versions have no bytes of content, and then no inodes that were counted in the same way.
  if (layer.content_bytes && findings.damages == 0) {
    if (now.disk.inodes != layer.disk.inodes) {
      findings.Add("", fmt::format("it has {} files, {} were unpacked", now.disk.inodes, layer.disk.inodes));
    }
    if (now.content_bytes != *layer.content_bytes) {
      findings.Add(
          "", fmt::format("it has {} bytes of content, {} were unpacked", now.content_bytes, *layer.content_bytes));
    }
  }
  if (findings.damages != 0) {
    findings.entries = now.disk.inodes;
    return findings;
  }
  Status written = WriteChecksums(layer, progress, findings);
  if (written.code() == StatusCode::kDataLoss) {
    findings.Add("", written.message());
    return findings;
  }
  // A full disk is no damage; the next verification makes the list.
  if (written.code() == StatusCode::kResourceExhausted) return findings;
  if (!written.ok()) return written;
  return findings;
}

Status WriteChecksums(const Layer& layer, const CheckProgress& progress, LayerFindings& findings) {
  ASSIGN_OR_RETURN(Tree tree, Tree::Open(layer, progress));
  ASSIGN_OR_RETURN(ListWriter list, ListWriter::Begin(layer));
  RETURN_IF_ERROR(AddSums(tree, list).Annotate(fmt::format("layer {}", layer.diff_id.ToString())));
  findings.entries = tree.entries();
  findings.bytes = tree.bytes();
  return list.Finish();
}

}  // namespace davit::store
