#include "store/open_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "store/copies.h"
#include "store/directory.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

bool HasEntries(const std::string& directory) {
  Result<Directory> opened = Directory::OpenBelow(AT_FDCWD, directory);
  if (!opened.ok()) return false;
  Result<std::optional<std::string>> name = opened->Next();
  return name.ok() && name->has_value();
}

// SQLite takes a file below the smallest page for a new one (sqlite.org/fileformat.html, "Pages").
constexpr off_t kSmallestPage = 512;

bool IsMissingOrEmpty(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) != 0 ? errno == ENOENT : info.st_size < kSmallestPage;
}

// Moves what is there of `names` out of the root.
Status SetAside(const std::string& root, const std::string& target, std::initializer_list<const char*> names) {
  RETURN_IF_ERROR(sys::MakeDirectories(target, 0700));
  for (const char* name : names) {
    const std::string from = root + "/" + name;
    if (::rename(from.c_str(), (target + "/" + name).c_str()) != 0 && errno != ENOENT) {
      return ErrnoError(errno, fmt::format("move {} to {}", from, target));
    }
    FaultPoint("store.database.set_aside");
  }
  return {};
}

}  // namespace

namespace {

// Opens the file and gives back what it has lost and the copies have.
Result<OpenedDatabase> OpenWithCopies(const std::string& path, const Copies& copies, const std::string& quarantine) {
  OpenedDatabase out;
  const auto origin = copies.Complete() ? Database::Origin::kOwn : Database::Origin::kUnknown;
  ASSIGN_OR_RETURN(out.database, Database::Open(path, origin));
  ASSIGN_OR_RETURN(out.loss, out.database->KeepCopies(copies, quarantine));
  if (!out.loss.empty()) out.loss = fmt::format("database {} had losses: {}", path, out.loss);
  return out;
}

// Moves the layers away that no record names any more: one may be under a running container.
Status SetLayersAside(const std::string& root, const std::string& target, const Database& database) {
  ASSIGN_OR_RETURN(std::vector<Record> records, database.LoadAll(Kind::kLayer));
  std::set<std::string> known;
  for (const Record& record : records) known.insert(record.id.substr(record.id.find(':') + 1));
  std::vector<std::string> unknown;
  Result<Directory> opened = Directory::OpenBelow(AT_FDCWD, root + "/layers");
  while (opened.ok()) {
    ASSIGN_OR_RETURN(std::optional<std::string> name, opened->Next());
    if (!name) break;
    if (known.count(*name) == 0) unknown.push_back("layers/" + *name);
  }
  if (unknown.empty()) return {};
  RETURN_IF_ERROR(sys::MakeDirectories(target + "/layers", 0700));
  for (const std::string& name : unknown) RETURN_IF_ERROR(SetAside(root, target, {name.c_str()}));
  return {};
}

bool MeansDamage(StatusCode code) {
  return code == StatusCode::kDataLoss || code == StatusCode::kInternal || code == StatusCode::kPermissionDenied;
}

}  // namespace

Result<OpenedDatabase> OpenDatabase(const std::string& root, const std::string& state) {
  const std::string path = root + "/davit.db";
  const Copies copies(root, state);
  const bool copied = copies.Complete();
  const bool in_use = copied || HasEntries(root + "/layers") || HasEntries(root + "/containers");
  const std::string target = fmt::format("{}/quarantine/{}", root, MintId().substr(0, 16));
  // A write-ahead log alone holds what was written last: not for a new file to be laid over.
  std::string why = in_use && IsMissingOrEmpty(path) ? fmt::format("database {} is gone or empty", path) : "";
  if (why.empty()) {
    Result<OpenedDatabase> opened = OpenWithCopies(path, copies, target);
    if (opened.ok() || !(copied ? MeansDamage(opened.code()) : opened.code() == StatusCode::kDataLoss)) return opened;
    LogError("{}", opened.status().message());
    why = fmt::format("database {} is damaged", path);
  }
  // The records first: killed in between, the next start sees a missing database again.
  RETURN_IF_ERROR(SetAside(root, target, {"davit.db", "davit.db-wal", "davit.db-shm"}));
  if (!copied) RETURN_IF_ERROR(SetAside(root, target, {"layers", "content"}));
  ASSIGN_OR_RETURN(OpenedDatabase out, OpenWithCopies(path, copies, target));
  if (copied) {
    RETURN_IF_ERROR(SetLayersAside(root, target, *out.database));
    out.loss = fmt::format("{} and was made again: {}. What is left of it is in {}, which can be deleted", why,
                           out.loss.empty() ? "it had no records" : out.loss, target);
  } else {
    out.loss = fmt::format(
        "{}: what it knew is lost. Layers, image documents and what is left of the database are in {}; images have to "
        "be pulled again. Containers that ran go on, but davitd does not know them: end them by their monitors "
        "(davit-monitor) or restart the node, then delete that directory",
        why, target);
  }
  LogError("{}", out.loss);
  return out;
}

}  // namespace davit::store
