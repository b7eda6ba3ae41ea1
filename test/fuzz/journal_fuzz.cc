// Journals of layers: whatever one says, reading it ends, what comes out is of the size that was announced, and no file
// outside the layer is opened. The input is what stands in the journal's frame, and once more the file itself.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <string>

#include "fuzz.h"
#include "image/layer_export.h"
#include "image/layer_journal.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace image = davit::image;

namespace {

constexpr std::string_view kOutside = "h7Q2-not-of-this-layer-x9Zr4";  // no input has it
constexpr uint64_t kEnough = 64 << 20;                                 // a journal may well speak of terabytes of zeros

class Layer {
 public:
  Layer() {
    const char* tmp = std::getenv("TMPDIR");
    path_ = std::string(tmp != nullptr ? tmp : "/tmp") + "/davit-journal-fuzz-XXXXXX";
    FUZZ_REQUIRE(::mkdtemp(path_.data()) != nullptr);
    for (const char* name : {"/layer", "/layer/fs", "/layer/fs/d", "/layer/replaced"}) {
      FUZZ_REQUIRE(::mkdir((path_ + name).c_str(), 0755) == 0);
    }
    Put("/outside", kOutside);
    Put("/layer/fs/a", "content");
    Put("/layer/fs/d/b", "more of it");
    Put("/layer/replaced/0", "before");
    FUZZ_REQUIRE(::symlink("../../outside", (path_ + "/layer/fs/out").c_str()) == 0);
  }
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;
  ~Layer() { davit::IgnoreError(davit::sys::RemoveTree(path_)); }  // at exit there is nobody to tell

  void Check(std::string_view journal) {
    Put("/layer/journal", journal);
    auto tar = image::LayerTar::Open(path_ + "/layer", {});
    FUZZ_REQUIRE(tar.ok() || !tar.status().message().empty());
    if (!tar.ok()) return;
    std::string tail;  // for what goes over the end of a piece
    uint64_t written = 0;
    davit::Status status = (*tar)->Write({}, [&](std::string_view piece) {
      written += piece.size();
      if (written > kEnough) return davit::Cancelled("enough");
      tail.append(piece.substr(0, 4096));
      FUZZ_REQUIRE(tail.find(kOutside) == std::string::npos);
      if (tail.size() > kOutside.size()) tail.erase(0, tail.size() - kOutside.size());
      return davit::Status();
    });
    FUZZ_REQUIRE(!status.ok());  // no tar has the empty digest
    FUZZ_REQUIRE(written <= (*tar)->size() || written > kEnough);
  }

 private:
  void Put(const char* name, std::string_view text) {
    davit::sys::UniqueFd fd(::open((path_ + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    FUZZ_REQUIRE(fd.valid() && davit::sys::WriteAll(fd.get(), text).ok());
  }
  std::string path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Layer layer;
  std::string_view bytes = davit::fuzz::View(data, size);
  std::string frame(::ZSTD_compressBound(size), '\0');
  frame.resize(::ZSTD_compress(frame.data(), frame.size(), data, size, 1));
  layer.Check(std::string(image::kJournalMagic) + frame);
  layer.Check(bytes);
  return 0;
}
