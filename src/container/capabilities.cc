#include "container/capabilities.h"

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "sys/capabilities.h"

namespace davit::container {
namespace {

std::string Canonical(const std::string& name) {
  std::string upper;
  for (char c : name) upper += static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  if (upper != "ALL" && upper.rfind("CAP_", 0) != 0) upper = "CAP_" + upper;
  return upper;
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Status CheckKnown(const std::string& name, const std::string& asked, std::string_view field) {
  if (name == "ALL" || Contains(sys::KnownCapabilities(), name)) return {};
  return InvalidArgument("linux.security_context.capabilities." + std::string(field) + ": \"" + Printable(asked) +
                         "\" is not known to this kernel");
}

}  // namespace

Result<oci::CapabilitySets> ResolveCapabilities(const SecurityContext& security,
                                                const std::vector<std::string>& defaults,
                                                const std::vector<std::string>& node) {
  std::set<std::string> held;
  if (security.privileged) {
    held.insert(node.begin(), node.end());
  } else {
    for (const std::string& name : defaults) {
      if (Contains(node, name)) held.insert(name);
    }
  }
  // The order of the CRI and of Docker: ALL first, so that "add ALL, drop NET_RAW" and "drop ALL, add
  // CHOWN" both mean what they say.
  std::set<std::string> add;
  std::set<std::string> drop;
  for (const std::string& asked : security.capabilities.add) add.insert(Canonical(asked));
  for (const std::string& asked : security.capabilities.drop) drop.insert(Canonical(asked));
  for (const std::string& asked : security.capabilities.add) {
    RETURN_IF_ERROR(CheckKnown(Canonical(asked), asked, "add_capabilities"));
  }
  for (const std::string& asked : security.capabilities.drop) {
    RETURN_IF_ERROR(CheckKnown(Canonical(asked), asked, "drop_capabilities"));
  }

  if (add.count("ALL") != 0) held.insert(node.begin(), node.end());
  if (drop.count("ALL") != 0) held.clear();
  for (const std::string& name : add) {
    if (name == "ALL") continue;
    if (!Contains(node, name)) {
      return FailedPrecondition("linux.security_context.capabilities.add_capabilities: " + name +
                                " cannot be added: this node does not hold it");
    }
    held.insert(name);
  }
  for (const std::string& name : drop) held.erase(name);

  oci::CapabilitySets sets;
  sets.bounding.assign(held.begin(), held.end());
  sets.permitted = sets.bounding;
  sets.effective = sets.bounding;
  // Inheritable and ambient stay empty unless asked for (CVE-2022-24769; KEP-2763).
  for (const std::string& asked : security.capabilities.add_ambient) {
    std::string name = Canonical(asked);
    RETURN_IF_ERROR(CheckKnown(name, asked, "add_ambient_capabilities"));
    if (name == "ALL") {
      sets.ambient = sets.bounding;
      break;
    }
    if (held.count(name) == 0) {
      return InvalidArgument("linux.security_context.capabilities.add_ambient_capabilities: " + name +
                             " is not among the container's capabilities");
    }
    sets.ambient.push_back(name);
  }
  sets.inheritable = sets.ambient;
  return sets;
}

}  // namespace davit::container
