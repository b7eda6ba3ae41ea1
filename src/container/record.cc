#include "container/record.h"

#include "oci/reflect.h"
#include "sys/resources_members.h"

namespace davit::container {

BOOST_DESCRIBE_STRUCT(IdMapping, (), (host_id, container_id, length))
BOOST_DESCRIBE_STRUCT(Mount, (),
                      (container_path, host_path, readonly, recursive_read_only, selinux_relabel, propagation, image,
                       image_sub_path, volume, volume_sub_path, volume_no_copy, uid_mappings, gid_mappings,
                       mount_options))
BOOST_DESCRIBE_STRUCT(Device, (), (container_path, host_path, permissions))
BOOST_DESCRIBE_STRUCT(Capabilities, (), (add, drop, add_ambient))
BOOST_DESCRIBE_STRUCT(SecurityProfile, (), (type, localhost_ref))
BOOST_DESCRIBE_STRUCT(SelinuxOptions, (), (user, role, type, level))
BOOST_DESCRIBE_STRUCT(UserNamespace, (), (mode, uids, gids))
BOOST_DESCRIBE_STRUCT(NamespaceOptions, (), (network, pid, ipc, target_id, user))
BOOST_DESCRIBE_STRUCT(SecurityContext, (),
                      (capabilities, privileged, namespaces, run_as_user, run_as_group, run_as_username,
                       readonly_rootfs, supplemental_groups, supplemental_groups_policy, no_new_privs, masked_paths,
                       readonly_paths, seccomp, apparmor, selinux))
BOOST_DESCRIBE_STRUCT(ImageSpec, (), (image, user_specified_image, runtime_handler, annotations))
BOOST_DESCRIBE_STRUCT(EnvironmentVariable, (), (key, value))
BOOST_DESCRIBE_STRUCT(RestartPolicy, (), (name, maximum_retries))
BOOST_DESCRIBE_STRUCT(HealthCheck, (), (test, interval, timeout, start_period, start_interval, retries, on_failure))
BOOST_DESCRIBE_STRUCT(Ulimit, (), (name, soft, hard))
BOOST_DESCRIBE_STRUCT(NamedVolume, (), (name, container_path, readonly, no_copy, sub_path))
BOOST_DESCRIBE_STRUCT(StandaloneSpec, (),
                      (restart, health, auto_remove, stop_timeout, volumes, clear_entrypoint, umask, ulimits,
                       client_data, log_max_bytes, log_max_files))
BOOST_DESCRIBE_STRUCT(ContainerSpec, (),
                      (name, attempt, image, command, args, working_dir, envs, mounts, devices, cdi_devices, labels,
                       annotations, log_path, open_stdin, stdin_once, tty, resources, security, stop_signal,
                       standalone))
BOOST_DESCRIBE_STRUCT(ImageVolume, (), (image_id, layers))
BOOST_DESCRIBE_STRUCT(StandaloneState, (), (restarts, stopped, restarting, paused, error))
BOOST_DESCRIBE_STRUCT(ContainerRecord, (),
                      (version, id, pod, phase, boot_id, spec, image_id, image_ref, image_name, layers, image_volumes,
                       runtime_handler, cgroup, log_path, pending_resources, host_root, uid, gid, groups, created_at,
                       started_at, finished_at, pid, exit_code, reason, message, standalone))

std::string ToText(const ContainerRecord& record) { return oci::ReflectToText(record); }
std::string ToText(const ContainerSpec& spec) { return oci::ReflectToText(spec); }
std::string ToText(const sys::Resources& resources) { return oci::ReflectToText(resources); }

Result<ContainerRecord> ParseContainerRecord(std::string_view text) {
  ASSIGN_OR_RETURN(ContainerRecord record,
                   oci::RecordFromText<ContainerRecord>(text, "container", kContainerRecordVersion));
  if (record.id.empty()) return DataLoss("container record without id");
  record.version = record.spec.standalone ? kContainerRecordVersion : ContainerRecord().version;
  return record;
}

}  // namespace davit::container
