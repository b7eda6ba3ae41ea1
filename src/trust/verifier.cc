#include "trust/verifier.h"

#include <fmt/format.h>

#include "base/strings.h"
#include "image/pull_messages.h"
#include "oci/json.h"
#include "oci/reflect.h"
#include "sys/process.h"

namespace davit::trust {

BOOST_DESCRIBE_STRUCT(VerifyJob, (), (decision, reference, manifest_digest, signatures))

std::string EncodeVerifyJob(const VerifyJob& job) { return oci::ReflectToText(job) + "\n"; }

Result<VerifyJob> DecodeVerifyJob(std::string_view text) {
  ASSIGN_OR_RETURN(boost::json::value json, oci::ParseJson(text, kMaxVerifyJobBytes, 8));
  VerifyJob out;
  RETURN_IF_ERROR(oci::Unreflect(json, out, "verify job"));
  return out;
}

Status RunVerifier(const std::string& helper_path, const VerifyJob& job, Deadline deadline) {
  sys::SpawnOptions options;
  options.argv = {helper_path, "--verify"};
  options.env = {std::string("PATH=") + sys::kDefaultPath, "HOME=/"};
  options.cwd = "/";
  ASSIGN_OR_RETURN_WITH(sys::CommandResult result,
                        sys::RunCommand(std::move(options), EncodeVerifyJob(job), 64 << 10, deadline),
                        "check the signatures");
  const std::string_view line = std::string_view(result.out).substr(0, result.out.find('\n'));
  Result<image::PullEvent> event = image::DecodeEvent(line);
  if (event.ok()) {
    if (const auto* error = std::get_if<image::ErrorEvent>(&*event)) return image::StatusOf(*error);
    if (std::holds_alternative<image::DoneEvent>(*event) && result.exit.code == 0) return {};
  }
  return Internal(fmt::format("check the signatures: davit-pull --verify ended with status {} and no verdict{}{}",
                              result.exit.code, result.err.empty() ? "" : ": ", Printable(Trim(result.err), 300)));
}

}  // namespace davit::trust
