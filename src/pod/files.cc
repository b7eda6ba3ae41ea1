#include "pod/files.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "base/strings.h"
#include "sys/unique_fd.h"

namespace davit::pod {
namespace {

constexpr size_t kMaxDnsEntries = 32;

// A word of one of the files: printable, no blank, not empty.
Status ValidateWord(const std::string& word, std::string_view field) {
  bool good = !word.empty() && word.size() <= 1024 &&
              std::all_of(word.begin(), word.end(), [](unsigned char c) { return c > 0x20 && c != 0x7f; });
  if (good) return {};
  return InvalidArgument(std::string(field) + " \"" + Printable(word) + "\" is empty, too long or has blanks");
}

Status ValidateWords(const std::vector<std::string>& words, std::string_view field) {
  if (words.size() > kMaxDnsEntries) {
    return InvalidArgument(std::string(field) + ": " + std::to_string(words.size()) + " are more than 32");
  }
  for (const std::string& word : words) RETURN_IF_ERROR(ValidateWord(word, field));
  return {};
}

}  // namespace

Result<std::string> ResolvConf(const DnsConfig& dns) {
  RETURN_IF_ERROR(ValidateWords(dns.servers, "dns_config.servers"));
  RETURN_IF_ERROR(ValidateWords(dns.searches, "dns_config.searches"));
  RETURN_IF_ERROR(ValidateWords(dns.options, "dns_config.options"));
  std::string text;
  if (!dns.searches.empty()) text += "search " + Join(dns.searches, " ") + "\n";
  for (const std::string& server : dns.servers) text += "nameserver " + server + "\n";
  if (!dns.options.empty()) text += "options " + Join(dns.options, " ") + "\n";
  return text;
}

DnsConfig ParseResolvConf(std::string_view text) {
  DnsConfig dns;
  for (const std::string& line : Split(text, '\n')) {
    std::vector<std::string> words;
    std::string spaced = line;
    std::replace(spaced.begin(), spaced.end(), '\t', ' ');
    for (const std::string& word : Split(Trim(spaced), ' ')) {
      if (!word.empty()) words.push_back(word);
    }
    if (words.size() < 2 || words[0][0] == '#' || words[0][0] == ';') continue;
    const std::vector<std::string> values(words.begin() + 1, words.end());
    if (words[0] == "nameserver" && dns.servers.size() < kMaxDnsEntries) dns.servers.push_back(values[0]);
    if (words[0] == "search" || words[0] == "domain") dns.searches = values;
    if (words[0] == "options") dns.options.insert(dns.options.end(), values.begin(), values.end());
  }
  if (dns.searches.size() > kMaxDnsEntries) dns.searches.resize(kMaxDnsEntries);
  if (dns.options.size() > kMaxDnsEntries) dns.options.resize(kMaxDnsEntries);
  return dns;
}

DnsConfig NodeDns() {
  Result<std::string> text = sys::ReadFile("/etc/resolv.conf", 1 << 20);
  return text.ok() ? ParseResolvConf(*text) : DnsConfig();
}

DnsConfig DnsOf(const PodSpec& spec, const DnsConfig& node) {
  DnsConfig dns = spec.has_dns ? spec.dns : DnsConfig();
  if (dns.servers.empty()) dns.servers = node.servers;
  if (dns.searches.empty()) dns.searches = node.searches;
  // "." is how clients say that they want none.
  if (dns.searches.size() == 1 && dns.searches[0] == ".") dns.searches.clear();
  if (dns.options.empty()) dns.options = node.options;
  return dns;
}

Result<std::string> ResolvConfAt(const std::string& server, DnsConfig dns) {
  dns.servers = {server};
  const bool said = std::any_of(dns.options.begin(), dns.options.end(),
                                [](const std::string& option) { return option.starts_with("ndots:"); });
  if (!said) dns.options.emplace_back("ndots:0");
  return ResolvConf(dns);
}

bool HasLocalServer(const DnsConfig& dns) {
  return std::any_of(dns.servers.begin(), dns.servers.end(),
                     [](const std::string& server) { return server.starts_with("127.") || server == "::1"; });
}

Result<std::string> HostsFile(const std::string& hostname, const std::vector<std::string>& ips) {
  std::string text =
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\n"
      "fe00::1\tip6-allnodes\n"
      "fe00::2\tip6-allrouters\n";
  if (hostname.empty()) return text;
  RETURN_IF_ERROR(ValidateWord(hostname, "hostname"));
  for (const std::string& ip : ips) {
    RETURN_IF_ERROR(ValidateWord(ip, "pod address"));
    text += ip + "\t" + hostname + "\n";
  }
  return text;
}

Result<std::string> ExtraHosts(const std::vector<std::string>& entries) {
  constexpr size_t kMost = 1024;
  if (entries.size() > kMost) return InvalidArgument("extra hosts: more than " + std::to_string(kMost));
  std::string text;
  for (const std::string& entry : entries) {
    const size_t colon = entry.find(':');  // the first: an IPv6 address has more
    const std::string name = entry.substr(0, colon);
    std::string address = colon == std::string::npos ? "" : entry.substr(colon + 1);
    if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
      address = address.substr(1, address.size() - 2);
    }
    unsigned char bytes[sizeof(in6_addr)];
    const bool good = !name.empty() && (::inet_pton(AF_INET, address.c_str(), bytes) == 1 ||
                                        ::inet_pton(AF_INET6, address.c_str(), bytes) == 1);
    if (!good) return InvalidArgument("extra host \"" + Printable(entry) + "\" is not NAME:ADDRESS");
    RETURN_IF_ERROR(ValidateWord(name, "extra host"));
    text += address + "\t" + name + "\n";
  }
  return text;
}

Status ValidateHostname(const std::string& hostname) {
  if (hostname.empty()) return {};
  Status bad = InvalidArgument("hostname \"" + Printable(hostname) + "\" is not a DNS name of at most 64 bytes");
  if (hostname.size() > 64) return bad;
  // The kubelet ends a fully qualified one with the root's dot where the cluster has no domain of its own.
  std::string name = hostname.size() > 1 && hostname.back() == '.' ? hostname.substr(0, hostname.size() - 1) : hostname;
  for (const std::string& label : Split(name, '.')) {
    if (label.empty() || label.front() == '-' || label.back() == '-') return bad;
    for (char c : label) {
      bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
      if (!good) return bad;
    }
  }
  return {};
}

}  // namespace davit::pod
