#include "pod/record.h"

#include "oci/reflect.h"

namespace davit::pod {

BOOST_DESCRIBE_STRUCT(PortMapping, (), (protocol, container_port, host_port, host_ip))
BOOST_DESCRIBE_STRUCT(DnsConfig, (), (servers, searches, options))
BOOST_DESCRIBE_STRUCT(SelinuxOptions, (), (user, role, type, level))
BOOST_DESCRIBE_STRUCT(IdMapping, (), (host_id, container_id, length))
BOOST_DESCRIBE_STRUCT(UserNamespace, (), (mode, uids, gids))
BOOST_DESCRIBE_STRUCT(Resources, (),
                      (cpu_period, cpu_quota, cpu_shares, memory_limit_bytes, memory_swap_limit_bytes, cpuset_cpus,
                       cpuset_mems, hugepage_limits, unified))
BOOST_DESCRIBE_STRUCT(PodSpec, (),
                      (name, uid, namespace_name, attempt, hostname, log_directory, has_dns, dns, port_mappings, labels,
                       annotations, cgroup_parent, network, pid, ipc, user, privileged, sysctls, selinux, resources,
                       overhead, runtime_handler))
BOOST_DESCRIBE_STRUCT(PodRecord, (),
                      (version, id, phase, boot_id, spec, runtime_handler, created_at, hostname, cgroup, owns_cgroup,
                       attachment, ips, pending_resources, pending_overhead, init_pid, init_start_time, selinux_level,
                       shm_bytes))

std::string ToText(const PodRecord& record) { return oci::ReflectToText(record); }
std::string ToText(const PodSpec& spec) { return oci::ReflectToText(spec); }
std::string ToText(const Resources& resources) { return oci::ReflectToText(resources); }

Result<PodRecord> ParsePodRecord(std::string_view text) {
  ASSIGN_OR_RETURN(PodRecord record, oci::ReflectFromText<PodRecord>(text));
  if (record.version > 1) {
    return DataLoss("pod record of version " + std::to_string(record.version) + ", this davitd reads 1");
  }
  if (record.id.empty()) return DataLoss("pod record without id");
  return record;
}

}  // namespace davit::pod
