#include "image/layer_journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <isa-l/crc.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/strings.h"

namespace davit::image {
namespace {

// Headers are most of it and much alike: the fastest level takes a hundredth of the time that unpacking takes.
constexpr int kLevel = 1;
constexpr int kHashLog = 13;

bool AllZero(std::string_view bytes) {
  return bytes.empty() || (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace

uint32_t JournalChecksum(uint32_t before, std::string_view bytes) {
  return ::crc32_gzip_refl(before, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

Result<std::unique_ptr<LayerJournal>> LayerJournal::Create(const std::string& directory,
                                                           std::function<Status(uint64_t)> charge) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  sys::UniqueFd file(::openat(fd.get(), kJournalFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoError(errno, fmt::format("create {}/{}", directory, kJournalFile));
  std::unique_ptr<LayerJournal> journal(new LayerJournal(std::move(fd), std::move(file), std::move(charge)));
  RETURN_IF_ERROR(journal->Begin());
  return journal;
}

LayerJournal::LayerJournal(sys::UniqueFd directory, sys::UniqueFd file, std::function<Status(uint64_t)> charge)
    : directory_(std::move(directory)),
      file_(std::move(file)),
      charge_(std::move(charge)),
      context_(::ZSTD_createCCtx(), ::ZSTD_freeCCtx) {
  in_.reserve(kIn);
  run_.reserve(kIn);
}

LayerJournal::~LayerJournal() = default;

Status LayerJournal::Begin() {
  if (!context_) return ResourceExhausted("no memory for the layer's journal");
  ::ZSTD_CCtx_reset(context_.get(), ::ZSTD_reset_session_and_parameters);
  for (const auto& [parameter, value] :
       {std::pair{::ZSTD_c_compressionLevel, kLevel}, std::pair{::ZSTD_c_windowLog, kJournalWindowLog},
        std::pair{::ZSTD_c_hashLog, kHashLog}, std::pair{::ZSTD_c_checksumFlag, 1}}) {
    size_t set = ::ZSTD_CCtx_setParameter(context_.get(), parameter, value);
    if (::ZSTD_isError(set) != 0) return Internal(fmt::format("zstd: {}", ::ZSTD_getErrorName(set)));
  }
  return sys::WriteAll(file_.get(), kJournalMagic).Annotate("write the layer's journal");
}

Status LayerJournal::Raw(std::string_view bytes) {
  tar_bytes_ += bytes.size();
  if (!inexact_.empty()) return {};
  if (AllZero(bytes)) {
    zeros_ += bytes.size();
    return {};
  }
  RETURN_IF_ERROR(FlushZeros());
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, kIn - run_.size());
    run_.append(piece);
    bytes.remove_prefix(piece.size());
    if (run_.size() == kIn) RETURN_IF_ERROR(FlushRun());
  }
  return {};
}

Status LayerJournal::File(const std::string& path, uint64_t size, uint32_t checksum) {
  tar_bytes_ += size;
  if (size == 0 || !inexact_.empty()) return {};
  RETURN_IF_ERROR(BeginFile(path, 1));
  RETURN_IF_ERROR(PutNumber(0));
  RETURN_IF_ERROR(PutNumber(size));
  return EndFile(checksum);
}

Status LayerJournal::File(const std::string& path, const std::vector<SparseExtent>& extents, uint32_t checksum) {
  for (const SparseExtent& extent : extents) tar_bytes_ += extent.length;
  if (extents.empty() || !inexact_.empty()) return {};
  RETURN_IF_ERROR(BeginFile(path, extents.size()));
  uint64_t end = 0;
  for (const SparseExtent& extent : extents) {
    RETURN_IF_ERROR(PutNumber(extent.offset - end));
    RETURN_IF_ERROR(PutNumber(extent.length));
    end = extent.offset + extent.length;
  }
  return EndFile(checksum);
}

Status LayerJournal::BeginFile(const std::string& path, uint64_t extents) {
  if (path.size() > kMaxJournalPath) Inexact(fmt::format("a file's path has {} bytes", path.size()));
  RETURN_IF_ERROR(FlushZeros());
  RETURN_IF_ERROR(FlushRun());
  RETURN_IF_ERROR(PutKind(JournalRecord::kFile));
  RETURN_IF_ERROR(PutNumber(path.size()));
  RETURN_IF_ERROR(Put(path));
  return PutNumber(extents);
}

Status LayerJournal::EndFile(uint32_t checksum) {
  std::array<char, 4> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(checksum >> (8 * i));
  return Put({bytes.data(), bytes.size()});
}

Result<bool> LayerJournal::SetAside(int parent, const std::string& base, const std::string& path) {
  if (!inexact_.empty()) return false;
  struct stat info {};
  if (::fstatat(parent, base.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
  const bool content = S_ISDIR(info.st_mode) ? ::unlinkat(parent, base.c_str(), AT_REMOVEDIR) != 0
                                             : S_ISREG(info.st_mode) && info.st_size > 0;
  if (!content) return false;
  if (path.size() > kMaxJournalPath || replaced_names_ == kMaxJournalReplaced ||
      replaced_bytes_ + path.size() > kMaxJournalReplacedBytes) {
    Inexact("too many of its entries replace others of it");
    return false;
  }
  if (!replaced_.valid()) {
    if (::mkdirat(directory_.get(), kReplacedDirectory, 0700) != 0)
      return ErrnoError(errno, "make the directory for what the layer replaces");
    replaced_.reset(::openat(directory_.get(), kReplacedDirectory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!replaced_.valid()) return ErrnoError(errno, "open the directory for what the layer replaces");
  }
  const std::string number = std::to_string(replaced_names_);
  if (::renameat(parent, base.c_str(), replaced_.get(), number.c_str()) != 0) {
    return ErrnoError(errno, fmt::format("set aside \"{}\"", Printable(path)));
  }
  ++replaced_names_;
  replaced_bytes_ += path.size();
  RETURN_IF_ERROR(FlushZeros());
  RETURN_IF_ERROR(FlushRun());
  RETURN_IF_ERROR(PutKind(JournalRecord::kReplaced));
  RETURN_IF_ERROR(PutNumber(path.size()));
  RETURN_IF_ERROR(Put(path));
  return true;
}

void LayerJournal::Inexact(std::string_view why) {
  if (inexact_.empty()) inexact_ = Printable(why, kMaxJournalReason / 4);
}

Status LayerJournal::Finish() {
  if (inexact_.empty()) {
    RETURN_IF_ERROR(FlushZeros());
    RETURN_IF_ERROR(FlushRun());
  }
  if (inexact_.empty()) {
    RETURN_IF_ERROR(PutKind(JournalRecord::kEnd));
    RETURN_IF_ERROR(PutNumber(tar_bytes_));
    RETURN_IF_ERROR(Compress(true));
  }
  if (inexact_.empty()) return {};
  // Of no use is what was written up to there.
  in_.clear();
  if (::lseek(file_.get(), 0, SEEK_SET) != 0 || ::ftruncate(file_.get(), 0) != 0)
    return ErrnoError(errno, "write the layer's journal");
  written_ = 0;
  RETURN_IF_ERROR(Begin());
  const std::string why = std::exchange(inexact_, std::string());
  RETURN_IF_ERROR(PutKind(JournalRecord::kInexact));
  RETURN_IF_ERROR(PutNumber(why.size()));
  RETURN_IF_ERROR(Put(why));
  RETURN_IF_ERROR(PutKind(JournalRecord::kEnd));
  RETURN_IF_ERROR(PutNumber(tar_bytes_));
  return Compress(true);
}

// The two are in this order in the tar, so zeros_ is 0 whenever run_ grows.
Status LayerJournal::FlushZeros() {
  if (zeros_ == 0) return {};
  RETURN_IF_ERROR(FlushRun());
  const uint64_t zeros = std::exchange(zeros_, 0);
  RETURN_IF_ERROR(PutKind(JournalRecord::kZeros));
  return PutNumber(zeros);
}

Status LayerJournal::FlushRun() {
  if (run_.empty()) return {};
  RETURN_IF_ERROR(PutKind(JournalRecord::kBytes));
  RETURN_IF_ERROR(PutNumber(run_.size()));
  RETURN_IF_ERROR(Put(run_));
  run_.clear();
  return {};
}

Status LayerJournal::PutKind(JournalRecord kind) {
  const char byte = static_cast<char>(kind);
  return Put({&byte, 1});
}

// LEB128: seven bits a byte, the lowest first.
Status LayerJournal::PutNumber(uint64_t number) {
  std::array<char, 10> bytes{};
  size_t size = 0;
  do {
    bytes[size++] = static_cast<char>((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
    number >>= 7;
  } while (number != 0);
  return Put({bytes.data(), size});
}

Status LayerJournal::Put(std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view piece = bytes.substr(0, kIn - in_.size());
    in_.append(piece);
    bytes.remove_prefix(piece.size());
    if (in_.size() == kIn) RETURN_IF_ERROR(Compress(false));
  }
  return {};
}

Status LayerJournal::Compress(bool end) {
  ::ZSTD_inBuffer in{in_.data(), in_.size(), 0};
  while (inexact_.empty()) {
    ::ZSTD_outBuffer out{out_.data(), out_.size(), 0};
    const size_t left = ::ZSTD_compressStream2(context_.get(), &out, &in, end ? ::ZSTD_e_end : ::ZSTD_e_continue);
    if (::ZSTD_isError(left) != 0) {
      return ResourceExhausted(fmt::format("compress the layer's journal: {}", ::ZSTD_getErrorName(left)));
    }
    written_ += out.pos;
    if (written_ > kMaxJournalBytes) {
      Inexact("its headers and what else is no file take too much room");
      break;
    }
    if (out.pos > 0) {
      if (charge_) RETURN_IF_ERROR(charge_(out.pos));
      RETURN_IF_ERROR(sys::WriteAll(file_.get(), {out_.data(), out.pos}).Annotate("write the layer's journal"));
    }
    if (end ? left == 0 : in.pos == in.size) break;
  }
  in_.clear();
  return {};
}

}  // namespace davit::image
