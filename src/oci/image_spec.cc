#include "oci/image_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/strings.h"
#include "oci/descriptor_json.h"
#include "oci/json.h"

namespace davit::oci {
namespace {

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// A Content-Type may carry parameters: "type/subtype; charset=utf-8".
std::string BareMediaType(std::string_view type) { return Lower(Trim(type.substr(0, type.find(';')))); }

std::optional<ManifestKind> KindOfMediaType(std::string_view type) {
  if (IsIndexMediaType(type)) return ManifestKind::kIndex;
  if (IsManifestMediaType(type)) return ManifestKind::kManifest;
  return std::nullopt;
}

std::string_view KindName(ManifestKind kind) { return kind == ManifestKind::kIndex ? "an index" : "a manifest"; }

// Go's JSON decoder, which other tools verify and scan images with, takes "Layers" for "layers". A
// document that means one thing to them and another to us is refused.
Status CheckKeySpelling(const JsonNode& root) {
  static constexpr std::array<std::string_view, 6> kKeys = {"layers",    "manifests",     "config",
                                                            "mediaType", "schemaVersion", "fsLayers"};
  ASSIGN_OR_RETURN(std::vector<std::string> names, root.Keys());
  for (const std::string& name : names) {
    for (std::string_view key : kKeys) {
      if (name != key && Lower(name) == Lower(key)) {
        return root.Error(
            fmt::format("ambiguous key \"{}\": readers that ignore case take it for \"{}\"", Printable(name), key));
      }
    }
  }
  return {};
}

Status CheckSchema(const JsonNode& root, const std::string& inner_type) {
  if (inner_type == kMediaDockerSchema1 || inner_type == kMediaDockerSchema1Signed || root.Key("fsLayers").present()) {
    return Unimplemented(
        "docker image manifest version 2 schema 1 is not supported: push the image again with a current tool");
  }
  ASSIGN_OR_RETURN(int64_t version, root.Key("schemaVersion").Int64Or(2));
  if (version == 1) return Unimplemented("manifest schemaVersion 1 is not supported");
  if (version != 2) return root.Key("schemaVersion").Error(fmt::format("expected 2, found {}", version));
  return {};
}

Result<ManifestKind> KindOfDocument(const JsonNode& root, std::string_view expected_type) {
  if (!root.is_object()) return root.Error("expected an object");
  RETURN_IF_ERROR(CheckKeySpelling(root));
  ASSIGN_OR_RETURN(std::string inner_type, root.Key("mediaType").StringOr(""));
  RETURN_IF_ERROR(CheckSchema(root, inner_type));
  bool index_shape = root.Key("manifests").present();
  bool manifest_shape = root.Key("layers").present() || root.Key("config").present();
  if (index_shape && manifest_shape) return root.Error("ambiguous document: both an index and a manifest");
  if (!index_shape && !manifest_shape) return root.Error("neither an index nor a manifest");
  ManifestKind shape = index_shape ? ManifestKind::kIndex : ManifestKind::kManifest;
  if (!inner_type.empty()) {
    std::optional<ManifestKind> inner = KindOfMediaType(inner_type);
    if (!inner) return Unimplemented(fmt::format("manifest media type \"{}\" is not supported", Printable(inner_type)));
    if (*inner != shape) {
      return root.Error(fmt::format("mediaType \"{}\" on what has the shape of {}", inner_type, KindName(shape)));
    }
  }
  // A type that says nothing about the kind ("application/json") leaves the decision to the document.
  std::optional<ManifestKind> outer = KindOfMediaType(BareMediaType(expected_type));
  if (outer && *outer != shape) {
    return root.Error(fmt::format("announced as \"{}\", but it is {}", Printable(expected_type), KindName(shape)));
  }
  return shape;
}

}  // namespace

bool IsIndexMediaType(std::string_view type) { return type == kMediaOciIndex || type == kMediaDockerIndex; }

bool IsManifestMediaType(std::string_view type) { return type == kMediaOciManifest || type == kMediaDockerManifest; }

bool IsConfigMediaType(std::string_view type) { return type == kMediaOciConfig || type == kMediaDockerConfig; }

std::optional<LayerKind> LayerKindOf(std::string_view media_type) {
  struct Row {
    std::string_view type;
    LayerKind kind;
  };
  static constexpr std::array<Row, 10> kRows = {{
      {kMediaOciLayer, {LayerCompression::kNone, false}},
      {kMediaOciLayerGzip, {LayerCompression::kGzip, false}},
      {kMediaOciLayerZstd, {LayerCompression::kZstd, false}},
      {kMediaOciForeignLayer, {LayerCompression::kNone, true}},
      {kMediaOciForeignLayerGzip, {LayerCompression::kGzip, true}},
      {kMediaOciForeignLayerZstd, {LayerCompression::kZstd, true}},
      {kMediaDockerLayer, {LayerCompression::kNone, false}},
      {kMediaDockerLayerGzip, {LayerCompression::kGzip, false}},
      {kMediaDockerLayerZstd, {LayerCompression::kZstd, false}},
      {kMediaDockerForeignLayer, {LayerCompression::kGzip, true}},
  }};
  for (const Row& row : kRows) {
    if (row.type == media_type) return row.kind;
  }
  return std::nullopt;
}

Result<Digest> ReadDigest(const JsonNode& node) {
  ASSIGN_OR_RETURN(std::string text, node.String());
  ASSIGN_OR_RETURN_WITH(Digest digest, Digest::Parse(text), node.path());
  return digest;
}

Result<Platform> ReadPlatform(const JsonNode& node) {
  Platform platform;
  ASSIGN_OR_RETURN(platform.architecture, node.Key("architecture").StringOr(""));
  ASSIGN_OR_RETURN(platform.os, node.Key("os").StringOr(""));
  ASSIGN_OR_RETURN(platform.variant, node.Key("variant").StringOr(""));
  ASSIGN_OR_RETURN(platform.os_version, node.Key("os.version").StringOr(""));
  return platform;
}

Result<Descriptor> ReadDescriptor(const JsonNode& node) {
  if (!node.is_object()) {
    RETURN_IF_ERROR(node.status());
    return node.Error("expected a descriptor");
  }
  Descriptor descriptor;
  ASSIGN_OR_RETURN(descriptor.media_type, node.Key("mediaType").StringOr(""));
  ASSIGN_OR_RETURN(descriptor.digest, ReadDigest(node.Key("digest")));
  ASSIGN_OR_RETURN(int64_t size, node.Key("size").Int64());
  if (size < 0) return node.Key("size").Error(fmt::format("negative size {}", size));
  descriptor.size = static_cast<uint64_t>(size);
  ASSIGN_OR_RETURN(descriptor.annotations, node.Key("annotations").StringMap());
  ASSIGN_OR_RETURN(descriptor.artifact_type, node.Key("artifactType").StringOr(""));
  if (JsonNode platform = node.Key("platform"); platform.present()) {
    ASSIGN_OR_RETURN(descriptor.platform, ReadPlatform(platform));
  }
  return descriptor;
}

Result<ManifestKind> DetectManifestKind(std::string_view text, std::string_view expected_type) {
  ASSIGN_OR_RETURN_WITH(boost::json::value document, ParseJson(text), "manifest");
  return KindOfDocument(JsonNode(document, "manifest"), expected_type);
}

Result<Index> ParseIndex(std::string_view text) {
  ASSIGN_OR_RETURN_WITH(boost::json::value document, ParseJson(text), "index");
  JsonNode root(document, "index");
  ASSIGN_OR_RETURN(ManifestKind kind, KindOfDocument(root, ""));
  if (kind != ManifestKind::kIndex) return root.Error("it is a manifest");
  Index index;
  ASSIGN_OR_RETURN(index.media_type, root.Key("mediaType").StringOr(""));
  ASSIGN_OR_RETURN(index.annotations, root.Key("annotations").StringMap());
  ASSIGN_OR_RETURN(std::vector<JsonNode> entries, root.Key("manifests").Elements(kMaxIndexManifests));
  index.manifests.reserve(entries.size());
  for (const JsonNode& entry : entries) {
    ASSIGN_OR_RETURN(Descriptor descriptor, ReadDescriptor(entry));
    index.manifests.push_back(std::move(descriptor));
  }
  return index;
}

std::string MakeManifest(std::string_view media_type, const Descriptor& config, const std::vector<Descriptor>& layers) {
  auto written = [](const Descriptor& blob) {
    return boost::json::object{{"mediaType", blob.media_type}, {"digest", blob.digest.ToString()}, {"size", blob.size}};
  };
  boost::json::array list;
  for (const Descriptor& layer : layers) list.push_back(written(layer));
  return WriteJson(boost::json::object{
      {"schemaVersion", 2}, {"mediaType", media_type}, {"config", written(config)}, {"layers", std::move(list)}});
}

Result<Manifest> ParseManifest(std::string_view text) {
  ASSIGN_OR_RETURN_WITH(boost::json::value document, ParseJson(text), "manifest");
  JsonNode root(document, "manifest");
  ASSIGN_OR_RETURN(ManifestKind kind, KindOfDocument(root, ""));
  if (kind != ManifestKind::kManifest) return root.Error("it is an index");
  Manifest manifest;
  ASSIGN_OR_RETURN(manifest.media_type, root.Key("mediaType").StringOr(""));
  ASSIGN_OR_RETURN(manifest.artifact_type, root.Key("artifactType").StringOr(""));
  ASSIGN_OR_RETURN(manifest.config, ReadDescriptor(root.Key("config")));
  ASSIGN_OR_RETURN(manifest.annotations, root.Key("annotations").StringMap());
  if (JsonNode subject = root.Key("subject"); subject.present()) {
    ASSIGN_OR_RETURN(manifest.subject, ReadDescriptor(subject));
  }
  ASSIGN_OR_RETURN(std::vector<JsonNode> layers, root.Key("layers").Elements(kMaxLayers));
  manifest.layers.reserve(layers.size());
  for (const JsonNode& layer : layers) {
    ASSIGN_OR_RETURN(Descriptor descriptor, ReadDescriptor(layer));
    manifest.layers.push_back(std::move(descriptor));
  }
  return manifest;
}

}  // namespace davit::oci
