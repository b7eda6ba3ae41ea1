// Replays a corpus without libFuzzer: NAME_corpus_test DIRECTORY-OR-FILE... Aborts with the first input that
// breaks an invariant; the last line printed names it.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fuzz.h"

namespace {

std::vector<std::string> Inputs(int argc, char** argv) {
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// In a buffer of its very size, so that a sanitizer sees the first byte read past the end.
bool Replay(const std::string& file) {
  std::printf("%s\n", file.c_str());
  std::fflush(stdout);
  std::FILE* in = std::fopen(file.c_str(), "rb");
  if (in == nullptr) return false;
  size_t size = std::filesystem::file_size(file);
  std::unique_ptr<uint8_t[]> bytes(new uint8_t[size]);
  bool whole = std::fread(bytes.get(), 1, size, in) == size;
  std::fclose(in);
  if (whole) LLVMFuzzerTestOneInput(bytes.get(), size);
  return whole;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> files = Inputs(argc, argv);
  if (files.empty()) {
    std::fprintf(stderr, "usage: %s DIRECTORY-OR-FILE...: no inputs found\n", argv[0]);
    return 2;
  }
  LLVMFuzzerTestOneInput(nullptr, 0);
  for (const std::string& file : files) {
    if (!Replay(file)) {
      std::fprintf(stderr, "cannot read %s\n", file.c_str());
      return 1;
    }
  }
  std::printf("%zu inputs\n", files.size());
  return 0;
}
