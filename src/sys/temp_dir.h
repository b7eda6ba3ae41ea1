// TempDir: a directory that a test owns. For tests only.
#pragma once

#include <stdlib.h>

#include <string>

#include "sys/atomic_file.h"

namespace davit::sys {

class TempDir {
 public:
  TempDir() {
    std::string pattern = "/tmp/davit-sys-XXXXXX";
    if (::mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    if (!path_.empty()) IgnoreError(RemoveTree(path_));  // a test that left a mount has failed already
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string At(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace davit::sys
