#include "native/device_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>

namespace davit::native {
namespace {

// The program's answer, by a machine that knows the few instructions it is made of.
bool Allows(const BpfProgram& program, uint32_t type, uint32_t access, uint32_t major, uint32_t minor) {
  const uint32_t context[3] = {type | access << 16, major, minor};
  uint32_t registers[10] = {};
  for (size_t at = 0; at < program.size(); ++at) {
    bpf_insn one;
    std::memcpy(&one, &program[at], sizeof(one));
    uint32_t& target = registers[one.dst_reg];
    uint32_t source = BPF_SRC(one.code) == BPF_X ? registers[one.src_reg] : static_cast<uint32_t>(one.imm);
    switch (one.code & ~BPF_X) {
      case BPF_LDX | BPF_MEM | BPF_W:
        target = context[one.off / 4];
        break;
      case BPF_ALU | BPF_AND:
        target &= source;
        break;
      case BPF_ALU | BPF_RSH:
        target >>= source;
        break;
      case BPF_ALU | BPF_MOV:
      case BPF_ALU64 | BPF_MOV:
        target = source;
        break;
      case BPF_JMP | BPF_JNE:
        if (target != source) at += static_cast<size_t>(one.off);
        break;
      case BPF_JMP | BPF_JEQ:
        if (target == source) at += static_cast<size_t>(one.off);
        break;
      case BPF_JMP | BPF_EXIT:
        return registers[0] == 1;
      default:
        ADD_FAILURE() << "instruction " << int{one.code};
        return false;
    }
  }
  ADD_FAILURE() << "ran off its end";
  return false;
}

constexpr uint32_t kChar = BPF_DEVCG_DEV_CHAR;
constexpr uint32_t kBlock = BPF_DEVCG_DEV_BLOCK;
constexpr uint32_t kMknod = BPF_DEVCG_ACC_MKNOD;
constexpr uint32_t kRead = BPF_DEVCG_ACC_READ;
constexpr uint32_t kWrite = BPF_DEVCG_ACC_WRITE;

TEST(DeviceFilterTest, LastMatchingRuleDecides) {
  BpfProgram program = CompileDeviceRules({{true, 'c', 10, {}, "rw"}, {false, 'c', 10, 200, "w"}});
  EXPECT_TRUE(Allows(program, kChar, kRead | kWrite, 10, 229));
  EXPECT_FALSE(Allows(program, kChar, kMknod, 10, 229)) << "not asked for";
  EXPECT_FALSE(Allows(program, kBlock, kRead, 10, 229)) << "another type";
  EXPECT_FALSE(Allows(program, kChar, kRead | kWrite, 10, 200)) << "a part of it is forbidden";
  EXPECT_TRUE(Allows(program, kChar, kRead, 10, 200));
  EXPECT_FALSE(Allows(program, kChar, kRead, 11, 0)) << "no rule";
}

TEST(DeviceFilterTest, EveryContainerHasTheUsualOnes) {
  BpfProgram program = CompileDeviceRules(EffectiveDeviceRules({}));
  for (uint32_t minor : {3u, 5u, 7u, 8u, 9u}) EXPECT_TRUE(Allows(program, kChar, kRead | kWrite, 1, minor));
  EXPECT_TRUE(Allows(program, kChar, kRead | kWrite, 136, 7));
  EXPECT_TRUE(Allows(program, kBlock, kMknod, 8, 0));
  EXPECT_FALSE(Allows(program, kBlock, kRead, 8, 0)) << "a disk";
  EXPECT_FALSE(Allows(program, kChar, kRead, 1, 1)) << "/dev/mem";
}

TEST(DeviceFilterTest, AllMeansAll) {
  std::vector<oci::DeviceRule> rules = EffectiveDeviceRules({{true, 'a', {}, {}, "rwm"}});
  EXPECT_TRUE(Allows(CompileDeviceRules(rules), kBlock, kRead | kWrite | kMknod, 8, 0));
  BpfProgram none = CompileDeviceRules({{true, 'c', 1, 3, "rwm"}, {false, 'a', {}, {}, "rwm"}});
  EXPECT_FALSE(Allows(none, kChar, kRead, 1, 3)) << "what a later rule forbids";
}

}  // namespace
}  // namespace davit::native
