// SPDY/3.1 frames of a client: the caps hold, ids are 31 bits, and what is understood does not depend on how
// the network cuts the stream.
#include <algorithm>
#include <string>

#include "fuzz.h"
#include "http/spdy_frame.h"

namespace http = davit::http;

namespace {

// Writes down what it is told; pieces of one frame's data are joined, as their cut is the network's.
class Recorder final : public http::SpdyVisitor {
 public:
  void OnSynStream(uint32_t id, bool fin, bool unidirectional, const http::SpdyHeaders& headers) override {
    Headers("syn", id, fin, headers);
    text += unidirectional ? "u" : "b";
  }
  void OnSynReply(uint32_t id, bool fin, const http::SpdyHeaders& headers) override {
    Headers("reply", id, fin, headers);
  }
  void OnHeaders(uint32_t id, bool fin, const http::SpdyHeaders& headers) override {
    Headers("headers", id, fin, headers);
  }
  void OnDataPiece(uint32_t id, std::string_view bytes, bool fin) override {
    FUZZ_REQUIRE(id != 0 && id <= INT32_MAX);
    FUZZ_REQUIRE(!bytes.empty() || fin);
    if (id != data_id_) text += "\ndata " + std::to_string(id) + " ";
    data_id_ = fin ? 0 : id;
    text += bytes;
    if (fin) text += "\nfin";
  }
  void OnRstStream(uint32_t id, uint32_t code) override { Numbers("rst", id, code); }
  void OnPing(uint32_t id) override { Numbers("ping", 0, id); }
  void OnGoAway(uint32_t last_good_stream, uint32_t code) override { Numbers("goaway", last_good_stream, code); }
  void OnWindowUpdate(uint32_t id, uint32_t delta) override {
    FUZZ_REQUIRE(delta <= INT32_MAX);
    Numbers("window", id, delta);
  }

  std::string text;

 private:
  void Numbers(const char* what, uint32_t id, uint32_t number) {
    FUZZ_REQUIRE(id <= INT32_MAX);
    data_id_ = 0;
    text += std::string("\n") + what + " " + std::to_string(id) + " " + std::to_string(number);
  }
  void Headers(const char* what, uint32_t id, bool fin, const http::SpdyHeaders& headers) {
    FUZZ_REQUIRE(id != 0);
    FUZZ_REQUIRE(headers.size() <= http::kMaxSpdyHeaders);
    Numbers(what, id, fin ? 1 : 0);
    size_t bytes = 0;
    for (const auto& header : headers) {
      FUZZ_REQUIRE(!header.first.empty());
      FUZZ_REQUIRE(std::none_of(header.first.begin(), header.first.end(), [](char c) { return c >= 'A' && c <= 'Z'; }));
      bytes += header.first.size() + header.second.size();
      text += "\n " + header.first + ": " + header.second;
    }
    FUZZ_REQUIRE(bytes <= http::kMaxSpdyHeaderBlock);
    CheckEncoder(headers);
  }
  // Our own encoder writes what our decoder reads. The second frame uses the state that the first one left.
  static void CheckEncoder(const http::SpdyHeaders& headers) {
    http::SpdyHeaderDeflater deflater;
    http::SpdyHeaderInflater inflater;
    for (int i = 0; i < 2; ++i) {
      auto again = inflater.Inflate(deflater.Deflate(headers));
      FUZZ_REQUIRE(again.ok() && *again == headers);
    }
  }

  uint32_t data_id_ = 0;  // of the data frame that goes on; 0: none
};

struct Outcome {
  std::string text;
  davit::StatusCode code;
};

Outcome Decode(std::string_view bytes, size_t step) {
  Recorder recorder;
  http::SpdyDecoder decoder(recorder);
  davit::Status status;
  while (!bytes.empty() && status.ok()) {
    status = decoder.Decode(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  return {std::move(recorder.text), status.code()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes = davit::fuzz::View(data, size);
  Outcome whole = Decode(bytes, std::max<size_t>(size, 1));
  for (size_t step : {1, 7}) {
    Outcome cut = Decode(bytes, step);
    FUZZ_REQUIRE(cut.code == whole.code && cut.text == whole.text);
  }
  return 0;
}
