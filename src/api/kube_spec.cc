#include "api/kube_spec.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <map>

#include "api/json_reader.h"
#include "base/strings.h"
#include "oci/yaml.h"

namespace davit::api {
namespace {

namespace json = boost::json;

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxNodes = 20000;
constexpr size_t kMaxDocuments = 64;

using Volumes = std::map<std::string, JsonReader>;

std::vector<std::string> Documents(std::string_view text) {
  std::vector<std::string> out;
  std::string current;
  for (const std::string& line : Split(text, '\n')) {
    std::string_view bare = Trim(line);
    if (bare == "---" || bare == "...") {
      out.push_back(std::move(current));
      current.clear();
    } else {
      current += line + "\n";
    }
  }
  out.push_back(std::move(current));
  std::erase_if(out, [](const std::string& document) {
    for (const std::string& line : Split(document, '\n')) {
      if (!Trim(line).empty() && !Trim(line).starts_with('#')) return false;
    }
    return true;
  });
  return out;
}

std::string Text(const JsonReader& value) {
  if (value.is_string()) return value.Str();
  if (value.value() != nullptr && value.value()->is_int64()) return std::to_string(value.Int());
  if (value.value() != nullptr && value.value()->is_bool()) return value.Bool() ? "true" : "false";
  return value.Str();
}

Status ReadEnv(const JsonReader& container, json::object& spec) {
  json::object env;
  for (const JsonReader& item : container["env"].Elements()) {
    if (item["valueFrom"].present()) return Unimplemented(fmt::format("{}.valueFrom is not supported", item.path()));
    env[item["name"].Str()] = Text(item["value"]);
  }
  if (!container["envFrom"].Elements().empty()) return Unimplemented("envFrom is not supported");
  spec["env"] = std::move(env);
  return {};
}

Status ReadMounts(const JsonReader& container, const Volumes& volumes, json::object& spec) {
  json::array binds;
  json::array named;
  for (const JsonReader& mount : container["volumeMounts"].Elements()) {
    std::string name = mount["name"].Str();
    auto volume = volumes.find(name);
    if (volume == volumes.end())
      return InvalidArgument(fmt::format("volume mount {}: there is no such volume", Printable(name)));
    std::string target = mount["mountPath"].Str();
    json::array options;
    if (mount["readOnly"].Bool()) options.emplace_back("ro");
    if (volume->second["hostPath"].present()) {
      std::string path = volume->second["hostPath"]["path"].Str();
      if (std::string sub = mount["subPath"].Str(); !sub.empty()) path += "/" + sub;
      binds.push_back({{"type", "bind"}, {"source", path}, {"destination", target}, {"options", std::move(options)}});
    } else if (volume->second["persistentVolumeClaim"].present()) {
      named.push_back({{"Name", volume->second["persistentVolumeClaim"]["claimName"].Str()},
                       {"Dest", target},
                       {"Options", std::move(options)}});
    } else if (volume->second["emptyDir"].present()) {
      named.push_back({{"Name", ""}, {"Dest", target}, {"Options", std::move(options)}, {"IsAnonymous", true}});
    } else {
      return Unimplemented(
          fmt::format("volume {}: only hostPath, emptyDir and persistentVolumeClaim are supported", Printable(name)));
    }
  }
  spec["mounts"] = std::move(binds);
  spec["volumes"] = std::move(named);
  return {};
}

Status ReadSecurity(const JsonReader& pod, const JsonReader& container, json::object& spec) {
  JsonReader own = container["securityContext"];
  JsonReader shared = pod["securityContext"];
  auto number = [&](const char* key) { return own[key].present() ? own[key] : shared[key]; };
  if (number("runAsUser").present()) {
    std::string user = std::to_string(number("runAsUser").Int());
    if (number("runAsGroup").present()) user += ":" + std::to_string(number("runAsGroup").Int());
    spec["user"] = user;
  }
  if (own["privileged"].Bool()) spec["privileged"] = true;
  if (own["readOnlyRootFilesystem"].Bool()) spec["read_only_filesystem"] = true;
  if (own["allowPrivilegeEscalation"].present() && !own["allowPrivilegeEscalation"].Bool())
    spec["no_new_privileges"] = true;
  json::array add;
  json::array drop;
  for (const std::string& name : own["capabilities"]["add"].Strings()) add.emplace_back(name);
  for (const std::string& name : own["capabilities"]["drop"].Strings()) drop.emplace_back(name);
  spec["cap_add"] = std::move(add);
  spec["cap_drop"] = std::move(drop);
  JsonReader seccomp = own["seccompProfile"].present() ? own["seccompProfile"] : shared["seccompProfile"];
  if (seccomp["type"].Str() == "Unconfined") spec["seccomp_profile_path"] = "unconfined";
  return {};
}

Status ReadLimits(const JsonReader& container, json::object& spec) {
  JsonReader limits = container["resources"]["limits"];
  json::object oci;
  if (limits["memory"].present()) {
    ASSIGN_OR_RETURN(int64_t bytes, KubeMemory(Text(limits["memory"])));
    oci["memory"] = {{"limit", bytes}, {"swap", bytes}};
  }
  if (limits["cpu"].present()) {
    ASSIGN_OR_RETURN(int64_t nanos, KubeCpu(Text(limits["cpu"])));
    oci["cpu"] = {{"period", 100000}, {"quota", nanos / 10000}};
  }
  spec["resource_limits"] = std::move(oci);
  return {};
}

void ReadProbe(const JsonReader& container, json::object& spec) {
  JsonReader probe = container["livenessProbe"];
  std::vector<std::string> command = probe["exec"]["command"].Strings();
  if (command.empty()) return;
  json::array test = {"CMD"};
  for (const std::string& word : command) test.emplace_back(word);
  spec["healthconfig"] = {{"Test", std::move(test)},
                          {"Interval", probe["periodSeconds"].Int(10) * 1'000'000'000},
                          {"Timeout", probe["timeoutSeconds"].Int(1) * 1'000'000'000},
                          {"StartPeriod", probe["initialDelaySeconds"].Int(0) * 1'000'000'000},
                          {"Retries", probe["failureThreshold"].Int(3)}};
}

Result<KubeContainer> ReadContainer(const std::string& pod_name, const JsonReader& pod, const JsonReader& container,
                                    const Volumes& volumes, std::string_view restart) {
  KubeContainer out;
  std::string name = container["name"].Str();
  out.image = container["image"].Str();
  if (name.empty() || out.image.empty()) {
    return InvalidArgument(fmt::format("{}: a container needs a name and an image", container.path()));
  }
  out.always_pull = container["imagePullPolicy"].Str() == "Always";
  out.spec["name"] = pod_name + "-" + name;
  out.spec["image"] = out.image;
  json::array entrypoint;
  json::array command;
  for (const std::string& word : container["command"].Strings()) entrypoint.emplace_back(word);
  for (const std::string& word : container["args"].Strings()) command.emplace_back(word);
  if (!entrypoint.empty()) out.spec["entrypoint"] = std::move(entrypoint);
  if (!command.empty()) out.spec["command"] = std::move(command);
  out.spec["work_dir"] = container["workingDir"].Str();
  out.spec["terminal"] = container["tty"].Bool();
  out.spec["stdin"] = container["stdin"].Bool();
  out.spec["restart_policy"] = std::string(restart);
  RETURN_IF_ERROR(ReadEnv(container, out.spec));
  RETURN_IF_ERROR(ReadMounts(container, volumes, out.spec));
  RETURN_IF_ERROR(ReadSecurity(pod, container, out.spec));
  RETURN_IF_ERROR(ReadLimits(container, out.spec));
  ReadProbe(container, out.spec);
  return out;
}

Result<KubePod> ReadPod(const std::string& name, const JsonReader& metadata, const JsonReader& pod) {
  KubePod out;
  out.name = name;
  if (name.empty()) return InvalidArgument("metadata.name: a pod needs a name");
  json::object labels;
  for (const auto& [key, value] : metadata["labels"].Members()) labels[key] = Text(value);
  out.spec["name"] = name;
  out.spec["labels"] = std::move(labels);
  out.spec["hostname"] = pod["hostname"].Str(name);
  if (pod["hostNetwork"].Bool()) out.spec["netns"] = {{"nsmode", "host"}};
  if (pod["hostPID"].Bool()) out.spec["pidns"] = {{"nsmode", "host"}};
  if (pod["hostIPC"].Bool()) out.spec["ipcns"] = {{"nsmode", "host"}};
  if (pod["shareProcessNamespace"].Bool()) out.spec["shared_namespaces"] = json::array{"ipc", "net", "uts", "pid"};
  json::object sysctls;
  for (const JsonReader& item : pod["securityContext"]["sysctls"].Elements())
    sysctls[item["name"].Str()] = Text(item["value"]);
  out.spec["sysctl"] = std::move(sysctls);
  json::array hosts;
  for (const JsonReader& alias : pod["hostAliases"].Elements()) {
    for (const std::string& host : alias["hostnames"].Strings()) hosts.emplace_back(host + ":" + alias["ip"].Str());
  }
  out.spec["hostadd"] = std::move(hosts);
  Volumes volumes;
  for (const JsonReader& volume : pod["volumes"].Elements()) volumes.emplace(volume["name"].Str(), volume);
  std::string policy = pod["restartPolicy"].Str("Always");
  std::string_view restart = policy == "Never" ? "no" : policy == "OnFailure" ? "on-failure" : "always";
  json::array ports;
  for (const JsonReader& container : pod["containers"].Elements()) {
    ASSIGN_OR_RETURN(KubeContainer made, ReadContainer(name, pod, container, volumes, restart));
    out.containers.push_back(std::move(made));
    for (const JsonReader& port : container["ports"].Elements()) {
      if (port["hostPort"].Int() == 0) continue;
      std::string protocol = port["protocol"].Str("TCP");
      for (char& c : protocol) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      ports.push_back({{"host_ip", port["hostIP"].Str()},
                       {"container_port", port["containerPort"].Int()},
                       {"host_port", port["hostPort"].Int()},
                       {"range", 1},
                       {"protocol", protocol}});
    }
  }
  for (const JsonReader& container : pod["initContainers"].Elements()) {
    ASSIGN_OR_RETURN(KubeContainer made, ReadContainer(name, pod, container, volumes, "no"));
    out.init.push_back(std::move(made));
  }
  if (out.containers.empty()) return InvalidArgument("spec.containers: a pod needs a container");
  out.spec["portmappings"] = std::move(ports);
  return out;
}

}  // namespace

Result<int64_t> KubeCpu(std::string_view text) {
  std::string copy(Trim(text));
  char* end = nullptr;
  double value = std::strtod(copy.c_str(), &end);
  std::string_view unit = end;
  double scale = unit.empty() ? 1e9 : unit == "m" ? 1e6 : unit == "u" ? 1e3 : unit == "n" ? 1 : 0;
  if (end == copy.c_str() || scale == 0 || !(value >= 0) || value * scale > 1e15) {
    return InvalidArgument(fmt::format("\"{}\" is no amount of CPU", Printable(text)));
  }
  return static_cast<int64_t>(value * scale);
}

Result<int64_t> KubeMemory(std::string_view text) {
  static const std::map<std::string_view, double> kUnits = {{"", 1},
                                                            {"m", 1e-3},
                                                            {"k", 1e3},
                                                            {"K", 1e3},
                                                            {"M", 1e6},
                                                            {"G", 1e9},
                                                            {"T", 1e12},
                                                            {"Ki", 1024.0},
                                                            {"Mi", 1048576.0},
                                                            {"Gi", 1073741824.0},
                                                            {"Ti", 1099511627776.0}};
  std::string copy(Trim(text));
  char* end = nullptr;
  double value = std::strtod(copy.c_str(), &end);
  auto unit = kUnits.find(std::string_view(end));
  if (end == copy.c_str() || unit == kUnits.end() || !(value >= 0) || value * unit->second > 1e18) {
    return InvalidArgument(fmt::format("\"{}\" is no amount of memory", Printable(text)));
  }
  return static_cast<int64_t>(value * unit->second);
}

Result<std::vector<KubePod>> ReadKube(std::string_view yaml) {
  std::vector<std::string> documents = Documents(yaml);
  if (documents.empty()) return InvalidArgument("the file has no document");
  if (documents.size() > kMaxDocuments) return InvalidArgument("the file has too many documents");
  std::vector<KubePod> out;
  for (const std::string& text : documents) {
    ASSIGN_OR_RETURN(std::string converted, oci::YamlToJson(text, kMaxDepth, kMaxNodes));
    ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(converted));
    JsonReader root = document.root();
    std::string kind = root["kind"].Str();
    JsonReader metadata = root["metadata"];
    JsonReader spec = root["spec"];
    std::string name = metadata["name"].Str();
    if (kind == "Deployment" || kind == "DaemonSet") {
      metadata = spec["template"]["metadata"];
      if (spec["replicas"].Int(1) > 1) return Unimplemented("spec.replicas: more than one is not supported");
      spec = spec["template"]["spec"];
      name += "-pod";
    } else if (kind != "Pod") {
      return Unimplemented(
          fmt::format("kind \"{}\" is not supported: Pod, Deployment and DaemonSet are", Printable(kind)));
    }
    Result<KubePod> pod = ReadPod(name, metadata, spec);
    RETURN_IF_ERROR(document.status());
    RETURN_IF_ERROR(pod.status());
    out.push_back(std::move(*pod));
  }
  return out;
}

}  // namespace davit::api
