// Documents of registries: indexes, manifests and image configurations. No text is two kinds of document,
// the caps hold, and what was read is safe to become a path, an argument or a variable.
#include <string>
#include <vector>

#include "fuzz.h"
#include "oci/image_spec.h"

namespace oci = davit::oci;

namespace {

void CheckDescriptor(const oci::Descriptor& descriptor) {
  FUZZ_REQUIRE(descriptor.size <= INT64_MAX);
  auto again = oci::Digest::Parse(descriptor.digest.ToString());
  FUZZ_REQUIRE(again.ok() && *again == descriptor.digest);
}

void CheckIndex(const oci::Index& index) {
  FUZZ_REQUIRE(index.manifests.size() <= oci::kMaxIndexManifests);
  for (const oci::Descriptor& descriptor : index.manifests) CheckDescriptor(descriptor);
  for (const char* architecture : {"amd64", "arm64", "arm"}) {
    auto chosen = oci::SelectPlatform(index, {architecture, "linux", "", ""});
    if (!chosen.ok()) continue;
    bool offered = false;
    for (const oci::Descriptor& descriptor : index.manifests) offered |= descriptor.digest == chosen->digest;
    FUZZ_REQUIRE(offered);
    FUZZ_REQUIRE(!chosen->platform || chosen->platform->os != "unknown");
  }
}

void CheckManifest(const oci::Manifest& manifest) {
  FUZZ_REQUIRE(manifest.layers.size() <= oci::kMaxLayers);
  CheckDescriptor(manifest.config);
  for (const oci::Descriptor& layer : manifest.layers) CheckDescriptor(layer);
  if (manifest.subject) CheckDescriptor(*manifest.subject);
}

void CheckText(const std::string& text) {
  FUZZ_REQUIRE(text.find('\0') == std::string::npos && text.size() <= oci::kMaxConfigStringBytes);
}

void CheckTexts(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) CheckText(text);
}

void CheckConfig(const oci::ImageConfig& config) {
  FUZZ_REQUIRE(config.diff_ids.size() <= oci::kMaxLayers);
  CheckText(config.user);
  CheckText(config.working_dir);
  CheckText(config.stop_signal);
  CheckTexts(config.env);
  CheckTexts(config.entrypoint);
  CheckTexts(config.cmd);
  CheckTexts(config.volumes);
  CheckTexts(config.shell);
  if (config.healthcheck) CheckTexts(config.healthcheck->test);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text = davit::fuzz::View(data, size);
  auto index = oci::ParseIndex(text);
  auto manifest = oci::ParseManifest(text);
  auto config = oci::ParseImageConfig(text);
  FUZZ_REQUIRE(!(index.ok() && manifest.ok()));
  if (index.ok()) CheckIndex(*index);
  if (manifest.ok()) CheckManifest(*manifest);
  if (config.ok()) CheckConfig(*config);

  auto kind = oci::DetectManifestKind(text, "");
  if (index.ok()) FUZZ_REQUIRE(kind.ok() && *kind == oci::ManifestKind::kIndex);
  if (manifest.ok()) FUZZ_REQUIRE(kind.ok() && *kind == oci::ManifestKind::kManifest);
  // What the registry announces can refuse a document, but never turn it into the other kind.
  auto as_index = oci::DetectManifestKind(text, oci::kMediaOciIndex);
  auto as_manifest = oci::DetectManifestKind(text, oci::kMediaDockerManifest);
  FUZZ_REQUIRE(!(as_index.ok() && as_manifest.ok()));
  if (as_index.ok()) FUZZ_REQUIRE(*as_index == oci::ManifestKind::kIndex);
  if (as_manifest.ok()) FUZZ_REQUIRE(*as_manifest == oci::ManifestKind::kManifest);
  return 0;
}
