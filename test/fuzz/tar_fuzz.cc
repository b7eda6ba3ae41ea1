// Layers: inflating, the tar reader and the layer writer, which puts them on disk. Nothing outside the
// layer's directory is ever touched, the caps hold, and neither depends on how the stream is cut.
//
// Unpacks into $TMPDIR (or /tmp); as root it gets further, because only root may give files away.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "fuzz.h"
#include "image/decompress.h"
#include "image/layer_writer.h"
#include "image/tar_reader.h"
#include "sys/atomic_file.h"

namespace image = davit::image;

namespace {

constexpr size_t kMaxInflated = 1 << 20;
constexpr uint64_t kMaxContent = 256 << 10;
// Where seeds find the directory around the layer: /proc/self/fd/200/outside is a path out that needs no
// knowledge of the directory's name.
constexpr int kBaseFd = 200;

class Pieces final : public image::ByteSource {
 public:
  Pieces(std::string_view text, size_t step) : text_(text), step_(step) {}
  davit::Result<std::string_view> Next() override {
    std::string_view piece = text_.substr(0, step_);
    text_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::string_view text_;  // the input's
  size_t step_;
};

class StringSink final : public image::OutputSink {
 public:
  davit::Result<Space> GetSpace() override {
    if (text.size() >= kMaxInflated) return davit::ResourceExhausted("inflates to too much");
    return Space{buffer_, sizeof buffer_};
  }
  davit::Status Produced(size_t bytes) override {
    FUZZ_REQUIRE(bytes <= sizeof buffer_);
    text.append(buffer_, bytes);
    return {};
  }
  std::string text;

 private:
  char buffer_[1000];
};

struct Inflated {
  std::string text;
  bool whole = false;
};

Inflated Inflate(std::string_view bytes, image::Compression compression, size_t step) {
  auto decompressor = image::Decompressor::Create(compression);
  FUZZ_REQUIRE(decompressor.ok());
  StringSink sink;
  davit::Status status;
  while (!bytes.empty() && status.ok()) {
    status = (*decompressor)->Write(bytes.substr(0, step), sink);
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  if (status.ok()) status = (*decompressor)->Finish();
  return {std::move(sink.text), status.ok()};
}

void CheckEntry(const image::TarEntry& entry) {
  FUZZ_REQUIRE(!entry.name.empty() && entry.name.size() <= 4096 && entry.name.find('\0') == std::string::npos);
  FUZZ_REQUIRE(entry.link_name.size() <= 4096 && entry.link_name.find('\0') == std::string::npos);
  FUZZ_REQUIRE(entry.mode <= 07777 && entry.mtime_nanos < 1'000'000'000);
  FUZZ_REQUIRE(entry.uid != UINT32_MAX && entry.gid != UINT32_MAX);
  FUZZ_REQUIRE(entry.type == image::TarType::kRegular || entry.size == 0);
  for (const auto& xattr : entry.xattrs) FUZZ_REQUIRE(!xattr.first.empty() && xattr.first.size() <= 255);
}

// Everything the reader says about an archive, as text.
std::string List(std::string_view tar, size_t step) {
  Pieces source(tar, step);
  image::TarReader reader(source);
  std::string out;
  size_t content = 0;
  while (true) {
    auto entry = reader.Next();
    if (!entry.ok()) return out + std::string(CodeName(entry.code()));
    if (!entry->has_value()) return out + "end";
    const image::TarEntry& e = **entry;
    CheckEntry(e);
    out += fmt::format("{} {} {} {:o} {} {} {} {}.{} {} {} {}\n", static_cast<int>(e.type), e.name, e.link_name, e.mode,
                       e.uid, e.gid, e.size, e.mtime_seconds, e.mtime_nanos, e.device_major, e.device_minor,
                       e.xattrs.size());
    while (true) {
      auto piece = reader.Data();
      if (!piece.ok()) return out + std::string(CodeName(piece.code()));
      if (piece->empty()) break;
      content += piece->size();
      out += *piece;
    }
    FUZZ_REQUIRE(content <= tar.size());
  }
}

// A directory with the layer's and a neighbour that must stay as it is.
class Playground {
 public:
  Playground() {
    const char* tmp = std::getenv("TMPDIR");
    path_ = std::string(tmp != nullptr ? tmp : "/tmp") + "/davit-tar-fuzz-XXXXXX";
    FUZZ_REQUIRE(::mkdtemp(path_.data()) != nullptr);
    ::umask(0);
    FUZZ_REQUIRE(::mkdir((path_ + "/outside").c_str(), 0755) == 0);
    int canary = ::open((path_ + "/outside/canary").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    FUZZ_REQUIRE(canary >= 0 && ::write(canary, "alive", 5) == 5);
    ::close(canary);
    int base = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUZZ_REQUIRE(::dup2(base, kBaseFd) == kBaseFd);
    ::close(base);
    before_ = Neighbour();
  }
  Playground(const Playground&) = delete;
  Playground& operator=(const Playground&) = delete;
  ~Playground() { davit::IgnoreError(davit::sys::RemoveTree(path_)); }  // at exit there is nobody to tell

  void Unpack(std::string_view tar) {
    const std::string layer = path_ + "/layer";
    FUZZ_REQUIRE(::mkdir(layer.c_str(), 0755) == 0);
    Pieces source(tar, 4096);
    image::TarReader reader(source);
    uint64_t charged = 0;
    image::LayerWriterLimits limits;
    limits.max_bytes = kMaxContent;
    limits.min_free_bytes = 0;
    limits.charge = [&](uint64_t bytes) {
      charged += bytes;
      return davit::Status();
    };
    auto writer = image::LayerWriter::Create(layer, "layer", limits);
    FUZZ_REQUIRE(writer.ok());
    davit::Status status = (*writer)->WriteAll(reader);
    FUZZ_REQUIRE((*writer)->totals().size <= kMaxContent && (*writer)->totals().size == charged);
    FUZZ_REQUIRE((*writer)->warnings().size() <= image::LayerWriter::kMaxWarnings);
    FUZZ_REQUIRE(status.ok() || !status.message().empty());
    FUZZ_REQUIRE(Neighbour() == before_);
    davit::Status removed = davit::sys::RemoveTree(layer);
    FUZZ_REQUIRE(removed.ok());
  }

 private:
  // Names beside the layer, and all of the neighbour that a write, a link, chmod or an attribute changes.
  [[nodiscard]] std::string Neighbour() const {
    std::string out = Names(path_) + "; " + Names(path_ + "/outside");
    for (const char* name : {"/outside", "/outside/canary"}) {
      struct stat st {};
      FUZZ_REQUIRE(::lstat((path_ + name).c_str(), &st) == 0);
      out += fmt::format("; {} {:o} {} {} {}.{}", name, st.st_mode, st.st_nlink, st.st_size, st.st_ctim.tv_sec,
                         st.st_ctim.tv_nsec);
    }
    return out;
  }
  static std::string Names(const std::string& directory) {
    std::vector<std::string> names;
    DIR* dir = ::opendir(directory.c_str());
    FUZZ_REQUIRE(dir != nullptr);
    while (dirent* item = ::readdir(dir)) {
      if (std::strcmp(item->d_name, "layer") != 0) names.emplace_back(item->d_name);
    }
    ::closedir(dir);
    std::sort(names.begin(), names.end());
    return fmt::format("{}", fmt::join(names, " "));
  }

  std::string path_;
  std::string before_;
};

// A mutation breaks a header's checksum, and the reader would look no further: so it is also tried with all
// checksums put right.
std::string WithChecksums(std::string tar) {
  for (size_t at = 0; at + 512 <= tar.size(); at += 512) {
    if (std::memcmp(tar.data() + at + 257, "ustar", 5) != 0) continue;
    std::memset(tar.data() + at + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(tar[at + i]);
    std::snprintf(tar.data() + at + 148, 8, "%06o", sum);
  }
  return tar;
}

void CheckTar(std::string_view tar) {
  static Playground playground;
  std::string whole = List(tar, SIZE_MAX);
  FUZZ_REQUIRE(List(tar, 100) == whole);
  playground.Unpack(tar);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes = davit::fuzz::View(data, size);
  auto compression = image::DetectCompression(bytes.substr(0, image::kMagicBytes));
  if (!compression.ok()) return 0;
  Inflated whole = Inflate(bytes, *compression, SIZE_MAX);
  FUZZ_REQUIRE(whole.text.size() <= kMaxInflated + 1000);
  for (size_t step : {1, 13}) {
    Inflated cut = Inflate(bytes, *compression, step);
    FUZZ_REQUIRE(cut.whole == whole.whole && (!whole.whole || cut.text == whole.text));
  }
  // Also of a stream that turns out to be damaged: the entries before that have been written by then.
  CheckTar(whole.text);
  std::string repaired = WithChecksums(whole.text);
  if (repaired != whole.text) CheckTar(repaired);
  return 0;
}
