#include "image/layer_export.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/strings.h"
#include "image/sha256.h"
#include "sys/rooted.h"

namespace davit::image {
namespace {

constexpr size_t kPiece = 256 << 10;
constexpr size_t kJournalPiece = 32 << 10;
constexpr uint64_t kMaxTar = uint64_t{1} << 60;
constexpr uint64_t kLookEach = 1000;  // records

// Of a regular file, from its beginning.
class FdSource final : public ByteSource {
 public:
  explicit FdSource(int fd) : fd_(fd), buffer_(kJournalPiece, '\0') {}
  Result<std::string_view> Next() override {
    while (true) {
      ssize_t n = ::pread(fd_, buffer_.data(), buffer_.size(), static_cast<off_t>(position_));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, "read the journal");
      position_ += static_cast<uint64_t>(n);
      if (position_ > kMaxJournalBytes + kJournalMagic.size()) return DataLoss("the journal is too large");
      return std::string_view(buffer_.data(), static_cast<size_t>(n));
    }
  }

 private:
  int fd_;
  uint64_t position_ = 0;
  std::string buffer_;
};

}  // namespace

JournalReader::JournalReader(ByteSource& source)
    : source_(source), context_(::ZSTD_createDCtx(), ::ZSTD_freeDCtx), out_(kJournalPiece, '\0') {}

Result<std::unique_ptr<JournalReader>> JournalReader::Create(ByteSource& source) {
  std::unique_ptr<JournalReader> reader(new JournalReader(source));
  if (!reader->context_) return ResourceExhausted("no memory to read a journal");
  ::ZSTD_DCtx_setParameter(reader->context_.get(), ::ZSTD_d_windowLogMax, kJournalWindowLog);
  RETURN_IF_ERROR(reader->ReadMagic());
  return reader;
}

Status JournalReader::ReadMagic() {
  std::string magic;
  while (magic.size() < kJournalMagic.size()) {
    ASSIGN_OR_RETURN(in_, source_.Next());
    if (in_.empty()) return DataLoss("the journal is cut short");
    std::string_view piece = in_.substr(0, kJournalMagic.size() - magic.size());
    magic.append(piece);
    in_.remove_prefix(piece.size());
  }
  if (magic == kJournalMagic) return {};
  // "davit-journal N"
  if (magic.starts_with(kJournalMagic.substr(0, kJournalMagic.find(' ') + 1)))
    return Unimplemented("the journal was written by a later version of davit");
  return DataLoss("it is no journal");
}

// More of what the records are in. Leaves out_ as it is at the end of the frame.
Status JournalReader::Fill() {
  while (!frame_ended_) {
    if (in_.empty()) {
      ASSIGN_OR_RETURN(in_, source_.Next());
      if (in_.empty()) return DataLoss("the journal is cut short");
    }
    ::ZSTD_inBuffer in{in_.data(), in_.size(), 0};
    ::ZSTD_outBuffer out{out_.data(), out_.size(), 0};
    const size_t left = ::ZSTD_decompressStream(context_.get(), &out, &in);
    if (::ZSTD_isError(left) != 0)
      return DataLoss(fmt::format("the journal is damaged: {}", ::ZSTD_getErrorName(left)));
    in_.remove_prefix(in.pos);
    frame_ended_ = left == 0;
    if (out.pos > 0) {
      out_at_ = 0;
      out_size_ = out.pos;
      return {};
    }
  }
  return DataLoss("the journal ends within a record");
}

Result<char> JournalReader::Byte() {
  if (out_at_ == out_size_) RETURN_IF_ERROR(Fill());
  return out_[out_at_++];
}

Result<uint64_t> JournalReader::Number(uint64_t max) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    ASSIGN_OR_RETURN(char byte, Byte());
    const auto bits = static_cast<unsigned char>(byte);
    value |= static_cast<uint64_t>(bits & 0x7f) << shift;
    if ((bits & 0x80) != 0) continue;
    if (value > max) break;
    return value;
  }
  return DataLoss("the journal has a number out of range");
}

Result<std::string> JournalReader::Text(size_t max) {
  ASSIGN_OR_RETURN(uint64_t size, Number(max));
  std::string text;
  while (text.size() < size) {
    if (out_at_ == out_size_) RETURN_IF_ERROR(Fill());
    const size_t piece = std::min(size - text.size(), out_size_ - out_at_);
    text.append(out_, out_at_, piece);
    out_at_ += piece;
  }
  return text;
}

Result<JournalReader::Record> JournalReader::Next() {
  ASSIGN_OR_RETURN(char kind, Byte());
  Record record;
  record.kind = static_cast<JournalRecord>(kind);
  switch (record.kind) {
    case JournalRecord::kBytes: {
      ASSIGN_OR_RETURN(record.text, Text(kMaxJournalRun));
      if (record.text.empty()) return DataLoss("the journal has an empty record");
      return record;
    }
    case JournalRecord::kZeros: {
      ASSIGN_OR_RETURN(record.size, Number(kMaxTar));
      if (record.size == 0) return DataLoss("the journal has an empty record");
      return record;
    }
    case JournalRecord::kFile:
      RETURN_IF_ERROR(ReadFile(record));
      return record;
    case JournalRecord::kReplaced: {
      ASSIGN_OR_RETURN(record.text, Text(kMaxJournalPath));
      return record;
    }
    case JournalRecord::kInexact: {
      ASSIGN_OR_RETURN(record.text, Text(kMaxJournalReason));
      return record;
    }
    case JournalRecord::kEnd:
      RETURN_IF_ERROR(ReadEnd(record));
      return record;
  }
  return DataLoss(fmt::format("the journal has a record of the unknown kind \"{}\"", Printable({&kind, 1})));
}

Status JournalReader::ReadFile(Record& record) {
  ASSIGN_OR_RETURN(record.text, Text(kMaxJournalPath));
  ASSIGN_OR_RETURN(uint64_t count, Number(SparseMap::kMaxExtents));
  uint64_t end = 0;
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(uint64_t gap, Number(kMaxTar));
    ASSIGN_OR_RETURN(uint64_t length, Number(kMaxTar));
    if (gap > kMaxTar - end || length > kMaxTar - end - gap) return DataLoss("the journal has a number out of range");
    record.extents.push_back({end + gap, length});
    record.size += length;
    end += gap + length;
  }
  if (record.size == 0) return DataLoss("the journal has an empty record");
  for (unsigned shift = 0; shift < 32; shift += 8) {
    ASSIGN_OR_RETURN(char byte, Byte());
    record.checksum |= static_cast<uint32_t>(static_cast<unsigned char>(byte)) << shift;
  }
  return {};
}

Status JournalReader::ReadEnd(Record& record) {
  ASSIGN_OR_RETURN(record.size, Number(kMaxTar));
  if (out_at_ != out_size_) return DataLoss("the journal goes on behind its end");
  if (frame_ended_) return {};
  // The frame's own end, with its checksum.
  out_at_ = out_size_ = 0;
  Status more = Fill();
  if (more.ok()) return DataLoss("the journal goes on behind its end");
  return frame_ended_ ? Status() : more;
}

Result<std::unique_ptr<LayerTar>> LayerTar::Open(const std::string& directory, std::function<Status()> go_on) {
  std::unique_ptr<LayerTar> tar(new LayerTar());
  tar->go_on_ = std::move(go_on);
  ASSIGN_OR_RETURN(sys::UniqueFd top, sys::Open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  constexpr int kFile = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
  Result<sys::UniqueFd> journal = sys::OpenBeneath(top.get(), kJournalFile, kFile);
  if (journal.code() == StatusCode::kNotFound) return FailedPrecondition("it has no journal");
  if (!journal.ok()) return journal.status();
  tar->journal_ = std::move(*journal);
  ASSIGN_OR_RETURN(tar->fs_, sys::OpenBeneath(top.get(), "fs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  Result<sys::UniqueFd> replaced = sys::OpenBeneath(top.get(), kReplacedDirectory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (replaced.ok()) {
    tar->replaced_ = std::move(*replaced);
  } else if (replaced.code() != StatusCode::kNotFound) {
    return replaced.status();
  }
  RETURN_IF_ERROR(tar->Look());
  tar->buffer_.resize(kPiece);
  return tar;
}

Status LayerTar::GoOn() { return go_on_ ? go_on_() : Status(); }

// The size, and what was replaced when.
Status LayerTar::Look() {
  FdSource source(journal_.get());
  ASSIGN_OR_RETURN(std::unique_ptr<JournalReader> reader, JournalReader::Create(source));
  std::string inexact;
  uint64_t files = 0, names = 0, records = 0;
  size_t name_bytes = 0;
  while (true) {
    if (++records % kLookEach == 0) RETURN_IF_ERROR(GoOn());
    ASSIGN_OR_RETURN(JournalReader::Record record, reader->Next());
    switch (record.kind) {
      case JournalRecord::kBytes:
        size_ += record.text.size();
        break;
      case JournalRecord::kZeros:
        size_ += record.size;
        break;
      case JournalRecord::kFile:
        size_ += record.size;
        ++files;
        break;
      case JournalRecord::kReplaced:
        name_bytes += record.text.size();
        if (names == kMaxJournalReplaced || name_bytes > kMaxJournalReplacedBytes)
          return DataLoss("the journal has too many names of replaced files");
        replaced_names_[std::move(record.text)].push_back({files, names++});
        break;
      case JournalRecord::kInexact:
        if (inexact.empty()) inexact = std::move(record.text);
        break;
      case JournalRecord::kEnd:
        if (!inexact.empty()) return FailedPrecondition("its tar cannot be made again: " + Printable(inexact));
        if (record.size != size_) return DataLoss("the journal's records are not of the size that it has");
        return {};
    }
    if (size_ > kMaxTar) return DataLoss("the journal has a number out of range");
  }
}

// Whether the content of the tar's file of that number, which was at `path` then, is in replaced/, and its path there
// or in fs/.
std::pair<bool, std::string> LayerTar::Locate(const std::string& path, uint64_t file) const {
  if (replaced_names_.empty()) return {false, path};
  const Replaced* first = nullptr;
  size_t length = 0;
  for (size_t end = path.find('/');; end = path.find('/', end + 1)) {
    auto found = replaced_names_.find(path.substr(0, end));
    if (found != replaced_names_.end()) {
      auto after = std::find_if(found->second.begin(), found->second.end(),
                                [&](const Replaced& replaced) { return replaced.files > file; });
      if (after != found->second.end() && (first == nullptr || after->number < first->number)) {
        first = &*after;
        length = std::min(end, path.size());
      }
    }
    if (end == std::string::npos) break;
  }
  if (first == nullptr) return {false, path};
  return {true, std::to_string(first->number) + path.substr(length)};
}

Result<sys::UniqueFd> LayerTar::OpenFile(const std::string& path, uint64_t file) const {
  const auto [replaced, where] = Locate(path, file);
  // No access times: they would be written to the disk for every file.
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  Result<sys::UniqueFd> fd = sys::OpenBeneath(replaced ? replaced_.get() : fs_.get(), where, kFlags | O_NOATIME);
  if (fd.code() == StatusCode::kPermissionDenied) {
    fd = sys::OpenBeneath(replaced ? replaced_.get() : fs_.get(), where, kFlags);
  }
  return fd;
}

Status LayerTar::WriteFile(const JournalReader::Record& record, uint64_t file, const Sink& sink) {
  const std::string& path = record.text;
  auto changed = [&](std::string_view what) {
    return DataLoss(fmt::format("the file \"{}\" of the layer {}", Printable(path, kMaxJournalPath), what));
  };
  Result<sys::UniqueFd> fd = OpenFile(path, file);
  if (!fd.ok()) return changed("cannot be opened any more: " + fd.status().message());
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0 || !S_ISREG(info.st_mode)) return changed("is no file any more");
  uint32_t checksum = 0;
  for (const SparseExtent& extent : record.extents) {
    uint64_t offset = extent.offset;
    uint64_t left = extent.length;
    while (left > 0) {
      RETURN_IF_ERROR(GoOn());
      ssize_t n =
          ::pread(fd->get(), buffer_.data(), std::min<uint64_t>(left, buffer_.size()), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoError(errno, fmt::format("read the file \"{}\"", Printable(path, kMaxJournalPath)));
      if (n == 0) return changed("is shorter than it was");
      const std::string_view piece(buffer_.data(), static_cast<size_t>(n));
      checksum = JournalChecksum(checksum, piece);
      RETURN_IF_ERROR(sink(piece));
      offset += piece.size();
      left -= piece.size();
    }
  }
  return checksum == record.checksum ? Status() : changed("has changed since it was unpacked");
}

Status LayerTar::WriteRecords(const Sink& sink) {
  FdSource source(journal_.get());
  ASSIGN_OR_RETURN(std::unique_ptr<JournalReader> reader, JournalReader::Create(source));
  const std::string zeros(64 << 10, '\0');
  uint64_t files = 0, records = 0;
  while (true) {
    if (++records % kLookEach == 0) RETURN_IF_ERROR(GoOn());
    ASSIGN_OR_RETURN(JournalReader::Record record, reader->Next());
    switch (record.kind) {
      case JournalRecord::kBytes:
        RETURN_IF_ERROR(sink(record.text));
        break;
      case JournalRecord::kZeros:
        for (uint64_t left = record.size; left > 0;) {
          const size_t piece = std::min<uint64_t>(left, zeros.size());
          RETURN_IF_ERROR(GoOn());
          RETURN_IF_ERROR(sink({zeros.data(), piece}));
          left -= piece;
        }
        break;
      case JournalRecord::kFile:
        RETURN_IF_ERROR(WriteFile(record, files++, sink));
        break;
      case JournalRecord::kReplaced:
      case JournalRecord::kInexact:
        break;
      case JournalRecord::kEnd:
        return {};
    }
  }
}

Status LayerTar::Write(const oci::Digest& diff_id, const Sink& sink) {
  Sha256 hash;
  uint64_t written = 0;
  RETURN_IF_ERROR(WriteRecords([&](std::string_view bytes) -> Status {
    // What was announced is what is written, whatever became of the journal meanwhile.
    if (bytes.size() > size_ - written) return DataLoss("the journal has changed");
    written += bytes.size();
    hash.Update(bytes);
    return sink(bytes);
  }));
  if (written != size_) return DataLoss("the journal has changed");
  if (oci::Digest got = hash.Finish(); got != diff_id) {
    return DataLoss(fmt::format("the layer's tar has the digest {} now, not {}", got.ToString(), diff_id.ToString()));
  }
  return {};
}

Status LayerTar::Check(const std::function<Status(uint64_t)>& read) {
  return WriteRecords([&](std::string_view bytes) { return read(bytes.size()); });
}

}  // namespace davit::image
