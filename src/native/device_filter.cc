#include "native/device_filter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "sys/unique_fd.h"

namespace davit::native {
namespace {

using oci::DeviceRule;

inline constexpr size_t kMaxPrograms = 64;  // BPF_CGROUP_MAX_PROGS

bool AllowsAll(const DeviceRule& rule) {
  return rule.allow && rule.type == 'a' && !rule.major && !rule.minor && rule.access.size() >= 3;
}

std::string Number(const std::optional<int64_t>& number) { return number ? std::to_string(*number) : "*"; }

// --- the program ---

uint64_t Instruction(uint8_t code, uint8_t target, uint8_t source, int16_t offset, int32_t value) {
  bpf_insn one = {};
  one.code = code;
  one.dst_reg = target & 0xf;
  one.src_reg = source & 0xf;
  one.off = offset;
  one.imm = value;
  uint64_t bits = 0;
  std::memcpy(&bits, &one, sizeof(bits));
  return bits;
}

constexpr uint8_t kType = BPF_REG_2;
constexpr uint8_t kAccess = BPF_REG_3;
constexpr uint8_t kMajor = BPF_REG_4;
constexpr uint8_t kMinor = BPF_REG_5;

void Return(BpfProgram& program, bool allow) {
  program.push_back(Instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, allow ? 1 : 0));
  program.push_back(Instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

// The values of struct bpf_cgroup_dev_ctx, each in a register of its own.
void Load(BpfProgram& program) {
  program.push_back(Instruction(BPF_LDX | BPF_MEM | BPF_W, kType, BPF_REG_1, 0, 0));
  program.push_back(Instruction(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff));
  program.push_back(Instruction(BPF_LDX | BPF_MEM | BPF_W, kAccess, BPF_REG_1, 0, 0));
  program.push_back(Instruction(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, 16));
  program.push_back(Instruction(BPF_LDX | BPF_MEM | BPF_W, kMajor, BPF_REG_1, 4, 0));
  program.push_back(Instruction(BPF_LDX | BPF_MEM | BPF_W, kMinor, BPF_REG_1, 8, 0));
}

int32_t AccessBits(const std::string& access) {
  int32_t bits = 0;
  for (char c : access) {
    bits |= c == 'm' ? BPF_DEVCG_ACC_MKNOD : c == 'r' ? BPF_DEVCG_ACC_READ : BPF_DEVCG_ACC_WRITE;
  }
  return bits;
}

// One rule: a jump past it for each condition that does not hold, and then its answer. An allowing rule has to cover
// all of the access that is asked for; a forbidding one is meant by any part of it.
void AddRule(BpfProgram& program, const DeviceRule& rule) {
  BpfProgram body;
  std::vector<size_t> jumps;
  auto skip_unless_equal = [&](uint8_t reg, int32_t value) {
    jumps.push_back(body.size());
    body.push_back(Instruction(BPF_JMP | BPF_JNE | BPF_K, reg, 0, 0, value));
  };
  if (rule.type != 'a') skip_unless_equal(kType, rule.type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
  int32_t bits = AccessBits(rule.access);
  constexpr int32_t kAll = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
  if (bits != kAll) {
    body.push_back(Instruction(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, kAccess, 0, 0));
    body.push_back(Instruction(BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0, bits));
    jumps.push_back(body.size());
    body.push_back(rule.allow ? Instruction(BPF_JMP | BPF_JNE | BPF_X, BPF_REG_1, kAccess, 0, 0)
                              : Instruction(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_1, 0, 0, 0));
  }
  if (rule.major) skip_unless_equal(kMajor, static_cast<int32_t>(*rule.major));
  if (rule.minor) skip_unless_equal(kMinor, static_cast<int32_t>(*rule.minor));
  Return(body, rule.allow);
  for (size_t at : jumps) {
    bpf_insn one = {};
    std::memcpy(&one, &body[at], sizeof(one));
    one.off = static_cast<int16_t>(body.size() - at - 1);
    std::memcpy(&body[at], &one, sizeof(one));
  }
  program.insert(program.end(), body.begin(), body.end());
}

int Bpf(int command, bpf_attr& attr) { return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof(attr))); }

Result<sys::UniqueFd> LoadProgram(const BpfProgram& program) {
  bpf_attr attr = {};
  static constexpr char kLicense[] = "GPL";
  attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attr.insns = reinterpret_cast<uint64_t>(program.data());
  attr.insn_cnt = static_cast<uint32_t>(program.size());
  attr.license = reinterpret_cast<uint64_t>(kLicense);
  std::memcpy(attr.prog_name, "davit_devices", sizeof("davit_devices"));
  sys::UniqueFd fd(Bpf(BPF_PROG_LOAD, attr));
  if (!fd.valid()) return ErrnoError(errno, "load the program for devices");
  return fd;
}

std::vector<uint32_t> AttachedPrograms(int cgroup) {
  std::array<uint32_t, kMaxPrograms> ids{};
  bpf_attr attr = {};
  attr.query.target_fd = static_cast<uint32_t>(cgroup);
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = reinterpret_cast<uint64_t>(ids.data());
  attr.query.prog_cnt = ids.size();
  if (Bpf(BPF_PROG_QUERY, attr) != 0) return {};
  return {ids.begin(), ids.begin() + attr.query.prog_cnt};
}

Status Detach(int cgroup, uint32_t id) {
  bpf_attr attr = {};
  attr.prog_id = id;
  sys::UniqueFd program(Bpf(BPF_PROG_GET_FD_BY_ID, attr));
  if (!program.valid()) return errno == ENOENT ? Status() : ErrnoError(errno, "open the program for devices");
  attr = {};
  attr.target_fd = static_cast<uint32_t>(cgroup);
  attr.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  if (Bpf(BPF_PROG_DETACH, attr) != 0 && errno != ENOENT) return ErrnoError(errno, "detach the program for devices");
  return {};
}

}  // namespace

std::vector<DeviceRule> EffectiveDeviceRules(const std::vector<DeviceRule>& rules) {
  std::vector<DeviceRule> all = {{false, 'a', {}, {}, "rwm"}};
  all.insert(all.end(), rules.begin(), rules.end());
  if (AllowsAll(all.back())) return all;
  constexpr int kTty = 5;
  constexpr int kUnix98 = 136;  // Documentation/admin-guide/devices.txt: the slaves of pts
  all.push_back({true, 'c', {}, {}, "m"});
  all.push_back({true, 'b', {}, {}, "m"});
  for (int minor : {3, 5, 7, 8, 9}) all.push_back({true, 'c', 1, minor, "rwm"});  // null zero full random urandom
  all.push_back({true, 'c', kTty, 0, "rwm"});                                     // tty
  all.push_back({true, 'c', kTty, 2, "rwm"});                                     // ptmx
  all.push_back({true, 'c', kUnix98, {}, "rwm"});
  return all;
}

Status WriteDeviceLists(const std::string& directory, const std::vector<DeviceRule>& rules) {
  for (const DeviceRule& rule : rules) {
    const std::string file = directory + (rule.allow ? "/devices.allow" : "/devices.deny");
    // The kernel looks at nothing behind an "a".
    bool all = rule.type == 'a' && !rule.major && !rule.minor;
    std::vector<char> types = rule.type == 'a' ? std::vector<char>{'b', 'c'} : std::vector<char>{rule.type};
    if (all && rule.access.size() >= 3) {
      RETURN_IF_ERROR(sys::WriteValue(file, "a"));
      continue;
    }
    for (char type : types) {
      std::string line = fmt::format("{} {}:{} {}", type, Number(rule.major), Number(rule.minor), rule.access);
      RETURN_IF_ERROR(sys::WriteValue(file, line).Annotate("device rule " + line));
    }
  }
  return {};
}

BpfProgram CompileDeviceRules(const std::vector<DeviceRule>& rules) {
  BpfProgram program;
  Load(program);
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    AddRule(program, *rule);
    // What stands before a rule that fits everything is never reached, and the kernel refuses such code.
    bool everything = rule->type == 'a' && !rule->major && !rule->minor && rule->access.size() >= 3;
    if (everything) return program;
  }
  Return(program, false);
  return program;
}

Status AttachDeviceProgram(const std::string& directory, const BpfProgram& program) {
  ASSIGN_OR_RETURN(sys::UniqueFd cgroup, sys::Open(directory, O_DIRECTORY | O_RDONLY));
  ASSIGN_OR_RETURN(sys::UniqueFd loaded, LoadProgram(program));
  std::vector<uint32_t> before = AttachedPrograms(cgroup.get());
  bpf_attr attr = {};
  attr.target_fd = static_cast<uint32_t>(cgroup.get());
  attr.attach_bpf_fd = static_cast<uint32_t>(loaded.get());
  attr.attach_type = BPF_CGROUP_DEVICE;
  // All programs have to agree, so that the new one is attached first: at no instant is there none.
  attr.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, attr) != 0) return ErrnoError(errno, "attach the program for devices to " + directory);
  for (uint32_t id : before) RETURN_IF_ERROR(Detach(cgroup.get(), id));
  return {};
}

}  // namespace davit::native
