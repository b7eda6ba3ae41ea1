#include "store/copies.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <set>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "store/directory.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

constexpr std::string_view kNew = "~new";
constexpr std::string_view kDeleted = "~del";
constexpr std::string_view kMagic = "davit-copy 1 ";
constexpr size_t kHeadBytes = kMagic.size() + 16 + 1;
constexpr size_t kMaxNameBytes = 200;  // of the 255 that file systems take
constexpr std::array<Kind, 4> kCopied = {Kind::kPod, Kind::kContainer, Kind::kImage, Kind::kLayer};

// FNV-1a: every step maps sums one to one, so two texts of one length that differ in one byte never have one sum.
uint64_t Sum(Kind kind, std::string_view id, std::string_view body) {
  uint64_t sum = 14695981039346656037U;
  auto add = [&](std::string_view text) {
    for (char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211U;
    sum = (sum ^ 0xffU) * 1099511628211U;
  };
  add(KindName(kind));
  add(id);
  add(body);
  return sum;
}

std::string Head(Kind kind, std::string_view id, std::string_view body) {
  return fmt::format("{}{:016x}\n", kMagic, Sum(kind, id, body));
}

Result<std::string> ReadCopy(const std::string& path, Kind kind, std::string_view id) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(path, kHeadBytes + Database::kMaxBodyBytes));
  const std::string_view body = std::string_view(text).substr(std::min(text.size(), kHeadBytes));
  if (!text.starts_with(Head(kind, id, body))) return DataLoss(path + " is damaged");
  return std::string(body);
}

Status Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0 || errno == ENOENT) return {};
  return ErrnoError(errno, fmt::format("move {} to {}", from, to));
}

Status Unlink(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return ErrnoError(errno, "remove " + path);
}

Status SyncPath(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NOFOLLOW));
  return ::fsync(fd.get()) == 0 ? Status() : ErrnoError(errno, "fsync " + path);
}

Status WriteCopy(const std::string& path, Kind kind, std::string_view id, std::string_view body) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  RETURN_IF_ERROR(sys::WriteAll(file.get(), Head(kind, id, body)));
  return sys::WriteAll(file.get(), body);
}

std::string Mark() { return fmt::format("schema {}\n", Database::kSchemaVersion); }

// The ids of which there is a file of some kind.
Result<std::set<std::string>> IdsIn(const std::string& directory) {
  std::set<std::string> ids;
  ASSIGN_OR_RETURN(Directory opened, Directory::OpenBelow(AT_FDCWD, directory));
  for (;;) {
    ASSIGN_OR_RETURN(std::optional<std::string> name, opened.Next());
    if (!name) return ids;
    if (name->front() != '.') ids.insert(name->substr(0, name->find('~')));
  }
}

}  // namespace

std::string Copies::DirectoryOf(Kind kind) const {
  const bool of_the_boot = kind == Kind::kPod || kind == Kind::kContainer;
  return fmt::format("{}/records/{}", of_the_boot ? state_ : root_, KindName(kind));
}

std::string Copies::PathOf(Kind kind, std::string_view id) const { return fmt::format("{}/{}", DirectoryOf(kind), id); }

bool Copies::Covers(Kind kind, std::string_view id) {
  if (std::find(kCopied.begin(), kCopied.end(), kind) == kCopied.end()) return false;
  if (id.empty() || id.size() > kMaxNameBytes || id.front() == '.') return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == ':' || c == '.' ||
           c == '-' || c == '_';
  });
}

Status Copies::Prepare() const {
  for (Kind kind : kCopied) RETURN_IF_ERROR(sys::MakeDirectories(DirectoryOf(kind), 0700));
  return {};
}

Status Copies::BeforePut(Kind kind, std::string_view id, std::string_view body, Durability durability) const {
  if (!Covers(kind, id)) return {};
  const std::string path = PathOf(kind, id);
  const std::string fresh = path + std::string(kNew);
  Status written = WriteCopy(fresh, kind, id, body);
  if (written.ok() && durability == Durability::kDurable) {
    written = SyncPath(fresh);
    if (written.ok()) written = SyncPath(DirectoryOf(kind));
  }
  if (written.ok()) {
    FaultPoint("store.copies.written");
    return {};
  }
  LogWarning("{} {} has no copy beside the database: {}", KindName(kind), id, written.message());
  RETURN_IF_ERROR(Unlink(fresh));
  return Unlink(path);
}

Status Copies::BeforeDelete(Kind kind, std::string_view id, Durability durability) const {
  if (!Covers(kind, id)) return {};
  const std::string path = PathOf(kind, id);
  RETURN_IF_ERROR(Rename(path, path + std::string(kDeleted)));
  FaultPoint("store.copies.marked");
  return durability == Durability::kDurable ? SyncPath(DirectoryOf(kind)) : Status();
}

void Copies::After(Kind kind, std::string_view id, bool put, bool committed) const {
  if (!Covers(kind, id)) return;
  const std::string path = PathOf(kind, id);
  const std::string marked = path + std::string(put ? kNew : kDeleted);
  if (put && !committed) return;
  Status done = put || !committed ? Rename(marked, path) : Unlink(marked);
  // The next start settles it.
  if (!done.ok()) LogWarning("{}", done.message());
}

Result<Copies::Verdict> Copies::Compare(Kind kind, const std::vector<Record>& rows,
                                        const std::string& quarantine) const {
  Verdict verdict;
  std::map<std::string, const std::string*> bodies;
  for (const Record& row : rows) {
    if (Covers(kind, row.id)) bodies[row.id] = &row.body;
  }
  ASSIGN_OR_RETURN(std::set<std::string> ids, IdsIn(DirectoryOf(kind)));
  for (const auto& [id, body] : bodies) ids.insert(id);
  for (const std::string& id : ids) {
    const std::string path = PathOf(kind, id);
    const std::string fresh = path + std::string(kNew);
    const std::string deleted = path + std::string(kDeleted);
    const auto found = bodies.find(id);
    const std::string* row = found == bodies.end() ? nullptr : found->second;
    // A change that was cut off: the database says whether it was made.
    Result<std::string> changed = ReadCopy(fresh, kind, id);
    RETURN_IF_ERROR(row != nullptr && changed.ok() && *changed == *row ? Rename(fresh, path) : Unlink(fresh));
    Result<std::string> copy = ReadCopy(path, kind, id);
    if (row != nullptr && copy.code() == StatusCode::kNotFound) copy = ReadCopy(deleted, kind, id);
    RETURN_IF_ERROR(Unlink(deleted));
    if (copy.ok() && (row == nullptr || *row != *copy)) {
      verdict.lost.push_back({id, std::move(*copy)});
    } else if (row != nullptr && !ReadCopy(path, kind, id).ok()) {
      IgnoreError(BeforePut(kind, id, *row, Durability::kAtomic));
      After(kind, id, /*put=*/true, /*committed=*/true);
    } else if (!copy.ok() && copy.code() != StatusCode::kNotFound) {
      RETURN_IF_ERROR(sys::MakeDirectories(quarantine, 0700));
      RETURN_IF_ERROR(Rename(path, fmt::format("{}/{}-{}", quarantine, KindName(kind), id)));
      verdict.damaged.push_back(path);
    }
  }
  return verdict;
}

bool Copies::Complete() const { return sys::ReadFile(root_ + "/records/complete", 64).value_or("") == Mark(); }

Status Copies::MarkComplete() const {
  if (Complete()) return {};
  for (Kind kind : {Kind::kImage, Kind::kLayer}) {
    ASSIGN_OR_RETURN(std::set<std::string> ids, IdsIn(DirectoryOf(kind)));
    for (const std::string& id : ids) IgnoreError(SyncPath(PathOf(kind, id)));
    RETURN_IF_ERROR(SyncPath(DirectoryOf(kind)));
  }
  return sys::WriteFileAtomic(root_ + "/records/complete", Mark(), 0600, Durability::kDurable);
}

}  // namespace davit::store
