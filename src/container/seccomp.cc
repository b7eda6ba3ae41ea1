#include "container/seccomp.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/strings.h"
#include "oci/image_spec.h"
#include "oci/json.h"
#include "sys/unique_fd.h"

namespace davit::container {
namespace {

namespace json = boost::json;

constexpr size_t kMaxDepth = 16;

std::vector<std::string> StringsOf(const json::object& object, std::string_view key) {
  std::vector<std::string> strings;
  const json::value* value = object.if_contains(json::string_view(key.data(), key.size()));
  if (value == nullptr || !value->is_array()) return strings;
  for (const json::value& item : value->as_array()) {
    if (item.is_string()) strings.emplace_back(item.as_string());
  }
  return strings;
}

bool Contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// "4.8" against uname's "6.18.44": whether the kernel is at least that.
bool KernelIsAtLeast(const std::string& wanted) {
  auto parse = [](const char* text) {
    int version = 0;
    int patch = 0;
    std::sscanf(text, "%d.%d", &version, &patch);
    return std::pair(version, patch);
  };
  utsname name{};
  return ::uname(&name) == 0 && parse(name.release) >= parse(wanted.c_str());
}

// Whether the rule applies to this container: every included capability is held and none of the excluded ones; the
// architecture is among the included and not among the excluded.
bool Applies(const json::object& rule, const std::vector<std::string>& capabilities, std::string_view architecture) {
  if (const json::value* includes = rule.if_contains("includes"); includes != nullptr && includes->is_object()) {
    const json::object& wanted = includes->as_object();
    for (const std::string& capability : StringsOf(wanted, "caps")) {
      if (!Contains(capabilities, capability)) return false;
    }
    std::vector<std::string> architectures = StringsOf(wanted, "arches");
    if (!architectures.empty() && !Contains(architectures, architecture)) return false;
    const json::value* kernel = wanted.if_contains("minKernel");
    if (kernel != nullptr && kernel->is_string() && !KernelIsAtLeast(std::string(kernel->as_string()))) return false;
  }
  if (const json::value* excludes = rule.if_contains("excludes"); excludes != nullptr && excludes->is_object()) {
    const json::object& unwanted = excludes->as_object();
    for (const std::string& capability : StringsOf(unwanted, "caps")) {
      if (Contains(capabilities, capability)) return false;
    }
    if (Contains(StringsOf(unwanted, "arches"), architecture)) return false;
    const json::value* kernel = unwanted.if_contains("minKernel");
    if (kernel != nullptr && kernel->is_string() && KernelIsAtLeast(std::string(kernel->as_string()))) return false;
  }
  return true;
}

std::string NativeArchitecture(std::string_view architecture) {
  if (architecture == "amd64") return "SCMP_ARCH_X86_64";
  if (architecture == "arm64") return "SCMP_ARCH_AARCH64";
  if (architecture == "386") return "SCMP_ARCH_X86";
  if (architecture == "arm") return "SCMP_ARCH_ARM";
  if (architecture == "riscv64") return "SCMP_ARCH_RISCV64";
  return {};
}

// OCI's "architectures", or those that "archMap" gives for the native one.
json::array Architectures(const json::object& profile, std::string_view architecture) {
  json::array out;
  for (const std::string& listed : StringsOf(profile, "architectures")) out.emplace_back(listed);
  const json::value* map = profile.if_contains("archMap");
  if (!out.empty() || map == nullptr || !map->is_array()) return out;
  const std::string native = NativeArchitecture(architecture);
  for (const json::value& entry : map->as_array()) {
    if (!entry.is_object()) continue;
    const json::value* name = entry.as_object().if_contains("architecture");
    if (name == nullptr || !name->is_string() || name->as_string() != json::string_view(native)) continue;
    out.emplace_back(native);
    for (const std::string& sub : StringsOf(entry.as_object(), "subArchitectures")) out.emplace_back(sub);
  }
  return out;
}

void CopyMember(const json::object& from, json::object& to, std::string_view key) {
  const json::value* value = from.if_contains(json::string_view(key.data(), key.size()));
  if (value != nullptr && !value->is_null()) to[json::string_view(key.data(), key.size())] = *value;
}

Result<json::object> RenderRule(const json::object& rule) {
  json::object out;
  json::array names;
  for (const std::string& name : StringsOf(rule, "names")) names.emplace_back(name);
  const json::value* single = rule.if_contains("name");  // the oldest form of the format
  if (names.empty() && single != nullptr && single->is_string()) names.emplace_back(single->as_string());
  if (names.empty()) return InvalidArgument("a rule of \"syscalls\" has no \"names\"");
  const json::value* action = rule.if_contains("action");
  if (action == nullptr || !action->is_string()) return InvalidArgument("a rule of \"syscalls\" has no \"action\"");
  out["names"] = std::move(names);
  out["action"] = *action;
  CopyMember(rule, out, "errnoRet");
  if (const json::value* args = rule.if_contains("args");
      args != nullptr && args->is_array() && !args->as_array().empty()) {
    out["args"] = *args;
  }
  return out;
}

}  // namespace

Result<std::string> RenderSeccompProfile(std::string_view text, const std::vector<std::string>& capabilities,
                                         std::string_view architecture) {
  ASSIGN_OR_RETURN(json::value parsed, oci::ParseJson(text, kMaxSeccompProfile, kMaxDepth));
  if (!parsed.is_object()) return InvalidArgument("it is not a JSON object");
  const json::object& profile = parsed.as_object();
  const json::value* action = profile.if_contains("defaultAction");
  if (action == nullptr || !action->is_string()) return InvalidArgument("\"defaultAction\" is missing");
  json::object out;
  out["defaultAction"] = *action;
  CopyMember(profile, out, "defaultErrnoRet");
  if (json::array architectures = Architectures(profile, architecture); !architectures.empty()) {
    out["architectures"] = std::move(architectures);
  }
  CopyMember(profile, out, "flags");
  json::array rules;
  const json::value* syscalls = profile.if_contains("syscalls");
  if (syscalls != nullptr && syscalls->is_array()) {
    for (const json::value& rule : syscalls->as_array()) {
      if (!rule.is_object()) return InvalidArgument("a rule of \"syscalls\" is not an object");
      if (!Applies(rule.as_object(), capabilities, architecture)) continue;
      ASSIGN_OR_RETURN(json::object rendered, RenderRule(rule.as_object()));
      rules.push_back(std::move(rendered));
    }
  }
  if (!rules.empty()) out["syscalls"] = std::move(rules);
  return json::serialize(out);
}

Result<std::string> LoadSeccompProfile(const std::string& path, const std::vector<std::string>& capabilities) {
  if (path.empty() || path[0] != '/') {
    return InvalidArgument("seccomp profile \"" + Printable(path) + "\" is not an absolute path");
  }
  const std::string intent = "seccomp profile " + Printable(path, 512);
  // O_NONBLOCK: a FIFO in its place must be an error and not a hang.
  Result<sys::UniqueFd> fd = sys::Open(path, O_RDONLY | O_NONBLOCK);
  if (!fd.ok()) return InvalidArgument(intent + ": " + fd.status().message());
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0) return ErrnoError(errno, intent);
  if (!S_ISREG(info.st_mode)) return InvalidArgument(intent + ": not a regular file");
  ASSIGN_OR_RETURN_WITH(std::string text, sys::ReadAll(fd->get(), kMaxSeccompProfile), intent);
  Result<std::string> rendered = RenderSeccompProfile(text, capabilities, oci::HostPlatform().architecture);
  if (!rendered.ok()) return rendered.status().Annotate(intent);
  return rendered;
}

Result<std::optional<SecurityProfile>> ParseSeccompField(const std::string& text) {
  constexpr std::string_view kLocalhost = "localhost/";
  if (text.empty()) return std::optional<SecurityProfile>();
  if (text == "unconfined") return std::optional(SecurityProfile{ProfileType::kUnconfined, ""});
  if (text == "runtime/default" || text == "docker/default") {
    return std::optional(SecurityProfile{ProfileType::kRuntimeDefault, ""});
  }
  if (text.starts_with(kLocalhost)) {
    return std::optional(SecurityProfile{ProfileType::kLocalhost, text.substr(kLocalhost.size())});
  }
  return InvalidArgument("linux.security_context.seccomp_profile_path \"" + Printable(text) +
                         "\" is none of runtime/default, docker/default, unconfined and localhost/PATH");
}

}  // namespace davit::container
