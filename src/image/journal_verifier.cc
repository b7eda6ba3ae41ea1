#include "image/journal_verifier.h"

#include "image/layer_export.h"

namespace davit::image {

Result<store::LayerFindings> JournalVerifier::Verify(const store::Layer& layer, const store::CheckProgress& progress) {
  if (layer.info.file) return NotFound("a file has no journal");
  auto told = [&](uint64_t bytes) { return progress(bytes) ? Status() : Cancelled("cancelled"); };
  uint64_t bytes = 0;
  Result<std::unique_ptr<LayerTar>> tar = LayerTar::Open(layer.path + "/..", [&] { return told(0); });
  const bool none = tar.code() == StatusCode::kFailedPrecondition || tar.code() == StatusCode::kUnimplemented ||
                    tar.code() == StatusCode::kNotFound;
  if (none) return NotFound(tar.status().message());
  Status checked = tar.status();
  if (tar.ok()) {
    checked = (*tar)->Check([&](uint64_t size) {
      bytes += size;
      return told(size);
    });
  }
  if (!checked.ok() && checked.code() != StatusCode::kDataLoss) return checked;
  store::LayerFindings findings;
  if (checked.ok()) {
    ASSIGN_OR_RETURN(findings, counts_.Verify(layer, progress));
  } else {
    findings.Add("", checked.message());
  }
  findings.method = "journal";
  findings.bytes += bytes;
  return findings;
}

}  // namespace davit::image
