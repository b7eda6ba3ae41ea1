// The monitor's protocol: one message is one SOCK_SEQPACKET packet (docs/formats/monitor-protocol.md).
//
// Hand-written tag-length-value, because the monitor links no protobuf or JSON. Unknown tags are skipped,
// so that a new davitd can talk to the monitors that an old one left running, and the other way round.
// No syscalls here: pure encoding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "monitor/client.h"

namespace davit::monitor {

inline constexpr uint8_t kProtocolVersion = 1;
inline constexpr size_t kMaxPacketBytes = 128 * 1024;    // of the socket; its default buffer takes 208 KiB
inline constexpr size_t kMaxOptionsBytes = 1024 * 1024;  // of the launch options, which go by memfd
inline constexpr size_t kMaxStrings = 16384;             // in one list
inline constexpr int kMaxFds = 3;                        // with one packet

// Descriptors that a launched monitor inherits.
inline constexpr int kListenFd = 3;
inline constexpr int kOptionsFd = 4;

enum class RequestType : uint8_t {
  kQuery = 1,  // reply: state
  kStart,      // reply: state, when the start is over
  kWatch,      // replies: a state each
  kSignal,     // reply
  kReopenLog,  // reply
  kResize,     // reply
  kExec,       // replies: started (with the terminal), then ended
  kAttach,     // reply, then end of file at the end
  kDestroy,    // reply
  kExecKill,   // only on a connection that did kExec; its ended reply answers it
};

struct Request {
  RequestType type = RequestType::kQuery;
  int signal = 0;
  bool all = false;
  uint16_t width = 0;
  uint16_t height = 0;
  // kExec: fd members of `exec`, and kAttach: of `attach`, are 0 when a descriptor was sent and -1 when
  // not; the descriptors come with the packet in the order stdin, stdout, stderr.
  ExecOptions exec;
  AttachOptions attach;
};

struct Reply {
  Status status;
  State state;
  pid_t exec_pid = 0;  // > 0: exec started
  int exec_code = -1;  // >= 0: exec ended
};

std::string EncodeRequest(const Request& request);
std::string EncodeReply(const Reply& reply);
std::string EncodeLaunchOptions(const LaunchOptions& options);

// kInvalidArgument when the text is not a whole message or breaks a cap; kUnimplemented for a request type
// or a version that this side does not know.
Result<Request> DecodeRequest(std::string_view packet);
Result<Reply> DecodeReply(std::string_view packet);
Result<LaunchOptions> DecodeLaunchOptions(std::string_view text);

}  // namespace davit::monitor
