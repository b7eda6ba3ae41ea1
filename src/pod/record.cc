#include "pod/record.h"

#include "oci/reflect.h"
#include "sys/resources_members.h"

namespace davit::pod {

BOOST_DESCRIBE_STRUCT(PortMapping, (), (protocol, container_port, host_port, host_ip))
BOOST_DESCRIBE_STRUCT(DnsConfig, (), (servers, searches, options))
BOOST_DESCRIBE_STRUCT(SelinuxOptions, (), (user, role, type, level))
BOOST_DESCRIBE_STRUCT(IdMapping, (), (host_id, container_id, length))
BOOST_DESCRIBE_STRUCT(UserNamespace, (), (mode, uids, gids))
BOOST_DESCRIBE_STRUCT(NetworkEndpoint, (), (network, aliases, ipv4_address, ipv6_address, mac_address, interface))
BOOST_DESCRIBE_STRUCT(AttachedEndpoint, (), (network, interface, ip_cidrs, gateway, mac_address, aliases, dns))
BOOST_DESCRIBE_STRUCT(PodSpec, (),
                      (name, uid, namespace_name, attempt, hostname, log_directory, has_dns, dns, port_mappings, labels,
                       annotations, cgroup_parent, network, pid, ipc, user, privileged, sysctls, selinux, resources,
                       overhead, runtime_handler, standalone, implicit, no_network, random_ports, extra_hosts,
                       client_data, networks))
BOOST_DESCRIBE_STRUCT(PodRecord, (),
                      (version, id, phase, boot_id, spec, runtime_handler, created_at, started_at, hostname, cgroup,
                       owns_cgroup, inspect_cgroup, attachment, ips, endpoints, ports, resolver, pending_resources,
                       pending_overhead, init_pid, init_start_time, selinux_level, selinux_mount_label, shm_bytes))

std::string ToText(const PodRecord& record) { return oci::ReflectToText(record); }
std::string ToText(const PodSpec& spec) { return oci::ReflectToText(spec); }
std::string ToText(const sys::Resources& resources) { return oci::ReflectToText(resources); }

namespace {

// Version 1 had the limits of huge pages as an object: size -> bytes.
void UpgradeHugepages(boost::json::value* resources) {
  boost::json::object* members = resources == nullptr ? nullptr : resources->if_object();
  boost::json::value* limits = members == nullptr ? nullptr : members->if_contains("hugepage_limits");
  if (limits == nullptr || !limits->is_object()) return;
  boost::json::array list;
  for (const auto& item : limits->as_object()) {
    list.push_back(boost::json::object{{"page_size", item.key()}, {"limit", item.value()}});
  }
  *limits = std::move(list);
}

void Upgrade(boost::json::value& json) {
  boost::json::object* record = json.if_object();
  if (record == nullptr) return;
  UpgradeHugepages(record->if_contains("pending_resources"));
  UpgradeHugepages(record->if_contains("pending_overhead"));
  boost::json::value* spec = record->if_contains("spec");
  if (spec == nullptr || !spec->is_object()) return;
  UpgradeHugepages(spec->as_object().if_contains("resources"));
  UpgradeHugepages(spec->as_object().if_contains("overhead"));
}

}  // namespace

Result<PodRecord> ParsePodRecord(std::string_view text) {
  ASSIGN_OR_RETURN(PodRecord record, oci::RecordFromText<PodRecord>(text, "pod", kPodRecordVersion, Upgrade));
  if (record.id.empty()) return DataLoss("pod record without id");
  record.version = record.spec.standalone ? kPodRecordVersion : PodRecord().version;
  return record;
}

}  // namespace davit::pod
