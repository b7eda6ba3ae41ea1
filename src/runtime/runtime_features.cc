#include <algorithm>
#include <optional>

#include "base/strings.h"
#include "oci/json.h"
#include "runtime/runtime_driver.h"

namespace davit::runtime {
namespace {

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Result<RuntimeFeatures> ParseFeatures(std::string_view json) {
  ASSIGN_OR_RETURN_WITH(boost::json::value document, oci::ParseJson(json), "runtime features");
  oci::JsonNode root(document, "runtime features");
  if (!root.is_object()) return root.Error("expected an object");
  RuntimeFeatures features;
  features.known = true;
  ASSIGN_OR_RETURN(std::vector<std::string> mount_options, root.Key("mountOptions").Strings());
  features.recursive_read_only_mounts = Has(mount_options, "rro");
  oci::JsonNode os = root.Key("linux");
  ASSIGN_OR_RETURN(features.idmap_mounts, os.Key("mountExtensions").Key("idmap").Key("enabled").BoolOr(false));
  ASSIGN_OR_RETURN(std::vector<std::string> namespaces, os.Key("namespaces").Strings());
  features.user_namespaces = Has(namespaces, "user");
  ASSIGN_OR_RETURN(features.seccomp, os.Key("seccomp").Key("enabled").BoolOr(false));
  ASSIGN_OR_RETURN(features.apparmor, os.Key("apparmor").Key("enabled").BoolOr(false));
  ASSIGN_OR_RETURN(features.selinux, os.Key("selinux").Key("enabled").BoolOr(false));
  ASSIGN_OR_RETURN(features.unsafe_annotations, root.Key("potentiallyUnsafeConfigAnnotations").Strings());
  // crun lists what it acts on; a prefix stands for all that begin so.
  features.seccomp_bpf = features.seccomp && (Has(features.unsafe_annotations, "run.oci.") ||
                                              Has(features.unsafe_annotations, "run.oci.seccomp_bpf_data"));
  return features;
}

RuntimeFeatures FeaturesOfCrunVersion(std::string_view version_text) {
  constexpr std::string_view kPrefix = "crun version ";
  RuntimeFeatures features;
  if (version_text.substr(0, kPrefix.size()) != kPrefix) return features;
  std::string_view line = version_text.substr(kPrefix.size());
  std::vector<std::string> numbers = Split(Trim(line.substr(0, line.find('\n'))), '.');
  std::optional<uint64_t> major = ParseUint64(numbers[0]);
  std::optional<uint64_t> minor = numbers.size() > 1 ? ParseUint64(numbers[1]) : std::nullopt;
  if (!major || !minor || *major < 1 || (*major == 1 && *minor < 8)) return features;
  features.known = true;
  features.recursive_read_only_mounts = true;
  features.idmap_mounts = true;
  features.user_namespaces = true;
  features.seccomp = version_text.find("+SECCOMP") != std::string_view::npos;
  features.seccomp_bpf = features.seccomp;
  features.apparmor = version_text.find("+APPARMOR") != std::string_view::npos;
  features.selinux = version_text.find("+SELINUX") != std::string_view::npos;
  return features;
}

}  // namespace davit::runtime
