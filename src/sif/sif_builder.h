// SIF files for tests, field by field, so that each can be wrong. What other tools write is in test/e2e/sif.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace davit::sif {

inline void PutInteger(std::string& to, size_t at, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) to[at + i] = static_cast<char>(value >> (8 * i) & 0xff);
}

class SifBuilder {
 public:
  explicit SifBuilder(std::string_view arch = "02") : file_(kData, '\0') {
    file_.replace(0, 31, "#!/usr/bin/env run-singularity\n");
    file_.replace(32, 9, "SIF_MAGIC");
    file_.replace(42, 2, "01");
    file_.replace(45, arch.size(), arch);
    for (size_t i = 0; i < 16; ++i) file_[48 + i] = static_cast<char>(i + 1);
    PutInteger(file_, 64, 1'600'000'000, 8);
    PutInteger(file_, 88, kSlots, 8);
    PutInteger(file_, 96, kTable, 8);
    PutInteger(file_, 104, kSlots * 585, 8);
    PutInteger(file_, 112, kData, 8);
  }

  // The offset of its descriptor.
  size_t Add(int32_t type, std::string_view name, std::string_view content, std::string_view extra = {},
             uint32_t link = 0) {
    file_.resize((file_.size() + 4095) / 4096 * 4096);
    const size_t at = kTable + used_++ * 585;
    PutInteger(file_, at, static_cast<uint32_t>(type), 4);
    file_[at + 4] = 1;
    PutInteger(file_, at + 5, used_, 4);
    PutInteger(file_, at + 9, 0xf0000001, 4);
    PutInteger(file_, at + 13, link, 4);
    PutInteger(file_, at + 17, file_.size(), 8);
    PutInteger(file_, at + 25, content.size(), 8);
    PutInteger(file_, at + 33, content.size(), 8);
    file_.replace(at + 73, name.size(), name);
    file_.replace(at + 201, extra.size(), extra);
    file_ += content;
    PutInteger(file_, 80, kSlots - used_, 8);
    return at;
  }
  size_t AddPartition(std::string_view content, int32_t filesystem = 1, int32_t type = 2,
                      std::string_view arch = "02") {
    std::string extra(11, '\0');
    PutInteger(extra, 0, static_cast<uint32_t>(filesystem), 4);
    PutInteger(extra, 4, static_cast<uint32_t>(type), 4);
    extra.replace(8, arch.size(), arch);
    return Add(0x4004, "root.squashfs", content, extra);
  }

  std::string& file() { return file_; }

 private:
  static constexpr size_t kSlots = 48, kTable = 4096, kData = 32768;
  std::string file_;
  size_t used_ = 0;
};

// A superblock that says what mksquashfs would of `bytes`.
inline std::string SquashfsSuperblock(uint64_t bytes) {
  std::string out(96, '\0');
  out.replace(0, 4, "hsqs");
  PutInteger(out, 4, 7, 4);
  PutInteger(out, 12, 1 << 17, 4);
  PutInteger(out, 20, 1, 2);
  PutInteger(out, 22, 17, 2);
  PutInteger(out, 28, 4, 2);
  PutInteger(out, 40, bytes, 8);
  for (size_t at = 48; at < 96; at += 8) PutInteger(out, at, ~uint64_t{0}, 8);
  return out;
}

}  // namespace davit::sif
