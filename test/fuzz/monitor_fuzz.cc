// Packets between davitd and davit-monitor and the files that either leaves for the other: the caps hold,
// and a message that was read and written once stays the same from then on.
#include <string>

#include "fuzz.h"
#include "monitor/protocol.h"
#include "monitor/state.h"

namespace monitor = davit::monitor;

namespace {

bool HasNul(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) return true;
  }
  return false;
}

void FuzzRequest(std::string_view text) {
  auto request = monitor::DecodeRequest(text);
  if (!request.ok()) return;
  FUZZ_REQUIRE(request->signal >= -1 && request->signal <= 64);
  FUZZ_REQUIRE(request->exec.argv.size() <= monitor::kMaxStrings && !HasNul(request->exec.argv));
  FUZZ_REQUIRE(!HasNul(request->exec.environment) && !HasNul({request->exec.pid_file}));
  std::string normal = monitor::EncodeRequest(*request);
  if (normal.size() > monitor::kMaxPacketBytes) return;  // flags that were left out are written
  auto again = monitor::DecodeRequest(normal);
  FUZZ_REQUIRE(again.ok() && monitor::EncodeRequest(*again) == normal);
}

void FuzzReply(std::string_view text) {
  auto reply = monitor::DecodeReply(text);
  if (!reply.ok()) return;
  std::string normal = monitor::EncodeReply(*reply);
  if (normal.size() > monitor::kMaxPacketBytes) return;
  auto again = monitor::DecodeReply(normal);
  FUZZ_REQUIRE(again.ok() && again->status == reply->status && again->state == reply->state);
}

void FuzzOptions(std::string_view text) {
  auto options = monitor::DecodeLaunchOptions(text);
  if (!options.ok()) return;
  FUZZ_REQUIRE(!HasNul(options->create_argv) && !HasNul(options->start_argv) && !HasNul(options->environment));
  FUZZ_REQUIRE(!HasNul({options->directory, options->log_path, options->pid_file, options->oom_file}));
  FUZZ_REQUIRE(options->max_log_line_bytes >= 256 && options->max_log_line_bytes <= 1 << 20);
  std::string normal = monitor::EncodeLaunchOptions(*options);
  if (normal.size() > monitor::kMaxOptionsBytes) return;
  auto again = monitor::DecodeLaunchOptions(normal);
  FUZZ_REQUIRE(again.ok() && monitor::EncodeLaunchOptions(*again) == normal);
}

void FuzzExitRecord(std::string_view text) {
  auto record = monitor::ParseExitRecord(text);
  if (!record.ok()) return;
  FUZZ_REQUIRE(record->code >= 0 && record->code <= 255);
  auto again = monitor::ParseExitRecord(monitor::FormatExitRecord(*record));
  FUZZ_REQUIRE(again.ok() && *again == *record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  FuzzRequest(text);
  FuzzReply(text);
  FuzzOptions(text);
  FuzzExitRecord(text);
  return 0;
}
