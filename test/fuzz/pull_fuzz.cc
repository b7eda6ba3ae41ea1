// Lines between davitd and davit-pull, which has read whatever a registry sent: what was understood can be
// written and read again.
#include <string>

#include "fuzz.h"
#include "image/pull_messages.h"

namespace image = davit::image;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  if (auto job = image::DecodeJob(text); job.ok()) {
    std::string line = image::EncodeJob(*job);
    FUZZ_REQUIRE(line.find('\n') == line.size() - 1);
    auto again = image::DecodeJob(line);
    FUZZ_REQUIRE(again.ok() && image::EncodeJob(*again) == line);
  }
  if (auto command = image::DecodeCommand(text); command.ok()) {
    std::string line = image::EncodeCommand(*command);
    FUZZ_REQUIRE(line.find('\n') == line.size() - 1);
    auto again = image::DecodeCommand(line);
    FUZZ_REQUIRE(again.ok() && image::EncodeCommand(*again) == line);
  }
  if (auto event = image::DecodeEvent(text); event.ok()) {
    std::string line = image::EncodeEvent(*event);
    FUZZ_REQUIRE(line.find('\n') == line.size() - 1);
    auto again = image::DecodeEvent(line);
    FUZZ_REQUIRE(again.ok() && image::EncodeEvent(*again) == line);
    if (const auto* error = std::get_if<image::ErrorEvent>(&*event)) FUZZ_REQUIRE(!image::StatusOf(*error).ok());
  }
  return 0;
}
