#include "trust/openpgp.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "base/strings.h"
#include "http/base64.h"
#include "sys/process.h"
#include "sys/unique_fd.h"
#include "trust/simple_signing.h"

namespace davit::trust {
namespace {

constexpr std::string_view kMark = "[GNUPG:] ";
constexpr size_t kMaxOutput = 1 << 20;

sys::SpawnOptions Gpg(const std::string& home, std::initializer_list<std::string> arguments) {
  sys::SpawnOptions options;
  options.argv = {"gpg",
                  "--homedir",
                  home,
                  "--batch",
                  "--no-tty",
                  "--no-options",
                  "--no-autostart",
                  "--no-auto-key-retrieve",
                  "--no-auto-check-trustdb",
                  "--trust-model",
                  "always",
                  "--disable-dirmngr"};
  options.argv.insert(options.argv.end(), arguments);
  options.env = {std::string("PATH=") + sys::kDefaultPath, "HOME=" + home, "LC_ALL=C"};
  options.cwd = "/";
  return options;
}

Status NoGpg(const Status& error) {
  if (error.code() != StatusCode::kNotFound) return error;
  return FailedPrecondition("gpg is not installed: signedBy requirements need it");
}

}  // namespace

Status VerdictOfStatus(std::string_view status_lines) {
  size_t good = 0;
  size_t valid = 0;
  size_t begun = 0;
  size_t plaintexts = 0;
  size_t errors = 0;
  while (!status_lines.empty()) {
    const size_t end = status_lines.find('\n');
    std::string_view line = status_lines.substr(0, end);
    status_lines.remove_prefix(end == std::string_view::npos ? status_lines.size() : end + 1);
    if (!line.starts_with(kMark)) continue;
    line.remove_prefix(kMark.size());
    const std::string_view word = line.substr(0, line.find(' '));
    if (word == "NEWSIG") ++begun;
    if (word == "GOODSIG") ++good;
    if (word == "VALIDSIG") ++valid;
    if (word == "PLAINTEXT") ++plaintexts;
    if (word == "EXPKEYSIG") return PermissionDenied("the key that made the signature is expired");
    if (word == "REVKEYSIG") return PermissionDenied("the key that made the signature is revoked");
    if (word == "EXPSIG") return PermissionDenied("the signature is expired");
    if (word == "BADSIG") return PermissionDenied("the signature is broken");
    if (word == "NO_PUBKEY") return PermissionDenied("it was not made with any of the keys");
    if (word == "ERRSIG") ++errors;
  }
  if (errors > 0) return PermissionDenied("the signature cannot be checked");
  if (good == 1 && valid == 1 && begun == 1 && plaintexts == 1) return {};
  if (good + valid + begun == 0) return PermissionDenied("it is no OpenPGP signature");
  return PermissionDenied("it is not one good signature by one of the keys");
}

Result<KeyRing> KeyRing::Import(const std::vector<std::string>& keys, Deadline deadline) {
  char path[] = "/tmp/davit-gpg-XXXXXX";
  if (::mkdtemp(path) == nullptr) return ErrnoError(errno, "make a directory for keys in /tmp");
  KeyRing ring{std::string(path)};
  for (const std::string& key : keys) {
    std::optional<std::string> bytes = http::Base64Decode(key);
    if (!bytes) return InvalidArgument("a key is not base64");
    Result<sys::CommandResult> imported =
        sys::RunCommand(Gpg(ring.directory_, {"--quiet", "--import"}), *bytes, kMaxOutput, deadline);
    if (!imported.ok()) return NoGpg(imported.status());
    if (imported->exit.code != 0)
      return InvalidArgument(fmt::format("a key ring of the policy cannot be read: {}", Printable(imported->err, 300)));
  }
  return ring;
}

KeyRing::~KeyRing() {
  std::error_code ignored;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

Result<std::string> KeyRing::Open(std::string_view message, Deadline deadline) const {
  const std::string output = directory_ + "/payload";
  std::error_code ignored;
  std::filesystem::remove(output, ignored);
  Result<sys::CommandResult> result = sys::RunCommand(
      Gpg(directory_,
          {"--status-fd", "1", "--max-output", std::to_string(kMaxPayloadBytes), "--output", output, "--decrypt"}),
      message, kMaxOutput, deadline);
  if (!result.ok()) return NoGpg(result.status());
  RETURN_IF_ERROR(VerdictOfStatus(result->out));
  if (result->exit.code != 0) return PermissionDenied("gpg refuses the signature");
  return sys::ReadFile(output, kMaxPayloadBytes);
}

}  // namespace davit::trust
