// Opening the database of a root that may have lost it.
//
// A root without its database looks like a new one, and everything in it like waste that nobody names. So when the
// file is missing or damaged while the root has layers or containers, what is there is set aside under
// <root>/quarantine/ and never deleted: mounts of running containers go on, for a rename does not touch them.
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
// be moved. Errors are those of Database::Open, but for kDataLoss, and of the moves.
Result<OpenedDatabase> OpenDatabase(const std::string& root);

}  // namespace davit::store
