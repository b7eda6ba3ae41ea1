// The directory of network configurations: which file is the node's network, and what is wrong with
// the others. And the inotify watch that says when to look again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "network/config.h"
#include "sys/unique_fd.h"

namespace davit::network {

// An immutable reading of the directory.
struct ConfigSnapshot {
  struct Rejected {
    std::string file;  // name in the directory
    std::string why;
  };

  std::string directory;
  std::string missing;                  // why the directory could not be read; empty when it could
  std::string file;                     // name of the chosen file; empty when there is none
  std::optional<NetworkConfig> config;  // without "loopback" plugins
  std::vector<Rejected> rejected;
};

// The first valid file in lexical order among *.conf, *.conflist and *.json is chosen; those after it
// are not read. At most 256 files; files of other kinds, names that begin with '.' and files over
// kMaxConfigBytes are not taken. Reads the disk.
ConfigSnapshot ReadConfigDirectory(const std::string& directory);

// Watches a directory that may not exist yet: then its nearest existing parent.
class DirectoryWatch {
 public:
  static Result<DirectoryWatch> Create(std::string directory);

  [[nodiscard]] int fd() const { return inotify_.get(); }  // readable when something happened
  // Takes the events and moves the watch to where it belongs now. True when the directory's content
  // may have changed. Never blocks.
  bool Drain();
  // Where the watch is now; for tests and diagnosis.
  [[nodiscard]] const std::string& watched() const { return watched_; }

 private:
  DirectoryWatch(std::string directory, sys::UniqueFd inotify)
      : directory_(std::move(directory)), inotify_(std::move(inotify)) {}
  Status Arm();
  Status WatchPath(const std::string& path);

  std::string directory_;
  sys::UniqueFd inotify_;
  std::string watched_;
  int descriptor_ = -1;
};

}  // namespace davit::network
