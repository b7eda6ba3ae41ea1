#include "store/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cerrno>

#include "base/log.h"

namespace davit::store {

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Status Statement::BindText(int parameter, std::string_view text) {
  int code = sqlite3_bind_text64(statement_.get(), parameter, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return code == SQLITE_OK ? Status() : connection_->Error(code, "bind");
}

Status Statement::BindBytes(int parameter, std::string_view bytes) {
  // A null pointer would bind NULL, which an empty body is not.
  const char* data = bytes.data() != nullptr ? bytes.data() : "";
  int code = sqlite3_bind_blob64(statement_.get(), parameter, data, bytes.size(), SQLITE_STATIC);
  return code == SQLITE_OK ? Status() : connection_->Error(code, "bind");
}

Result<bool> Statement::Step() {
  int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return connection_->Error(code, "execute");
}

std::string Statement::Column(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);  // before _bytes: it may convert
  int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

int Statement::ColumnInt(int column) const { return sqlite3_column_int(statement_.get(), column); }

void Statement::Reset() {
  sqlite3_reset(statement_.get());  // repeats the error of the last Step, which was reported
  sqlite3_clear_bindings(statement_.get());
}

Connection::Connection(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_timeout(handle_, 2000);  // somebody's sqlite3 shell
  // Takes the place of SQLite's own checkpoint every 1,000 pages, which would make an atomic commit
  // wait for three syncs now and then.
  sqlite3_wal_hook(handle_, &Connection::OnCommit, this);
}

Connection::~Connection() {
  if (sqlite3_close_v2(handle_) != SQLITE_OK) LogWarning("close database {}: {}", path_, sqlite3_errmsg(handle_));
}

Result<std::unique_ptr<Connection>> Connection::Open(const std::string& path) {
  sqlite3* handle = nullptr;
  // The owner has a mutex, so SQLite's own are not needed.
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  int code = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  if (handle == nullptr) return ResourceExhausted(fmt::format("open database {}: out of memory", path));
  std::unique_ptr<Connection> connection(new Connection(path, handle));
  if (code != SQLITE_OK) return connection->Error(code, "open");
  return connection;
}

Result<Statement> Connection::Prepare(std::string_view sql) const {
  sqlite3_stmt* raw = nullptr;
  int code =
      sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  Statement statement;
  statement.connection_ = this;
  statement.statement_.reset(raw);
  if (code != SQLITE_OK) return Error(code, "prepare");
  return statement;
}

Status Connection::Execute(const std::string& sql) const {
  int code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Status() : Error(code, "execute");
}

Result<int> Connection::QueryInt(const std::string& sql) const {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(bool row, statement.Step());
  return row ? statement.ColumnInt(0) : 0;
}

Result<std::string> Connection::QueryText(const std::string& sql) const {
  ASSIGN_OR_RETURN(Statement statement, Prepare(sql));
  ASSIGN_OR_RETURN(bool row, statement.Step());
  return row ? statement.Column(0) : std::string();
}

bool Connection::InTransaction() const { return sqlite3_get_autocommit(handle_) == 0; }

int Connection::OnCommit(void* self, sqlite3*, const char*, int pages) {
  static_cast<Connection*>(self)->log_pages_ = pages;
  return SQLITE_OK;
}

Status Connection::Checkpoint() const {
  int code = sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  return code == SQLITE_OK ? Status() : Error(code, "checkpoint");
}

Status Connection::Damaged(std::string_view why) const {
  return DataLoss(
      fmt::format("database {} is damaged ({}): put back a copy of it, or move it and its -wal and -shm "
                  "files away to start with an empty one; nothing was changed",
                  path_, why));
}

Status Connection::Error(int code, std::string_view what) const {
  int primary = code & 0xff;
  std::string text = fmt::format("database {}: {}: {}", path_, what, sqlite3_errmsg(handle_));
  int err = sqlite3_system_errno(handle_);
  switch (primary) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Damaged(sqlite3_errmsg(handle_));
    case SQLITE_FULL:
      return ResourceExhausted(text);
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return ResourceExhausted(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Unavailable(text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return PermissionDenied(text);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      if (err == ENOSPC || err == EDQUOT) return ResourceExhausted(text);
      if (err != 0) return ErrnoError(err, text);
      return Internal(text);
    default:
      return Internal(text);
  }
}

}  // namespace davit::store
