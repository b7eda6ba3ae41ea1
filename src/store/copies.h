// Copies: a file beside the database for each record of a pod, a container, an image and a layer.
//
// The database is where davitd reads and writes; the copies tell after a damage what was in it. A change leaves them
// in an order that says, after SIGKILL or a loss of power at any instant, whether the database had it:
//
//   put      <id>~new is written, the database commits, <id>~new becomes <id>
//   delete   <id> becomes <id>~del, the database commits, <id>~del goes
//
// So an <id> that the database does not have, or has otherwise, is one that the database has lost. Copies of pods and
// containers are in <state>, which dies with the boot as they do; those of images and layers are in <root>.
// Format: docs/formats/store.md. Internal to store/.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/database.h"

namespace davit::store {

class Copies {
 public:
  // Where they are: <root>/records/{image,layer}, <state>/records/{pod,container}. Nothing is made yet.
  Copies(std::string root, std::string state) : root_(std::move(root)), state_(std::move(state)) {}

  // Makes the directories.
  Status Prepare() const;
  // For records of this kind under such a name there is a copy.
  [[nodiscard]] static bool Covers(Kind kind, std::string_view id);

  // The steps around a commit. A copy that cannot be written (a full disk) is done without, and does not fail its
  // record: then none is left, for an old one would be taken for what the database has lost.
  Status BeforePut(Kind kind, std::string_view id, std::string_view body, Durability durability) const;
  Status BeforeDelete(Kind kind, std::string_view id, Durability durability) const;
  // `committed`: whether the database has the change. A put that failed is settled by the next start.
  void After(Kind kind, std::string_view id, bool put, bool committed) const;

  // What the copies say of `rows`, and the copies made as the rows say where they have nothing to say.
  struct Verdict {
    std::vector<Record> lost;          // to be put into the database
    std::vector<std::string> damaged;  // files, moved to `quarantine`, of which no row is left
  };
  Result<Verdict> Compare(Kind kind, const std::vector<Record>& rows, const std::string& quarantine) const;

  // Whether every record had a copy once: the mark that this root has had a database of this schema.
  [[nodiscard]] bool Complete() const;
  Status MarkComplete() const;

 private:
  [[nodiscard]] std::string DirectoryOf(Kind kind) const;
  [[nodiscard]] std::string PathOf(Kind kind, std::string_view id) const;

  std::string root_;
  std::string state_;
};

}  // namespace davit::store
