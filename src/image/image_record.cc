#include "image/image_record.h"

#include <fmt/format.h>

#include "oci/digest.h"
#include "oci/reflect.h"

namespace davit::image {

BOOST_DESCRIBE_STRUCT(Verdict, (), (name, manifest_digest, policy, rule, signatures, checked_at))
BOOST_DESCRIBE_STRUCT(ImageRecord, (),
                      (id, repo_tags, repo_digests, manifest_digest, size, layers, user, created, architecture,
                       pulled_at, pinned, artifact_type, config_digest, command_prefix, verdicts))

std::string EncodeImageRecord(const ImageRecord& record) {
  boost::json::value json = oci::Reflect(record);
  json.as_object()["version"] = record.config_digest.empty() ? 1 : kImageRecordVersion;
  return boost::json::serialize(json);
}

Result<ImageRecord> DecodeImageRecord(std::string_view text) {
  boost::json::error_code error;
  boost::json::value json = boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error || !json.is_object()) return DataLoss("image record is not a JSON object");
  const boost::json::value* version = json.as_object().if_contains("version");
  if (version == nullptr || !version->is_int64()) return DataLoss("image record without a version");
  if (version->as_int64() > kImageRecordVersion) {
    return Unimplemented(fmt::format("image record of version {}", version->as_int64()));
  }
  ImageRecord record;
  RETURN_IF_ERROR(oci::Unreflect(json, record, "image record"));
  for (const std::string* digest : {&record.id, &record.manifest_digest}) {
    if (!oci::Digest::Parse(*digest).ok()) return DataLoss("image record with a malformed digest");
  }
  if (!record.config_digest.empty() && !oci::Digest::Parse(record.config_digest).ok()) {
    return DataLoss("image record with a malformed digest of its config");
  }
  for (const std::string& layer : record.layers) {
    if (!oci::Digest::Parse(layer).ok()) return DataLoss("image record with a malformed diff ID");
  }
  for (const Verdict& verdict : record.verdicts) {
    if (!verdict.signatures.empty() && !oci::Digest::Parse(verdict.signatures).ok())
      return DataLoss("image record with a malformed digest of signatures");
  }
  return record;
}

}  // namespace davit::image
