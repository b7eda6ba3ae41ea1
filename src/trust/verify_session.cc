#include "trust/verify_session.h"

#include <chrono>

#include "image/out_of_memory.h"
#include "image/pull_messages.h"
#include "sys/unique_fd.h"
#include "trust/verifier.h"
#include "trust/verify.h"

namespace davit::trust {
namespace {

constexpr std::chrono::seconds kBudget{60};

Status Decide(int in_fd) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadAll(in_fd, kMaxVerifyJobBytes));
  ASSIGN_OR_RETURN(VerifyJob job, DecodeVerifyJob(text));
  ASSIGN_OR_RETURN(Decision decision, DecodeDecision(job.decision));
  ASSIGN_OR_RETURN(image::Reference reference, image::Reference::Parse(job.reference));
  ASSIGN_OR_RETURN(image::SignatureSet found, image::DecodeSignatureSet(job.signatures));
  if (found.manifest_digest != job.manifest_digest)
    return Refusal(decision, reference, 0, "the signatures were collected for another manifest");
  return Verify(decision, reference, found, Deadline::After(kBudget));
}

}  // namespace

Status RunVerifySession(int in_fd, int out_fd) {
  Status status = image::OutOfMemoryAsStatus([&] { return Decide(in_fd); });
  const std::string line =
      status.ok() ? image::EncodeEvent(image::DoneEvent{}) : image::EncodeEvent(image::ErrorEventOf(status));
  return status.ok() ? sys::WriteAll(out_fd, line) : status.WithUndoError(sys::WriteAll(out_fd, line));
}

}  // namespace davit::trust
