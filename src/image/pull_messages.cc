#include "image/pull_messages.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "oci/json.h"
#include "oci/reflect.h"

namespace davit::image {

BOOST_DESCRIBE_STRUCT(Credentials, (), (username, password, auth, identity_token, registry_token, server_address))
BOOST_DESCRIBE_STRUCT(HostOptions, (), (plain_http, ca_file, skip_verify, mirrors, fallback))
BOOST_DESCRIBE_STRUCT(TlsOptions, (), (ca_files, skip_verify, client_cert, client_key))
BOOST_DESCRIBE_STRUCT(Endpoint, (),
                      (base, repository, mirror, tags, content, name_space, tls, headers, connect_timeout_seconds,
                       maybe_plain, credentials, ask_credentials, credentials_source, configured_by))
BOOST_DESCRIBE_STRUCT(PullLimits, (),
                      (max_parallel_layers, connections_per_layer, min_ranged_bytes, max_layer_bytes, max_image_bytes,
                       max_layer_entries, min_free_bytes, stall_timeout_seconds, min_bytes_per_second,
                       connect_timeout_seconds, retries))
BOOST_DESCRIBE_STRUCT(Platform, (), (os, architecture, variant))
BOOST_DESCRIBE_STRUCT(SignatureWants, (), (openpgp, sigstore, lookasides))
BOOST_DESCRIBE_STRUCT(SifJob, (), (kind, path, url, image, directory, present, credentials))
BOOST_DESCRIBE_STRUCT(PullJob, (),
                      (version, reference, archive, archive_image, spool, import_config, endpoints, hosts, platform,
                       limits, signatures, sif))
BOOST_DESCRIBE_STRUCT(FetchCommand, (), (diff_id, path, journal))
BOOST_DESCRIBE_STRUCT(FinishCommand, (), (layers))
BOOST_DESCRIBE_STRUCT(CredentialsCommand, (), (endpoint, credentials, code, error))
BOOST_DESCRIBE_STRUCT(LayerSource, (), (diff_id, digest, size))
BOOST_DESCRIBE_STRUCT(ResolvedEvent, (),
                      (top_digest, manifest_digest, manifest, config_digest, config, endpoint, layers, names,
                       archive_images, own_digests, artifact, signatures))
BOOST_DESCRIBE_STRUCT(ProgressEvent, (), (bytes_done, bytes_unpacked, retries))
BOOST_DESCRIBE_STRUCT(LinkBelow, (), (target, names))
BOOST_DESCRIBE_STRUCT(LayerEvent, (),
                      (diff_id, size, entries, implicit_directories, whiteout_directories, links_below, root_named,
                       warnings))
BOOST_DESCRIBE_STRUCT(AttemptEvent, (), (endpoint, name, asked_for, verdict))
BOOST_DESCRIBE_STRUCT(CredentialsEvent, (), (endpoint))
BOOST_DESCRIBE_STRUCT(SifEvent, (), (digest, present, file_size, offset, size, inodes, config, command_prefix))
BOOST_DESCRIBE_STRUCT(ErrorEvent, (), (code, message))
BOOST_DESCRIBE_STRUCT(DoneEvent, (), (layers))

namespace {

template <class T>
constexpr std::string_view kKind;
template <>
constexpr std::string_view kKind<FetchCommand> = "fetch";
template <>
constexpr std::string_view kKind<FinishCommand> = "finish";
template <>
constexpr std::string_view kKind<CredentialsCommand> = "credentials";
template <>
constexpr std::string_view kKind<CredentialsEvent> = "credentials";
template <>
constexpr std::string_view kKind<ResolvedEvent> = "resolved";
template <>
constexpr std::string_view kKind<ProgressEvent> = "progress";
template <>
constexpr std::string_view kKind<LayerEvent> = "layer";
template <>
constexpr std::string_view kKind<AttemptEvent> = "attempt";
template <>
constexpr std::string_view kKind<SifEvent> = "sif";
template <>
constexpr std::string_view kKind<ErrorEvent> = "error";
template <>
constexpr std::string_view kKind<DoneEvent> = "done";

template <class Variant>
std::string Encode(const Variant& message) {
  return std::visit(
      [](const auto& item) {
        boost::json::value json = oci::Reflect(item);
        json.as_object()["kind"] = kKind<std::decay_t<decltype(item)>>;
        return boost::json::serialize(json) + "\n";
      },
      message);
}

// Error texts and file names need not be UTF-8, so this is not oci::ParseJson; the line's length is capped
// by whoever reads it, the depth by Boost's default of 32.
Result<boost::json::value> ParseLine(std::string_view line) {
  boost::json::error_code error;
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;
  boost::json::value json = boost::json::parse(boost::json::string_view(line.data(), line.size()), error, {}, options);
  if (error || !json.is_object()) return InvalidArgument(fmt::format("not a JSON object: \"{}\"", Printable(line, 80)));
  return json;
}

template <class T, class Variant>
bool TryDecode(const boost::json::value& json, std::string_view kind, Result<Variant>& out) {
  if (kind != kKind<T>) return false;
  T item;
  Status status = oci::Unreflect(json, item, kind);
  if (status.ok()) {
    out = Variant(std::move(item));
  } else {
    out = status;
  }
  return true;
}

template <class... Ts>
Result<std::variant<Ts...>> DecodeAs(std::string_view line, std::type_identity<std::variant<Ts...>>) {
  ASSIGN_OR_RETURN(boost::json::value json, ParseLine(line));
  const boost::json::value* found = json.as_object().if_contains("kind");
  if (found == nullptr || !found->is_string()) return InvalidArgument("message without a kind");
  std::string_view kind(found->as_string().data(), found->as_string().size());
  Result<std::variant<Ts...>> out = Unimplemented(fmt::format("message of unknown kind \"{}\"", Printable(kind)));
  (void)(TryDecode<Ts>(json, kind, out) || ...);
  return out;
}

}  // namespace

std::string EncodeJob(const PullJob& job) { return oci::ReflectToText(job) + "\n"; }
std::string EncodeCommand(const PullCommand& command) { return Encode(command); }
std::string EncodeEvent(const PullEvent& event) { return Encode(event); }

Result<PullJob> DecodeJob(std::string_view line) {
  ASSIGN_OR_RETURN(boost::json::value json, ParseLine(line));
  PullJob job;
  job.version = 0;
  RETURN_IF_ERROR(oci::Unreflect(json, job, "job"));
  if (job.version != kPullProtocolVersion) {
    return Unimplemented(
        fmt::format("pull protocol version {}, this davit-pull speaks {}", job.version, kPullProtocolVersion));
  }
  return job;
}
Result<PullCommand> DecodeCommand(std::string_view line) { return DecodeAs(line, std::type_identity<PullCommand>()); }
Result<PullEvent> DecodeEvent(std::string_view line) { return DecodeAs(line, std::type_identity<PullEvent>()); }

ErrorEvent ErrorEventOf(const Status& status) { return {std::string(CodeName(status.code())), status.message()}; }

Status StatusOf(const ErrorEvent& event) {
  for (int code = 1; code <= 16; ++code) {
    if (CodeName(static_cast<StatusCode>(code)) == event.code)
      return Status(static_cast<StatusCode>(code), event.message);
  }
  return Internal(event.message);
}

}  // namespace davit::image
