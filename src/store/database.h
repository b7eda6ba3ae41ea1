// Database: every record of the engine (pods, containers, images, layers, intents) in one SQLite file.
//
// Why a database and not a file per record: a batch is one transaction, so that a record and its
// intent change together or not at all, and SIGKILL at any point leaves the state before or after.
// Bodies are opaque here; their owners version and parse them. Schema: docs/formats/store.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/atomic_file.h"

namespace davit::store {

// kAtomic: whole after the process is killed, perhaps gone after a loss of power (no fsync: for what
// dies with the boot). kDurable: on the disk when the call returns.
using sys::Durability;

class Copies;

enum class Kind { kPod, kContainer, kImage, kLayer, kIntent };
inline constexpr size_t kKinds = 5;

// "pod", "container", ...: also the name of the table.
std::string_view KindName(Kind kind);

struct Record {
  std::string id;
  std::string body;

  friend bool operator==(const Record&, const Record&) = default;
};

// Changes that are made together.
class Batch {
 public:
  void Put(Kind kind, std::string id, std::string body) { changes_.push_back({kind, std::move(id), std::move(body)}); }
  void Delete(Kind kind, std::string id) { changes_.push_back({kind, std::move(id), std::nullopt}); }
  [[nodiscard]] bool empty() const { return changes_.empty(); }

 private:
  friend class Database;
  struct Change {
    Kind kind;
    std::string id;
    std::optional<std::string> body;  // none: delete
  };
  std::vector<Change> changes_;
};

// Thread-safe. Calls block (20 µs an atomic commit, 0.2 ms a durable one on an idle fast disk), so they
// belong on a pool and never on an event loop. An atomic commit never waits for another's sync.
//
// A full disk: both files have blocks in reserve (12 MiB, where the filesystem has fallocate(2)), so that records
// can be changed and deleted, which is how space gets free again.
//
// Error codes of all calls: kResourceExhausted when the disk is full and the reserve used up, kDataLoss when the file
// is damaged (naming it and the way out; nothing is ever wiped), kUnavailable when another program keeps it locked,
// kInternal for other errors of the disk. A failed write has changed nothing, with one exception: when the sync of a
// durable commit fails, the change stands until the power goes.
class Database {
 public:
  static constexpr int kSchemaVersion = 1;
  static constexpr size_t kMaxIdBytes = 1024;
  static constexpr size_t kMaxBodyBytes = size_t{16} << 20;

  // Opens or creates the file (0600) and its directory (0700) and checks the file's structure. A file
  // of the version before is brought to this one in one transaction.
  // kFailedPrecondition: the file has a newer schema, is some other program's database, or is in use
  // by another process (flock(2) on <path>.lock, held as long as this object lives).
  // kOwn: the caller knows that davitd made the file, so that one which says otherwise is damaged (kDataLoss).
  enum class Origin { kUnknown, kOwn };
  static Result<std::unique_ptr<Database>> Open(const std::string& path, Origin origin = Origin::kUnknown);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Inserts or replaces. kInvalidArgument: empty or too long id, too long body.
  Status Put(Kind kind, std::string_view id, std::string_view body, Durability durability);
  // OK also when there is no such record.
  Status Delete(Kind kind, std::string_view id, Durability durability);
  // All changes in order, in one transaction. An empty batch is OK and writes nothing.
  Status Apply(const Batch& batch, Durability durability);

  // kNotFound naming kind and id.
  Result<std::string> Get(Kind kind, std::string_view id) const;
  // In the order in which the records were first put (a replaced record keeps its place).
  Result<std::vector<Record>> LoadAll(Kind kind) const;

  // Puts what the copies have and the file has lost, and keeps copies of all changes from now on. Once, before all
  // other calls. Returns what was lost, for people; empty: nothing. Damaged copies go to `quarantine`.
  Result<std::string> KeepCopies(const Copies& copies, const std::string& quarantine);

  [[nodiscard]] const std::string& path() const;

 private:
  struct State;
  explicit Database(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace davit::store
