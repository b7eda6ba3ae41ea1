// A connection to one SQLite file and its prepared statements: what database.cc needs and no more.
// Internal to store/.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace davit::store {

class Connection;

// One prepared statement. Parameters are numbered from 1, columns from 0. Text and bytes that are
// bound belong to the caller and must live until Reset.
class Statement {
 public:
  Statement() = default;
  [[nodiscard]] bool prepared() const { return statement_ != nullptr; }

  Status BindText(int parameter, std::string_view text);
  Status BindBytes(int parameter, std::string_view bytes);
  // True when there is a row.
  Result<bool> Step();
  [[nodiscard]] std::string Column(int column) const;  // as bytes
  [[nodiscard]] int ColumnInt(int column) const;
  // Ready for the next use; drops what was bound.
  void Reset();

 private:
  friend class Connection;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  const Connection* connection_ = nullptr;  // outlives the statement
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// Not thread-safe.
class Connection {
 public:
  // Opens or creates the file; an unreadable header shows at the first statement.
  static Result<std::unique_ptr<Connection>> Open(const std::string& path);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Result<Statement> Prepare(std::string_view sql) const;
  // One or more statements whose rows do not matter.
  Status Execute(const std::string& sql) const;
  // The first column of the first row, as a number; 0 when there is no row.
  Result<int> QueryInt(const std::string& sql) const;
  Result<std::string> QueryText(const std::string& sql) const;

  [[nodiscard]] bool InTransaction() const;
  // Pages in the write-ahead log after the last commit.
  [[nodiscard]] int log_pages() const { return log_pages_; }
  // Moves the log into the main file as far as readers allow; syncs both.
  Status Checkpoint() const;

  // The error of SQLite's last call on this connection, with the code that fits.
  [[nodiscard]] Status Error(int code, std::string_view what) const;
  [[nodiscard]] Status Damaged(std::string_view why) const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  Connection(std::string path, sqlite3* handle);
  static int OnCommit(void* self, sqlite3* handle, const char* schema, int pages);

  std::string path_;
  sqlite3* handle_;
  int log_pages_ = 0;
};

}  // namespace davit::store
