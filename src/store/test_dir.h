// TestDir: a directory for one test, removed with what is in it. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "base/strings.h"
#include "oci/digest.h"
#include "sys/atomic_file.h"
#include "sys/unique_fd.h"

namespace davit::store {

class TestDir {
 public:
  TestDir() {
    path_ = ::testing::TempDir() + "davit-store-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << "mkdtemp " << path_;
  }
  TestDir(const TestDir&) = delete;
  TestDir& operator=(const TestDir&) = delete;
  ~TestDir() {
    Status removed = sys::RemoveTree(path_);
    EXPECT_TRUE(removed.ok()) << removed.ToString();
  }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline void WriteText(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  ASSERT_TRUE(file.good()) << path;
}

inline std::string ReadText(const std::string& path) { return sys::ReadFile(path, 1 << 20).value_or("<unreadable>"); }

inline bool Exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

inline unsigned ModeOf(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

// A digest that differs for each `n`.
inline oci::Digest TestDigest(uint8_t n) {
  std::array<uint8_t, 32> bytes{};
  bytes.fill(n);
  return oci::Digest::FromSha256(bytes);
}

}  // namespace davit::store

#define ASSERT_OK(expr)                                                    \
  do {                                                                     \
    ::davit::Status davit_test_status_ = (expr);                           \
    ASSERT_TRUE(davit_test_status_.ok()) << davit_test_status_.ToString(); \
  } while (false)

#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  DAVIT_ASSERT_OK_AND_ASSIGN_INNER(DAVIT_CONCAT(davit_test_result_, __COUNTER__), lhs, expr)
#define DAVIT_ASSERT_OK_AND_ASSIGN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                     \
  ASSERT_TRUE(tmp.ok()) << tmp.status().ToString();      \
  lhs = std::move(*tmp)
