#include "store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <optional>

#include "base/fault.h"
#include "base/log.h"
#include "base/strings.h"
#include "store/copies.h"
#include "store/shared_sync.h"
#include "store/sqlite.h"
#include "sys/file_lock.h"
#include "sys/unique_fd.h"

namespace davit::store {
namespace {

// "DAVT": tells the file from other programs' databases.
constexpr int kApplicationId = 0x44415654;

// Pages of 4 KiB in the write-ahead log before a commit that waits for the disk anyway, or at last any
// commit, moves them into the main file.
constexpr int kCheckpointPages = 500;
constexpr int kCheckpointPagesAtLast = 2000;

// What the log may hold before it is moved into the main file, and what the main file may then grow by.
constexpr off_t kLogReserve = 8 << 20;  // kCheckpointPagesAtLast, and journal_size_limit
constexpr off_t kMainReserve = 4 << 20;

// kUpgrades[v] brings a file of schema v to v + 1; 0 is the empty file, so creating one and upgrading
// one is the same code. A rowid table and not one keyed by the id: bodies of some kilobytes would make
// every page of an index a chain of overflow pages.
constexpr std::array<std::string_view, Database::kSchemaVersion> kUpgrades = {
    "CREATE TABLE pod(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);"
    "CREATE TABLE container(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);"
    "CREATE TABLE image(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);"
    "CREATE TABLE layer(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);"
    "CREATE TABLE intent(seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);",
};

Status CheckIdentity(const Connection& connection, int version, int tables) {
  if (version == 0 && tables == 0) return {};
  ASSIGN_OR_RETURN(int application, connection.QueryInt("PRAGMA application_id"));
  if (application != kApplicationId) {
    return FailedPrecondition(fmt::format("{} is a database of another program", connection.path()));
  }
  if (version > Database::kSchemaVersion) {
    return FailedPrecondition(
        fmt::format("database {} has schema {}, and this program reads up to {}: it was written by a newer release, "
                    "so run that one, or move the file away to start with an empty one",
                    connection.path(), version, Database::kSchemaVersion));
  }
  return {};
}

// One transaction for all steps and the new version number.
Status Upgrade(const Connection& connection, int from) {
  std::string sql = "BEGIN IMMEDIATE;";
  for (size_t step = static_cast<size_t>(from); step < kUpgrades.size(); ++step) sql += kUpgrades[step];
  sql +=
      fmt::format("PRAGMA application_id={};PRAGMA user_version={};COMMIT;", kApplicationId, Database::kSchemaVersion);
  Status done = connection.Execute(sql);
  if (!done.ok() && connection.InTransaction()) {
    Status undo = connection.Execute("ROLLBACK");
    if (!undo.ok()) done = done.WithUndoError(undo);
  }
  return done;
}

Status PrepareFile(const Connection& connection, Database::Origin origin) {
  // Reading the version before anything else: switching a foreign file to WAL would change it.
  ASSIGN_OR_RETURN(int version, connection.QueryInt("PRAGMA user_version"));
  ASSIGN_OR_RETURN(int tables, connection.QueryInt("SELECT count(*) FROM sqlite_schema"));
  Status identity = CheckIdentity(connection, version, tables);
  if (!identity.ok() && origin == Database::Origin::kOwn) return connection.Damaged(identity.message());
  RETURN_IF_ERROR(identity);
  ASSIGN_OR_RETURN(std::string verdict, connection.QueryText("PRAGMA quick_check(1)"));
  if (verdict != "ok") return connection.Damaged(Printable(verdict));
  ASSIGN_OR_RETURN(std::string journal, connection.QueryText("PRAGMA journal_mode=WAL"));
  if (journal != "wal") {
    return FailedPrecondition(fmt::format("database {}: the filesystem cannot hold a write-ahead log (journal mode {})",
                                          connection.path(), journal));
  }
  RETURN_IF_ERROR(
      connection.Execute("PRAGMA synchronous=NORMAL;PRAGMA cache_size=-256;PRAGMA journal_size_limit=8388608;"
                         "PRAGMA temp_store=MEMORY"));
  if (version < Database::kSchemaVersion) return Upgrade(connection, version);
  return {};
}

// The file exists before SQLite opens it, so that it and the -wal and -shm files, which take its mode,
// are 0600 whatever the umask says.
Result<sys::UniqueFd> CreateFile(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return ErrnoError(errno, fmt::format("stat {}", path));
  if (!S_ISREG(info.st_mode)) return FailedPrecondition(fmt::format("{} is not a regular file", path));
  return file;
}

std::string DirectoryOf(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(dir.get()) != 0) return ErrnoError(errno, fmt::format("fsync {}", path));
  return {};
}

// The log lives from the first access in WAL mode until the last connection closes.
Result<sys::UniqueFd> OpenLog(const Connection& connection) {
  RETURN_IF_ERROR(connection.QueryInt("SELECT count(*) FROM sqlite_schema").status());
  return sys::Open(connection.path() + "-wal", O_RDWR | O_NOFOLLOW);
}

Status SyncLog(int fd, const std::string& path) {
  if (::fdatasync(fd) == 0) return {};
  return ErrnoError(errno, fmt::format("database {}: sync the log", path));
}

Result<sys::UniqueFd> Lock(const std::string& path) {
  Result<sys::UniqueFd> lock = sys::LockFile(path + ".lock");
  if (lock.code() != StatusCode::kFailedPrecondition) return lock;
  return FailedPrecondition(fmt::format("database {} is in use by another process", path));
}

}  // namespace

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kPod:
      return "pod";
    case Kind::kContainer:
      return "container";
    case Kind::kImage:
      return "image";
    case Kind::kLayer:
      return "layer";
    case Kind::kIntent:
      return "intent";
  }
  return "unknown";
}

// Durable commits: SQLite's own way (synchronous=FULL) would sync the log inside the commit, and every
// pod's record would wait behind an image's. So all commits are made with NORMAL, which leaves the log
// in order and unsynced, and those that must be durable sync the log file afterwards, outside the lock
// and together. SQLite syncs the log itself before a checkpoint and when it starts the log anew
// (sqlite.org/pragma.html, "synchronous"), so whatever happens in between, the commit is on the disk
// when the sync returns.
//
// Statements are prepared at first use: a node without images never prepares theirs.
struct Database::State {
  struct Statements {
    Statement put, erase, get, load;
  };

  sys::UniqueFd lock;
  sys::UniqueFd main;  // opened before and closed after SQLite's own: a close drops its locks (fcntl(2))
  sys::UniqueFd log;   // the write-ahead log; SQLite takes no locks on it that closing this could drop
  std::optional<SharedSync> log_sync;
  std::unique_ptr<Connection> connection;
  std::mutex mutex;  // `connection` and `statements`
  std::mutex checkpoint_mutex;
  std::unique_ptr<Connection> checkpointer;   // opened at first use; destroyed before `connection`
  std::array<Statements, kKinds> statements;  // destroyed before the connection
  std::optional<Copies> copies;               // set before other calls

  // Blocks behind the ends of both files, so that what frees space can be written down on a full disk. The log is
  // begun anew after a checkpoint and not shortened below journal_size_limit, so its blocks stay. Where the
  // filesystem has no fallocate(2) there is no reserve.
  void Reserve() const {
    (void)::fallocate(log.get(), FALLOC_FL_KEEP_SIZE, 0, kLogReserve);
    struct stat info {};
    if (::fstat(main.get(), &info) != 0) return;
    (void)::fallocate(main.get(), FALLOC_FL_KEEP_SIZE, info.st_size, kMainReserve);
  }

  Statements& Of(Kind kind) { return statements[static_cast<size_t>(kind)]; }

  Result<Statement*> Ready(Statement& statement, Kind kind, fmt::format_string<std::string_view> sql) {
    if (!statement.prepared()) {
      ASSIGN_OR_RETURN(statement, connection->Prepare(fmt::format(sql, KindName(kind))));
    }
    return &statement;
  }

  Status Put(Kind kind, std::string_view id, std::string_view body) {
    ASSIGN_OR_RETURN(Statement * put, Ready(Of(kind).put, kind,
                                            "INSERT INTO {}(id, body) VALUES(?1, ?2) "
                                            "ON CONFLICT(id) DO UPDATE SET body=excluded.body"));
    Status bound = put->BindText(1, id);
    if (bound.ok()) bound = put->BindBytes(2, body);
    Result<bool> row = bound.ok() ? put->Step() : Result<bool>(bound);
    put->Reset();
    return row.status();
  }

  Status Erase(Kind kind, std::string_view id) {
    ASSIGN_OR_RETURN(Statement * erase, Ready(Of(kind).erase, kind, "DELETE FROM {} WHERE id=?1"));
    Status bound = erase->BindText(1, id);
    Result<bool> row = bound.ok() ? erase->Step() : Result<bool>(bound);
    erase->Reset();
    return row.status();
  }

  // Into the main file; outside `mutex`, because it waits for the disk three times. On a connection of
  // its own, so that commits go on meanwhile.
  void Checkpoint() {
    std::lock_guard guard(checkpoint_mutex);
    Status done;
    if (!checkpointer) {
      Result<std::unique_ptr<Connection>> opened = Connection::Open(connection->path());
      done = opened.status();
      // A connection that has read nothing does not know of the log, and its checkpoint does nothing.
      if (opened.ok()) done = (*opened)->QueryInt("SELECT count(*) FROM sqlite_schema").status();
      if (done.ok()) checkpointer = std::move(*opened);
    }
    if (done.ok()) done = checkpointer->Checkpoint();
    // The commit before it stands; the log only grows until the next one.
    if (!done.ok()) LogWarning("{}", done.message());
    Reserve();
  }

  // `write` makes the changes, inside a transaction when there are several.
  template <class Write>
  Status Transact(bool several, Write write) {
    Status done = several ? connection->Execute("BEGIN IMMEDIATE") : Status();
    if (done.ok()) done = write();
    if (done.ok() && several) {
      FaultPoint("store.database.uncommitted");
      done = connection->Execute("COMMIT");
    }
    // A full disk may have ended the transaction already.
    if (!done.ok() && connection->InTransaction()) {
      Status undo = connection->Execute("ROLLBACK");
      if (!undo.ok()) done = done.WithUndoError(undo);
    }
    return done;
  }

  template <class Write>
  Status Commit(Durability durability, bool several, Write write) {
    int log_pages = 0;
    auto commit = [&]() -> Status {
      std::lock_guard guard(mutex);
      RETURN_IF_ERROR(Transact(several, write));
      log_pages = connection->log_pages();
      return {};
    };
    Status committed = commit();
    if (committed.code() == StatusCode::kResourceExhausted) {
      // The log has used its reserve up: moved into the main file, it begins at its start again.
      Checkpoint();
      committed = commit();
    }
    RETURN_IF_ERROR(committed);
    FaultPoint("store.database.committed");
    bool durable = durability == Durability::kDurable;
    if (durable) RETURN_IF_ERROR(log_sync->Wait());
    if (log_pages >= (durable ? kCheckpointPages : kCheckpointPagesAtLast)) Checkpoint();
    return {};
  }
};

namespace {

Status CheckRecord(Kind kind, std::string_view id, size_t body_size) {
  if (id.empty() || id.size() > Database::kMaxIdBytes || id.find('\0') != std::string_view::npos) {
    return InvalidArgument(fmt::format("{} record: id \"{}\" is empty, longer than {} bytes or has a zero byte",
                                       KindName(kind), Printable(id), Database::kMaxIdBytes));
  }
  if (body_size > Database::kMaxBodyBytes) {
    return InvalidArgument(fmt::format("{} record {}: {} bytes are more than {}", KindName(kind), Printable(id),
                                       body_size, Database::kMaxBodyBytes));
  }
  return {};
}

}  // namespace

Database::Database(std::unique_ptr<State> state) : state_(std::move(state)) {}
Database::~Database() = default;

Result<std::unique_ptr<Database>> Database::Open(const std::string& path, Origin origin) {
  std::string dir = DirectoryOf(path);
  RETURN_IF_ERROR(sys::MakeDirectories(dir, 0700));
  auto state = std::make_unique<State>();
  ASSIGN_OR_RETURN(state->lock, Lock(path));
  ASSIGN_OR_RETURN(state->main, CreateFile(path));
  ASSIGN_OR_RETURN(state->connection, Connection::Open(path));
  RETURN_IF_ERROR(PrepareFile(*state->connection, origin));
  ASSIGN_OR_RETURN(state->log, OpenLog(*state->connection));
  state->log_sync.emplace([fd = state->log.get(), path] { return SyncLog(fd, path); });
  RETURN_IF_ERROR(state->log_sync->Wait());
  RETURN_IF_ERROR(SyncDirectory(dir));
  state->Reserve();
  return std::unique_ptr<Database>(new Database(std::move(state)));
}

Status Database::Put(Kind kind, std::string_view id, std::string_view body, Durability durability) {
  Batch batch;
  batch.Put(kind, std::string(id), std::string(body));
  return Apply(batch, durability).Annotate(fmt::format("put {} {}", KindName(kind), Printable(id)));
}

Status Database::Delete(Kind kind, std::string_view id, Durability durability) {
  Batch batch;
  batch.Delete(kind, std::string(id));
  return Apply(batch, durability).Annotate(fmt::format("delete {} {}", KindName(kind), Printable(id)));
}

Status Database::Apply(const Batch& batch, Durability durability) {
  if (batch.empty()) return {};
  for (const Batch::Change& change : batch.changes_) {
    RETURN_IF_ERROR(CheckRecord(change.kind, change.id, change.body ? change.body->size() : 0));
  }
  const bool several = batch.changes_.size() > 1;
  auto write = [&]() -> Status {
    for (const Batch::Change& change : batch.changes_) {
      RETURN_IF_ERROR(change.body ? state_->Put(change.kind, change.id, *change.body)
                                  : state_->Erase(change.kind, change.id));
      if (several) FaultPoint("store.database.change");
    }
    return {};
  };
  Status done;
  if (state_->copies) {
    for (const Batch::Change& change : batch.changes_) {
      if (done.ok()) {
        done = change.body ? state_->copies->BeforePut(change.kind, change.id, *change.body, durability)
                           : state_->copies->BeforeDelete(change.kind, change.id, durability);
      }
    }
  }
  if (done.ok()) done = state_->Commit(durability, several, write);
  if (state_->copies) {
    for (const Batch::Change& change : batch.changes_) {
      // A failed sync leaves the change made, so the row is asked.
      const bool put = change.body.has_value();
      const bool there = !done.ok() && !put && Get(change.kind, change.id).ok();
      if (done.ok() || !put) state_->copies->After(change.kind, change.id, put, !there);
    }
  }
  return several ? done.Annotate(fmt::format("apply {} changes", batch.changes_.size())) : done;
}

Result<std::string> Database::KeepCopies(const Copies& copies, const std::string& quarantine) {
  RETURN_IF_ERROR(copies.Prepare());
  std::string loss;
  for (Kind kind : {Kind::kPod, Kind::kContainer, Kind::kImage, Kind::kLayer}) {
    ASSIGN_OR_RETURN(std::vector<Record> rows, LoadAll(kind));
    ASSIGN_OR_RETURN(Copies::Verdict verdict, copies.Compare(kind, rows, quarantine));
    for (const Record& record : verdict.lost) {
      LogError("database {}: the record of {} {} is lost or damaged: taken from its copy", path(), KindName(kind),
               record.id);
      RETURN_IF_ERROR(Put(kind, record.id, record.body, Durability::kDurable));
    }
    if (!verdict.lost.empty()) {
      loss += fmt::format("{}{} {} record(s) that it had lost were taken from their copies", loss.empty() ? "" : "; ",
                          verdict.lost.size(), KindName(kind));
    }
    for (const std::string& file : verdict.damaged) {
      LogError("{} is damaged and was moved to {}", file, quarantine);
      loss += fmt::format("{}the copy {} is damaged and was moved to {}", loss.empty() ? "" : "; ", file, quarantine);
    }
  }
  RETURN_IF_ERROR(copies.MarkComplete());
  state_->copies.emplace(copies);
  return loss;
}

Result<std::string> Database::Get(Kind kind, std::string_view id) const {
  RETURN_IF_ERROR(CheckRecord(kind, id, 0));
  std::lock_guard guard(state_->mutex);
  ASSIGN_OR_RETURN(Statement * get, state_->Ready(state_->Of(kind).get, kind, "SELECT body FROM {} WHERE id=?1"));
  Status bound = get->BindText(1, id);
  Result<bool> row = bound.ok() ? get->Step() : Result<bool>(bound);
  std::string body = row.ok() && *row ? get->Column(0) : std::string();
  get->Reset();
  if (!row.ok()) return row.status();
  if (!*row) return NotFound(fmt::format("no {} record {}", KindName(kind), Printable(id)));
  return body;
}

Result<std::vector<Record>> Database::LoadAll(Kind kind) const {
  std::lock_guard guard(state_->mutex);
  ASSIGN_OR_RETURN(Statement * load,
                   state_->Ready(state_->Of(kind).load, kind, "SELECT id, body FROM {} ORDER BY seq"));
  std::vector<Record> records;
  Result<bool> row = load->Step();
  while (row.ok() && *row) {
    records.push_back({load->Column(0), load->Column(1)});
    row = load->Step();
  }
  load->Reset();
  if (!row.ok()) return row.status().Annotate(fmt::format("load all {} records", KindName(kind)));
  return records;
}

const std::string& Database::path() const { return state_->connection->path(); }

}  // namespace davit::store
