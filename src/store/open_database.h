// Opening the database of a root that may have lost it, or a part of it.
//
// A root without its database looks like a new one, and everything in it like waste that nobody names. So when the
// file is missing or damaged in a root that has had one, it is set aside under <root>/quarantine/ and a new one is
// made of the copies of its records (copies.h), which also give back single records that are lost or damaged. What no
// copy names of the layers, and all of them in a root that has no copies yet, is set aside too and never deleted:
// mounts of running containers go on, for a rename does not touch them.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "store/database.h"

namespace davit::store {

struct OpenedDatabase {
  std::unique_ptr<Database> database;
  std::string loss;  // what happened and what to do, for people; empty: nothing is lost
};

// Opens <root>/davit.db. Before anything else opens a part of the root: the directories `layers` and `content` may
// be moved. `state` is the directory that dies with the boot. Errors are those of Database::Open, but for kDataLoss,
// and of the moves.
Result<OpenedDatabase> OpenDatabase(const std::string& root, const std::string& state);

}  // namespace davit::store
