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
// What a file of this format says: of several search lines the last counts. Lines that are none are left out.
DnsConfig ParseResolvConf(std::string_view text);
// Of /etc/resolv.conf; nothing when it cannot be read.
DnsConfig NodeDns();
// What a standalone pod asks with: what it does not say is the node's.
DnsConfig DnsOf(const PodSpec& spec, const DnsConfig& node);
// resolv.conf of a pod whose names are answered at `server`: names without a dot are looked up as they are first.
Result<std::string> ResolvConfAt(const std::string& server, DnsConfig dns);
// Whether any server can be reached from the node alone, as those at 127.0.0.0/8.
bool HasLocalServer(const DnsConfig& dns);

// RFC 1123 subdomain of at most 64 bytes (HOST_NAME_MAX), also with the dot of an absolute name (RFC 1034, 3.1).
Status ValidateHostname(const std::string& hostname);

}  // namespace davit::pod
