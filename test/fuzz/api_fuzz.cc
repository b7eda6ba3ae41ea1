// What clients of Docker's and Podman's API send behind a request's head: bodies of both creates, filters, paths, a
// build's query, Kubernetes' files, chunked bodies, keys to detach by. Nothing of it ends the process, what was
// accepted keeps its caps, and how the bytes were cut changes nothing.
//
// The first byte chooses the parser; the corpus has letters for them.
#include <string>
#include <vector>

#include "api/bridge.h"
#include "api/build_spec.h"
#include "api/create_spec.h"
#include "api/filters.h"
#include "api/kube_spec.h"
#include "api/log_frames.h"
#include "api/router.h"
#include "fuzz.h"
#include "http/chunked.h"

namespace api = davit::api;

namespace {

constexpr size_t kMaxName = 255;

void Create(std::string_view text, bool libpod) {
  auto document = api::JsonDocument::Parse(text);
  if (!document.ok()) return;
  auto spec = libpod ? api::LibpodCreate(document->root(), "") : api::DockerCreate(document->root(), "");
  if (!spec.ok()) return;
  const auto& options = spec->request.options();
  FUZZ_REQUIRE(!options.name().empty() && options.name().size() <= kMaxName);
  FUZZ_REQUIRE(options.name().find_first_of("/\n\0 ") == std::string::npos);
  for (const auto& port : spec->request.pod_config().port_mappings()) {
    FUZZ_REQUIRE(port.container_port() > 0 && port.container_port() <= 65535);
    FUZZ_REQUIRE(port.host_port() >= 0 && port.host_port() <= 65535);
  }
}

void Chunked(std::string_view text) {
  davit::http::ChunkedDecoder whole;
  std::string body;
  std::string_view rest = text;
  davit::Status status = whole.Decode(rest, body);
  FUZZ_REQUIRE(body.size() <= text.size());
  davit::http::ChunkedDecoder cut;
  std::string pieces;
  davit::Status last;
  size_t at = 0;
  for (; at < text.size() && last.ok() && !cut.done(); ++at) {
    std::string_view one = text.substr(at, 1);
    last = cut.Decode(one, pieces);
  }
  FUZZ_REQUIRE(last.ok() == status.ok() && cut.done() == whole.done());
  if (status.ok()) FUZZ_REQUIRE(pieces == body);
  if (whole.done()) FUZZ_REQUIRE(rest.size() == text.size() - at);
}

void Keys(std::string_view text) {
  auto keys = api::ParseDetachKeys(text.substr(0, 16));
  if (!keys.ok()) return;
  std::string_view typed = text.substr(std::min<size_t>(16, text.size()));
  api::DetachScanner whole(*keys);
  std::string passed = whole.Filter(typed);
  api::DetachScanner cut(*keys);
  std::string pieces;
  for (char c : typed) {
    if (!cut.found()) pieces += cut.Filter(std::string_view(&c, 1));
  }
  FUZZ_REQUIRE(passed == pieces && whole.found() == cut.found());
}

void Logs(std::string_view text) {
  api::LogFrames whole({});
  std::string once = whole.Feed(text);
  once += whole.Finish();
  api::LogFrames cut({});
  std::string pieces;
  for (char c : text) pieces += cut.Feed(std::string_view(&c, 1));
  pieces += cut.Finish();
  FUZZ_REQUIRE(once == pieces);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  if (text.empty()) return 0;
  const char kind = text.front();
  text.remove_prefix(1);
  switch (kind) {
    case 'd':
      Create(text, false);
      break;
    case 'l':
      Create(text, true);
      break;
    case 'f': {
      auto filters = api::Filters::Parse(text, {"name", "label", "label!", "id", "until"});
      if (!filters.ok()) break;
      (void)filters->Begins("id", "0123456789ab");
      (void)filters->Labels(std::map<std::string, std::string>{{"a", "b"}});
      for (const std::string& until : filters->Values("until")) (void)api::ParseTimestamp(until, "until");
      break;
    }
    case 'p': {
      api::ApiPath path = api::SplitApiPath(text);
      FUZZ_REQUIRE(path.rest.size() <= text.size() && text.ends_with(path.rest));
      break;
    }
    case 'b': {
      api::Request request;
      request.head.query = {{"t", "a"}, {"buildargs", std::string(text)}, {"dockerfile", std::string(text)}};
      (void)api::ReadBuild(request);
      (void)api::ImagesOf(text, {{"X", "y"}});
      break;
    }
    case 'k':
      (void)api::ReadKube(text);
      break;
    case 'c':
      Chunked(text);
      break;
    case 't':
      Keys(text);
      break;
    case 'g':
      Logs(text);
      break;
    default:
      break;
  }
  return 0;
}
