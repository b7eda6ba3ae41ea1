#include "store/open_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
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

Result<OpenedDatabase> OpenDatabase(const std::string& root) {
  const std::string path = root + "/davit.db";
  const bool in_use = HasEntries(root + "/layers") || HasEntries(root + "/containers");
  // A write-ahead log alone holds what was written last: not for a new file to be laid over.
  const bool missing = in_use && IsMissingOrEmpty(path);
  std::string why;
  if (!missing) {
    Result<std::unique_ptr<Database>> opened = Database::Open(path);
    if (opened.ok()) return OpenedDatabase{std::move(*opened), ""};
    if (opened.code() != StatusCode::kDataLoss) return opened.status();
    LogError("{}", opened.status().message());
    why = fmt::format("database {} is damaged", path);
  } else {
    why = fmt::format("database {} is gone or empty", path);
  }
  const std::string target = fmt::format("{}/quarantine/{}", root, MintId().substr(0, 16));
  // The records first: killed in between, the next start sees a missing database again.
  RETURN_IF_ERROR(SetAside(root, target, {"davit.db", "davit.db-wal", "davit.db-shm", "layers", "content"}));
  OpenedDatabase out;
  ASSIGN_OR_RETURN(out.database, Database::Open(path));
  out.loss = fmt::format(
      "{}: what it knew is lost. Layers, image documents and what is left of the database are in {}; images have to be "
      "pulled again. Containers that ran go on, but davitd does not know them: end them by their monitors "
      "(davit-monitor) or restart the node, then delete that directory",
      why, target);
  LogError("{}", out.loss);
  return out;
}

}  // namespace davit::store
