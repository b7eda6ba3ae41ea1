// The files that every container of a pod sees: /etc/hosts, /etc/hostname, /etc/resolv.conf.
//
// Lines are built from fields, and a field with a control character is refused: a newline in it would be
// a line of the requester's own making (CVE-2022-4318 class).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "pod/spec.h"

namespace davit::pod {

// resolv.conf(5). kInvalidArgument naming the field, also for more than 32 servers or searches.
Result<std::string> ResolvConf(const DnsConfig& dns);
// hosts(5): localhost, and the pod's addresses with its hostname.
Result<std::string> HostsFile(const std::string& hostname, const std::vector<std::string>& ips);
// Lines of hosts(5) from "name:address". kInvalidArgument naming the one that is none, also for more than 1,024.
Result<std::string> ExtraHosts(const std::vector<std::string>& entries);
// RFC 1123 subdomain of at most 64 bytes (HOST_NAME_MAX), also with the dot of an absolute name (RFC 1034, 3.1).
Status ValidateHostname(const std::string& hostname);

}  // namespace davit::pod
