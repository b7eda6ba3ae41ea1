// WebSocket frames, as a server and as a client reads them: messages begin and end in order, control frames
// are short, and what is understood does not depend on how the network cuts the stream.
#include <algorithm>
#include <string>

#include "fuzz.h"
#include "http/websocket_frame.h"

namespace http = davit::http;

namespace {

class Recorder final : public http::WebSocketVisitor {
 public:
  void OnMessagePiece(bool is_text, std::string_view bytes, bool first, bool last) override {
    FUZZ_REQUIRE(!closed && first != in_message_);
    in_message_ = !last;
    if (first) text += is_text ? "\ntext " : "\nbinary ";
    text += bytes;
    if (last) text += "\nend";
  }
  void OnPingFrame(std::string_view payload) override {
    FUZZ_REQUIRE(!closed && payload.size() <= 125);
    // Inside a message the network's cut decides between which pieces it comes: not part of the text.
    pings += std::string(payload) + "\n";
  }
  void OnCloseFrame(uint16_t code) override {
    FUZZ_REQUIRE(!closed);
    closed = true;
    text += "\nclose " + std::to_string(code);
  }

  std::string text;
  std::string pings;
  bool closed = false;

 private:
  bool in_message_ = false;
};

struct Outcome {
  std::string text;
  std::string pings;
  davit::StatusCode code;
};

Outcome Decode(std::string_view bytes, size_t step, bool server) {
  Recorder recorder;
  http::WebSocketDecoder decoder(recorder, server);
  davit::Status status;
  while (!bytes.empty() && status.ok()) {
    status = decoder.Decode(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  return {std::move(recorder.text), std::move(recorder.pings), status.code()};
}

// A frame of our own arrives as it was sent.
void CheckFrame(std::string_view payload, bool server) {
  http::WebSocketOpcode opcode = http::WebSocketOpcode::kBinary;
  Outcome got = Decode(http::WebSocketFrame(opcode, payload, server ? "mask" : ""), SIZE_MAX, server);
  FUZZ_REQUIRE(got.code == davit::StatusCode::kOk && got.text == "\nbinary " + std::string(payload) + "\nend");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes = davit::fuzz::View(data, size);
  for (bool server : {true, false}) {
    Outcome whole = Decode(bytes, SIZE_MAX, server);
    for (size_t step : {1, 7}) {
      Outcome cut = Decode(bytes, step, server);
      FUZZ_REQUIRE(cut.code == whole.code && cut.text == whole.text && cut.pings == whole.pings);
    }
    CheckFrame(bytes, server);
  }
  if (http::IsWebSocketKey(bytes)) FUZZ_REQUIRE(http::WebSocketAccept(bytes).size() == 28);
  return 0;
}
