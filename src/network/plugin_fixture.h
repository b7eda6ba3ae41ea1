// For tests: a private directory, and plugins that are shell scripts which write down how they were
// called.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/strings.h"
#include "sys/atomic_file.h"

namespace davit::network {

class TempDir {
 public:
  TempDir() {
    const char* base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/davit-network-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << path_;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { IgnoreError(sys::RemoveTree(path_)); }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string Join(const std::string& name) const { return path_ + "/" + name; }

  void Write(const std::string& name, const std::string& text, unsigned mode = 0644) const {
    Status written = sys::WriteFileAtomic(Join(name), text, mode, sys::Durability::kAtomic);
    EXPECT_TRUE(written.ok()) << written.ToString();
    ::chmod(Join(name).c_str(), mode);  // whatever the umask
  }
  [[nodiscard]] std::string Read(const std::string& name) const {
    std::ifstream file(Join(name));
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  std::string path_;
};

// A plugin directory. Each plugin appends "COMMAND name" to `calls`, leaves its stdin in
// NAME.COMMAND.in and its CNI_ environment in NAME.COMMAND.env, and then runs `body`.
class ScriptPlugins {
 public:
  void Add(const std::string& name, const std::string& body) const {
    std::string script = "#!/bin/sh\ncd " + dir_.path() + "\necho \"$CNI_COMMAND " + name +
                         "\" >> calls\n"
                         "cat > " +
                         name +
                         ".$CNI_COMMAND.in\n"
                         "env | grep ^CNI_ | sort > " +
                         name + ".$CNI_COMMAND.env\n" + body + "\n";
    dir_.Write(name, script, 0755);
  }
  // A plugin whose ADD gives this result.
  void AddWithResult(const std::string& name, const std::string& result) const {
    Add(name, "test $CNI_COMMAND != ADD || echo '" + result + "'");
  }
  [[nodiscard]] std::vector<std::string> Calls() const {
    std::vector<std::string> lines = Split(dir_.Read("calls"), '\n');
    lines.pop_back();
    return lines;
  }
  [[nodiscard]] std::string Input(const std::string& name, const std::string& command) const {
    return dir_.Read(name + "." + command + ".in");
  }
  [[nodiscard]] std::string Environment(const std::string& name, const std::string& command) const {
    return dir_.Read(name + "." + command + ".env");
  }
  [[nodiscard]] const TempDir& dir() const { return dir_; }

 private:
  TempDir dir_;
};

}  // namespace davit::network
