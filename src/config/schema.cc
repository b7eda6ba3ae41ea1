#include "config/schema.h"

#include <limits>

#include "base/strings.h"
#include "config/checks.h"

namespace davit::config {
namespace {

constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();
constexpr int64_t kDay = 24 * 3600;

using Check = std::function<Status()>;

Field Text(std::string key, std::string& target, Check check, std::string help) {
  return {std::move(key), FieldKind::kString, &target, std::move(check), std::move(help)};
}
Field Path(std::string key, std::string& target, std::string help) {
  return Text(
      std::move(key), target, [&target] { return CheckAbsolutePath(target); }, std::move(help));
}
Field OptionalPath(std::string key, std::string& target, std::string help) {
  return Text(
      std::move(key), target, [&target] { return CheckOptionalPath(target); }, std::move(help));
}
Field Number(std::string key, int64_t& target, int64_t low, int64_t high, std::string help) {
  return {std::move(key), FieldKind::kInteger, &target, [=, &target] { return CheckRange(target, low, high); },
          std::move(help)};
}
Field Size(std::string key, int64_t& target, int64_t low, int64_t high, std::string help) {
  return {std::move(key), FieldKind::kSize, &target, [=, &target] { return CheckRange(target, low, high); },
          std::move(help)};
}
Field Flag(std::string key, bool& target, std::string help) {
  return {std::move(key), FieldKind::kBoolean, &target, {}, std::move(help)};
}
Field List(std::string key, std::vector<std::string>& target, Check check, std::string help) {
  return {std::move(key), FieldKind::kStrings, &target, std::move(check), std::move(help)};
}

std::vector<Field> TopFields(Config& c) {
  return {
      Path("root", c.root, "directory for images, layers and the database; kept over a reboot"),
      Path("state", c.state, "directory for sockets, pods and containers; lost at a reboot"),
      {"log_level",
       FieldKind::kString,
       &c.log_level,
       {},
       "least severe messages to log: debug, info, warning or error"},
  };
}

std::vector<Field> ApiFields(ApiConfig& c) {
  return {
      Text(
          "listen", c.listen, [&c] { return CheckSocketPath(c.listen); },
          "socket of the Kubernetes Container Runtime Interface; a path or unix:///path"),
      Number("event_queue", c.event_queue, 16, 1'000'000, "events that wait for one client that reads slowly"),
      Text(
          "crio_socket", c.crio_socket, [&c] { return CheckOptionalSocketPath(c.crio_socket); },
          "CRI-O's inspection API, for a kubelet whose cAdvisor does not ask CRI: it looks at /var/run/crio/crio.sock; "
          "cgroups of new pods and containers then have the names of CRI-O's; empty: nowhere"),
      Flag("show_standalone", c.show_standalone,
           "CRI's lists and events show the pods and containers that people and tools made, too; a kubelet takes them "
           "away"),
  };
}

std::vector<Field> StreamFields(StreamConfig& c) {
  return {
      Text(
          "address", c.address, [&c] { return CheckIpAddress(c.address); },
          "address of the exec, attach and port-forward server; it speaks without TLS, so keep it on loopback"),
      Number("port", c.port, 0, 65535, "port of the streaming server; 0 takes a free one"),
      Number("idle_timeout_seconds", c.idle_timeout_seconds, 1, 30 * kDay,
             "streams without traffic end after this time"),
      Number("max_sessions", c.max_sessions, 1, 1'000'000, "streams that may be open at the same time"),
  };
}

std::vector<Field> MetricsFields(MetricsConfig& c) {
  return {Text(
      "address", c.address, [&c] { return CheckListenAddress(c.address); },
      "where Prometheus metrics and /healthz are answered without TLS: IP:PORT or unix:///path; empty: nowhere")};
}

std::vector<Field> RuntimeFields(RuntimeConfig& c) {
  return {
      Text("default", c.default_handler, {}, "handler of pods that name none"),
      Text(
          "cgroup_driver", c.cgroup_driver,
          [&c] {
            return CheckOneOf(c.cgroup_driver, {"auto", "cgroupfs", "systemd"});
          },
          "who makes control groups: cgroupfs, systemd, or auto: systemd where it is process 1 and its bus answers"),
      OptionalPath("monitor_path", c.monitor_path,
                   "davit-monitor program; empty: the one that is installed with davitd"),
      OptionalPath("init_path", c.init_path,
                   "init of shared PID namespaces; empty: the one that is installed with davitd"),
      Size("max_log_line_bytes", c.max_log_line_bytes, 256, 1 << 20,
           "longer lines of container output become several log entries"),
      Size("standalone_log_bytes", c.standalone_log_bytes, 0, int64_t{1} << 40,
           "a log file of a container that people or tools made is put aside at this size, unless its own options say "
           "otherwise; 0: never. The kubelet rotates the logs of its own"),
      Number("standalone_log_files", c.standalone_log_files, 1, 1000,
             "log files of such a container, the current one too"),
      OptionalPath("seccomp_profile", c.seccomp_profile,
                   "seccomp profile of RuntimeDefault (default: the one that containers-common installs)"),
      Flag("add_user_entry", c.add_user_entry,
           "whether a user that the image's /etc/passwd lacks gets a line in the container's"),
      Number("pids_limit", c.pids_limit, -1, 4'194'304, "tasks in one container; -1 for no limit"),
      List(
          "cdi_spec_dirs", c.cdi_spec_dirs,
          [&c] { return c.cdi_spec_dirs.empty() ? Status() : CheckPaths(c.cdi_spec_dirs); },
          "directories of CDI specifications, the last one is the strongest; empty: no CDI devices"),
      {"default_capabilities", FieldKind::kStrings, &c.default_capabilities,
       [&c] { return CheckCapabilities(*c.default_capabilities); },
       "capabilities of unprivileged containers; unset: the usual fourteen"},
  };
}

std::vector<Field> HandlerFields(RuntimeHandlerConfig& c) {
  return {
      OptionalPath("path", c.path, "OCI runtime program; empty: looked up by the handler's name"),
      OptionalPath("root", c.root,
                   "state directory of the runtime (--root); empty: below the state directory of davitd"),
      List(
          "arguments", c.arguments, [&c] { return CheckArguments(c.arguments); },
          "options that the runtime program gets before its verb, each beginning with --"),
      Flag("privileged_without_host_devices", c.privileged_without_host_devices,
           "privileged containers get neither the node's devices nor the right to use any"),
      List(
          "allowed_annotations", c.allowed_annotations,
          [&c] { return c.allowed_annotations.empty() ? Status() : CheckGlobs(c.allowed_annotations); },
          "annotations of pods that have an effect (umask, shm-size, devices); any other has none"),
      List(
          "allowed_devices", c.allowed_devices,
          [&c] { return c.allowed_devices.empty() ? Status() : CheckPaths(c.allowed_devices); },
          "device nodes of the node that a pod may ask for by annotation"),
      OptionalPath("monitor_path", c.monitor_path, "davit-monitor program for this handler; empty: the common one"),
      {"max_log_line_bytes", FieldKind::kSize, &c.max_log_line_bytes,
       [&c] { return c.max_log_line_bytes == 0 ? Status() : CheckRange(c.max_log_line_bytes, 256, 1 << 20); },
       "as runtime.max_log_line_bytes, for this handler; 0: the common value"},
  };
}

std::vector<Field> ImageFields(ImageConfig& c) {
  return {
      OptionalPath("pull_path", c.pull_path, "davit-pull program; empty: the one that is installed with davitd"),
      Number("max_parallel_layers", c.max_parallel_layers, 1, 64,
             "layers of one image that are fetched at the same time"),
      Number("connections_per_layer", c.connections_per_layer, 1, 8,
             "connections for one layer of 32 MiB and more, where the server takes ranges; each takes 4 MiB of memory"),
      Size("max_layer_bytes", c.max_layer_bytes, 1, kUnbounded, "largest layer, unpacked"),
      Size("max_image_bytes", c.max_image_bytes, 1, kUnbounded, "largest image when unpacked"),
      Number("max_entries", c.max_entries, 1, 1'000'000'000, "files in one layer"),
      Number("min_bytes_per_second", c.min_bytes_per_second, 0, int64_t{1} << 30, "0 to 1073741824"),
      Number("stall_timeout_seconds", c.stall_timeout_seconds, 1, kDay,
             "a transfer that brings no byte for so long fails"),
      Text(
          "default_registry", c.default_registry, [&c] { return CheckRegistryHost(c.default_registry); },
          "registry of image names that name none"),
      OptionalPath(
          "signature_policy", c.signature_policy,
          "policy.json that says which images are taken; empty: /etc/containers/policy.json where it is there"),
      OptionalPath("signature_policy_dir", c.signature_policy_dir,
                   "directory with a policy NAMESPACE.json for the pods of a namespace; empty: none"),
      Path("registries_d", c.registries_d, "directory of *.yaml files that say where signatures are"),
      OptionalPath("registries_conf", c.registries_conf,
                   "mirrors, rewritten and blocked registries as podman and CRI-O have them, with drop-ins in the "
                   "directory of this name and .d; empty: none"),
      List(
          "hosts_dirs", c.hosts_dirs, [&c] { return c.hosts_dirs.empty() ? Status() : CheckPaths(c.hosts_dirs); },
          "directories of registries: HOST/hosts.toml as containerd reads it, HOST/*.crt, *.cert and *.key as docker "
          "and podman do; empty: none"),
      OptionalPath("auth_file", c.auth_file,
                   "credentials for any registry, in the format of docker's config.json or containers' auth.json"),
      OptionalPath("auth_dir", c.auth_dir,
                   "directory with credentials NAMESPACE.json for the pods of a namespace; empty: none"),
      Flag("accept_unnamed_signatures", c.accept_unnamed_signatures,
           "whether a sigstore bundle counts that signs a digest and names no image"),
      OptionalPath("preload_dir", c.preload_dir,
                   "directory of archives and OCI layouts that are loaded at the start, each once; empty: none"),
      List(
          "pinned", c.pinned, [&c] { return CheckGlobs(c.pinned); },
          "patterns (* and ?) of image references that are never removed to free space"),
  };
}

std::vector<Field> RegistryFields(RegistryConfig& c) {
  return {
      List(
          "mirrors", c.mirrors, [&c] { return CheckMirrors(c.mirrors); },
          "URLs that are tried in order before the registry itself"),
      Flag("fallback", c.fallback, "whether the registry itself is tried after its mirrors"),
      Flag("plain_http", c.plain_http, "speak HTTP without TLS to the registry"),
      Flag("skip_verify", c.skip_verify, "accept any certificate of the registry"),
      OptionalPath("ca_file", c.ca_file, "PEM file with the authorities to trust; empty: the system's"),
      Text("username", c.username, {}, "name to log in with"),
      {"password", FieldKind::kString, &c.password, {}, "password or token to log in with"},
      OptionalPath("auth_file", c.auth_file, "credentials in the format of docker's config.json"),
  };
}

std::vector<Field> NetworkFields(NetworkConfig& c) {
  return {
      Path("conf_dir", c.conf_dir, "directory of CNI network configurations; the first in lexical order is used"),
      List(
          "bin_dirs", c.bin_dirs, [&c] { return CheckPaths(c.bin_dirs); },
          "directories of CNI plugins, searched in order"),
      Number("plugin_timeout_seconds", c.plugin_timeout_seconds, 1, 3600, "a CNI plugin that takes longer is killed"),
      Flag("builtin", c.builtin, "networks of the plugins that davitd knows are made without running them"),
  };
}

Status CheckHandlerName(const std::string& name) {
  if (IsPathComponent(name)) return {};
  return InvalidArgument("\"" + Printable(name) + "\" is not a handler name: letters, digits, \"_\", \"-\" and \".\"");
}

Status CheckLibraries(const std::vector<std::string>& libraries) {
  for (const std::string& entry : libraries) {
    const size_t equals = entry.find('=');
    const std::string url = equals == std::string::npos ? "" : entry.substr(equals + 1);
    const bool http = url.starts_with("https://") || url.starts_with("http://");
    if (equals != 0 && http && !url.ends_with('/')) {
      RETURN_IF_ERROR(CheckRegistryHost(entry.substr(0, equals)));
      continue;
    }
    return InvalidArgument("\"" + Printable(entry) + "\" is not DOMAIN=http[s]://HOST without a \"/\" at the end");
  }
  return {};
}

std::vector<Field> SifFields(SifConfig& c) {
  return {
      Flag("enabled", c.enabled, "whether SIF files are images; the kernel then mounts what they hold"),
      List(
          "allowed_dirs", c.allowed_dirs,
          [&c] { return c.allowed_dirs.empty() ? Status() : CheckPaths(c.allowed_dirs); },
          "directories below which local.file/PATH may name files of this node; empty: none"),
      List(
          "libraries", c.libraries, [&c] { return CheckLibraries(c.libraries); },
          "\"DOMAIN=URL\": libraries that references of a domain are looked up in; library:// is cloud.sylabs.io"),
  };
}

template <class T>
std::vector<std::string> Names(const std::map<std::string, T>& map) {
  std::vector<std::string> names;
  for (const auto& entry : map) names.push_back(entry.first);
  return names;
}

}  // namespace

Schema MakeSchema(Config& c) {
  Schema schema;
  schema.sections = {
      {"", TopFields(c)},
      {"api", ApiFields(c.api)},
      {"stream", StreamFields(c.stream)},
      {"metrics", MetricsFields(c.metrics)},
      {"runtime", RuntimeFields(c.runtime)},
      {"image", ImageFields(c.image)},
      {"image.sif", SifFields(c.image.sif)},
      {"network", NetworkFields(c.network)},
  };
  schema.tables = {
      {"runtime.handlers", "NAME", CheckHandlerName,
       [&c](const std::string& name) { return HandlerFields(c.runtime.handlers[name]); },
       [&c] { return Names(c.runtime.handlers); }},
      {"image.registries", "HOST", CheckRegistryHost,
       [&c](const std::string& name) { return RegistryFields(c.image.registries[name]); },
       [&c] { return Names(c.image.registries); }},
  };
  return schema;
}

}  // namespace davit::config
