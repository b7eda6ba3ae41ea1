"""Bad input, field by field: the code, and the field's name in the text. One row, one request.

A row is (path of the field, bad value, expected code, word in the message). The path is that of the request's
configuration; the word is the field's name as the request spells it, so that whoever sent it finds it.
"""

from __future__ import annotations

from pathlib import Path

from bench import case
from davit_test.grpc_client import pb, pod_config

BAD = "INVALID_ARGUMENT"
UNKNOWN = "0123456789abcdef" * 4
LONG = "x" * 5000


def put(message, path: str, value) -> None:
    """Sets message.a.b[0].c = value; what is missing on the way is made."""
    *parents, last = path.replace("[0]", ".[0]").replace("[1]", ".[1]").split(".")
    for name in parents:
        if name.startswith("["):
            while len(message) <= int(name[1:-1]):
                message.add()
            message = message[int(name[1:-1])]
        else:
            message = getattr(message, name)
    if last.startswith("["):
        message.append(value)
    elif value is None:
        message.ClearField(last)
    elif isinstance(value, dict) and hasattr(getattr(message, last), "update"):
        getattr(message, last).update(value)
    elif isinstance(value, list):
        del getattr(message, last)[:]
        getattr(message, last).extend(value)
    else:
        setattr(message, last, value)


NAMESPACES = "linux.security_context.namespace_options"
CONTEXT = "linux.security_context"

POD_ROWS = [
    ("metadata", None, BAD, "metadata.name"),
    ("metadata.name", "", BAD, "metadata.name"),
    ("metadata.name", "a;IgnoreUnknown=0", BAD, "metadata.name"),
    ("metadata.name", "../../x", BAD, "metadata.name"),
    ("metadata.name", LONG, BAD, "metadata.name"),
    ("metadata.uid", "", BAD, "metadata.uid"),
    ("metadata.uid", "a\nb", BAD, "metadata.uid"),
    ("metadata.namespace", "../x", BAD, "metadata.namespace"),
    ("metadata.namespace", "a=b", BAD, "metadata.namespace"),
    ("hostname", "x" * 65, BAD, "hostname"),
    ("hostname", "-x", BAD, "hostname"),
    ("hostname", "a b", BAD, "hostname"),
    ("hostname", "a\n127.0.0.1 evil", BAD, "hostname"),
    ("log_directory", "relative/logs", BAD, "log_directory"),
    ("log_directory", "/var/log/../../etc", BAD, "log_directory"),
    ("dns_config.servers", ["1.2.3.4\nnameserver 6.6.6.6"], BAD, "dns_config.servers"),
    ("dns_config.servers", [""], BAD, "dns_config.servers"),
    ("dns_config.servers", ["1.1.1.1"] * 33, BAD, "dns_config.servers"),
    ("dns_config.searches", ["a b"], BAD, "dns_config.searches"),
    ("dns_config.options", ["ndots:1\n"], BAD, "dns_config.options"),
    ("port_mappings[0].protocol", 9, BAD, "port_mappings[0].protocol"),
    ("port_mappings[0].container_port", 0, BAD, "port_mappings[0].container_port"),
    ("port_mappings[0].container_port", 65536, BAD, "port_mappings[0].container_port"),
    ("port_mappings[0].container_port", -1, BAD, "port_mappings[0].container_port"),
    ("port_mappings[0].host_port", -1, BAD, "port_mappings[0].host_port"),
    ("port_mappings[0].host_port", 65536, BAD, "port_mappings[0].host_port"),
    ("port_mappings[0].host_ip", "not-an-address", BAD, "port_mappings[0].host_ip"),
    ("port_mappings[0].host_ip", "1.2.3.4 -j ACCEPT", BAD, "port_mappings[0].host_ip"),
    ("linux.cgroup_parent", "../../escape", BAD, "linux.cgroup_parent"),
    ("linux.cgroup_parent", "/a/../../b", BAD, "linux.cgroup_parent"),
    ("linux.sysctls", {"kernel.core_pattern": "|/x"}, BAD, 'linux.sysctls["kernel.core_pattern"]'),
    ("linux.sysctls", {"kernel.shm_rmid_forced=1+kernel.core_pattern": "|/x"}, BAD, "linux.sysctls"),
    ("linux.sysctls", {"net.ipv4.no_such_thing": "1"}, BAD, 'linux.sysctls["net.ipv4.no_such_thing"]'),
    ("linux.sysctls", {"net.ipv4.ip_forward": ""}, BAD, 'linux.sysctls["net.ipv4.ip_forward"]'),
    ("linux.sysctls", {"net.ipv4.ip_forward": "1\n"}, BAD, 'linux.sysctls["net.ipv4.ip_forward"]'),
    ("linux.sysctls", {"net.ipv4.ip_forward": "many"}, BAD, 'linux.sysctls["net.ipv4.ip_forward"]'),
    ("linux.sysctls", {"net/../kernel/core_pattern": "x"}, BAD, "linux.sysctls"),
    (f"{NAMESPACES}.network", 9, BAD, f"{NAMESPACES}.network"),
    (f"{NAMESPACES}.network", pb.CONTAINER, BAD, f"{NAMESPACES}.network"),
    (f"{NAMESPACES}.pid", 9, BAD, f"{NAMESPACES}.pid"),
    (f"{NAMESPACES}.pid", pb.TARGET, BAD, f"{NAMESPACES}.pid"),
    (f"{NAMESPACES}.ipc", 9, BAD, f"{NAMESPACES}.ipc"),
    (f"{NAMESPACES}.ipc", pb.CONTAINER, BAD, f"{NAMESPACES}.ipc"),
    (f"{CONTEXT}.seccomp.profile_type", 9, BAD, f"{CONTEXT}.seccomp.profile_type"),
    (f"{CONTEXT}.apparmor.profile_type", 9, BAD, f"{CONTEXT}.apparmor.profile_type"),
]

CONTAINER_ROWS = [
    ("metadata", None, BAD, "metadata.name"),
    ("metadata.name", "", BAD, "metadata.name"),
    ("metadata.name", "a/b", BAD, "metadata.name"),
    ("image", None, BAD, "image.image"),
    ("image.image", "", BAD, "image.image"),
    ("image.image", "registry.k8s.io/UPPER:1", BAD, "UPPER"),
    ("image.image", "registry.k8s.io/absent:1", "NOT_FOUND", "absent"),
    ("image.image", "sha256:" + "0" * 64, "NOT_FOUND", "0000"),
    ("command", ["a\0b"], BAD, "command"),
    ("args", ["a\0b"], BAD, "args"),
    ("command", ["x" * (2 << 20)], BAD, "command"),
    ("working_dir", "relative", BAD, "working_dir"),
    ("working_dir", "/a\0b", BAD, "working_dir"),
    ("envs[0].key", "", BAD, "envs"),
    ("envs[0].key", "A=B", BAD, "envs"),
    ("envs[0].value", b"a\0b", BAD, "envs"),
    ("envs[0]", pb.KeyValue(key="K", value=b"\xff"), BAD, "envs[0].value"),
    ("mounts[0].host_path", "relative", BAD, "mounts[0].host_path"),
    ("mounts[0].host_path", "/proc/no-such/place", (BAD, "NOT_FOUND", "FAILED_PRECONDITION"), "mounts[0].host_path"),
    ("mounts[0].host_path", "/" + LONG, BAD, "mounts[0]"),
    ("mounts[0].container_path", "relative", BAD, "mounts[0].container_path"),
    ("mounts[0].container_path", "", BAD, "mounts[0].container_path"),
    ("mounts[0].container_path", "/", BAD, "mounts[0].container_path"),
    ("mounts[0].container_path", "/a/../../b", BAD, "mounts[0].container_path"),
    ("mounts[0].propagation", 9, BAD, "mounts[0].propagation"),
    ("mounts[0].recursive_read_only", True, BAD, "mounts[0].recursive_read_only"),
    ("devices[0].host_path", "/dev/no-such", BAD, "devices[0]"),
    ("devices[0].host_path", "", BAD, "devices[0]"),
    ("devices[0].container_path", "dev/x", BAD, "devices[0].container_path"),
    ("devices[0].permissions", "rwx", BAD, "devices[0].permissions"),
    ("log_path", "../escape.log", BAD, "log_path"),
    ("log_path", "a/../../escape.log", BAD, "log_path"),
    ("log_path", LONG, BAD, "log_path"),
    ("stop_signal", 99, BAD, "stop_signal"),
    ("linux.resources.cpu_period", -1, BAD, "linux.resources.cpu_period"),
    ("linux.resources.cpu_period", 5, BAD, "linux.resources.cpu_period"),
    ("linux.resources.cpu_quota", 5, BAD, "linux.resources.cpu_quota"),
    ("linux.resources.cpu_shares", -1, BAD, "linux.resources.cpu_shares"),
    ("linux.resources.memory_limit_in_bytes", -5, BAD, "linux.resources.memory_limit_in_bytes"),
    ("linux.resources.memory_swap_limit_in_bytes", -5, BAD, "linux.resources.memory_swap_limit_in_bytes"),
    ("linux.resources.oom_score_adj", 1001, BAD, "linux.resources.oom_score_adj"),
    ("linux.resources.oom_score_adj", -1001, BAD, "linux.resources.oom_score_adj"),
    ("linux.resources.cpuset_cpus", "a-b", BAD, "linux.resources.cpuset_cpus"),
    ("linux.resources.cpuset_cpus", "0-99999", BAD, "linux.resources.cpuset_cpus"),
    ("linux.resources.cpuset_mems", "x", BAD, "linux.resources.cpuset_mems"),
    ("linux.resources.hugepage_limits[0].page_size", "3MB", BAD, "linux.resources.hugepage_limits"),
    ("linux.resources.hugepage_limits[0].page_size", "../2MB", BAD, "linux.resources.hugepage_limits"),
    ("linux.resources.unified", {"../x": "1"}, BAD, "linux.resources.unified"),
    (f"{CONTEXT}.capabilities.add_capabilities", ["NO_SUCH"], BAD, "capabilities.add_capabilities"),
    (f"{CONTEXT}.capabilities.drop_capabilities", ["NO_SUCH"], BAD, "capabilities.drop_capabilities"),
    (f"{CONTEXT}.capabilities.add_ambient_capabilities", ["NO_SUCH"], BAD, "capabilities.add_ambient_capabilities"),
    (f"{CONTEXT}.privileged", True, BAD, f"{CONTEXT}.privileged"),
    (f"{NAMESPACES}.network", 9, BAD, NAMESPACES),
    (f"{NAMESPACES}.pid", 9, BAD, NAMESPACES),
    (f"{NAMESPACES}.ipc", 9, BAD, NAMESPACES),
    (f"{CONTEXT}.run_as_user.value", -1, BAD, f"{CONTEXT}.run_as_user"),
    (f"{CONTEXT}.run_as_user.value", 1 << 31, BAD, f"{CONTEXT}.run_as_user"),
    (f"{CONTEXT}.run_as_user.value", 1 << 32, BAD, f"{CONTEXT}.run_as_user"),
    (f"{CONTEXT}.run_as_group.value", 5, BAD, f"{CONTEXT}.run_as_group"),
    (f"{CONTEXT}.run_as_username", "no-such-user", "NOT_FOUND", f"{CONTEXT}.run_as_username"),
    (f"{CONTEXT}.run_as_username", "4294967296", BAD, f"{CONTEXT}.run_as_username"),
    (f"{CONTEXT}.run_as_username", " 1", "NOT_FOUND", f"{CONTEXT}.run_as_username"),
    (f"{CONTEXT}.run_as_username", "-1", "NOT_FOUND", f"{CONTEXT}.run_as_username"),
    (f"{CONTEXT}.run_as_username", "0x0", "NOT_FOUND", f"{CONTEXT}.run_as_username"),
    (f"{CONTEXT}.supplemental_groups", [-1], BAD, f"{CONTEXT}.supplemental_groups"),
    (f"{CONTEXT}.supplemental_groups", [1 << 31], BAD, f"{CONTEXT}.supplemental_groups"),
    (f"{CONTEXT}.supplemental_groups_policy", 9, BAD, f"{CONTEXT}.supplemental_groups_policy"),
    (f"{CONTEXT}.masked_paths", ["/proc/kcore", "relative"], BAD, f"{CONTEXT}.masked_paths[1]"),
    (f"{CONTEXT}.masked_paths", ["/proc/../x"], BAD, f"{CONTEXT}.masked_paths[0]"),
    (f"{CONTEXT}.readonly_paths", [""], BAD, f"{CONTEXT}.readonly_paths[0]"),
    (f"{CONTEXT}.seccomp.profile_type", 9, BAD, f"{CONTEXT}.seccomp.profile_type"),
    (f"{CONTEXT}.seccomp", pb.SecurityProfile(profile_type="Localhost"), BAD, f"{CONTEXT}.seccomp.localhost_ref"),
    (f"{CONTEXT}.seccomp", pb.SecurityProfile(profile_type="Localhost", localhost_ref="relative.json"), BAD,
     f"{CONTEXT}.seccomp.localhost_ref"),
    (f"{CONTEXT}.seccomp", pb.SecurityProfile(profile_type="Localhost", localhost_ref="/no/such.json"),
     (BAD, "NOT_FOUND"), f"{CONTEXT}.seccomp.localhost_ref"),
    (f"{CONTEXT}.seccomp", pb.SecurityProfile(profile_type="Localhost", localhost_ref="/etc/passwd"), BAD,
     f"{CONTEXT}.seccomp.localhost_ref"),
    (f"{CONTEXT}.apparmor.profile_type", 9, BAD, f"{CONTEXT}.apparmor.profile_type"),
    (f"{CONTEXT}.apparmor", pb.SecurityProfile(profile_type="Localhost"), BAD, f"{CONTEXT}.apparmor.localhost_ref"),
]


def run_rows(rows, call) -> None:
    """Every row is tried; the case fails with all that went wrong."""
    wrong = []
    for path, value, code, word in rows:
        try:
            call(path, value, code, word)
        except AssertionError as error:
            shown = repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
            wrong.append(f"{path} = {shown}: {error}")
    assert not wrong, f"{len(wrong)} of {len(rows)} rows:\n  " + "\n  ".join(wrong)


@case("bad fields", "RunPodSandbox")
def pods(t):
    def call(path, value, code, word):
        config = pod_config("refused", log_directory="/tmp")
        if path.startswith("port_mappings") and not path.endswith("container_port"):
            config.port_mappings.add().container_port = 80
        if isinstance(value, pb.SecurityProfile):
            config.linux.security_context.seccomp.CopyFrom(value)
        else:
            put(config, path, value)
        t.refused_pod(code, word, config=config)

    run_rows(POD_ROWS, call)
    t.cri.refused("RunPodSandbox", BAD, "config")
    t.cri.refused("RunPodSandbox", BAD, "runtime_handler", config=pod_config("p"), runtime_handler="../../crun")
    assert not t.cri.ListPodSandbox().items


@case("bad fields", "CreateContainer")
def containers(t):
    pod = t.pod()

    def call(path, value, code, word):
        config = pod.container_config("sleep", "1000")
        head = path.partition(".")[0]
        if head == "mounts[0]":
            config.mounts.add(host_path="/tmp", container_path="/mnt")
        if head == "devices[0]":
            config.devices.add(host_path="/dev/null", container_path="/dev/x", permissions="rw")
        if path == "envs[0].value":
            config.envs.add(key="K")
        if path == "linux.resources.hugepage_limits[0].page_size":
            config.linux.resources.hugepage_limits.add(limit=1 << 21)
        if path == "envs[0]":
            config.envs.append(value)
        elif isinstance(value, pb.SecurityProfile):
            getattr(config.linux.security_context, path.rpartition(".")[2]).CopyFrom(value)
        else:
            put(config, path, value)
        pod.refused(code, word, config=config)

    run_rows(CONTAINER_ROWS, call)
    config = pod.container_config("sleep", "1000")
    t.cri.refused("CreateContainer", BAD, "config", pod_sandbox_id=pod.id)
    t.cri.refused("CreateContainer", BAD, "pod_sandbox_id", config=config)
    t.cri.refused("CreateContainer", "NOT_FOUND", "pod sandbox", config=config, pod_sandbox_id=UNKNOWN)
    assert not t.cri.ListContainers().containers
    # Nothing of all this is left, not even a cgroup of a container.
    assert pod.container().exec("echo", "alive") == "alive"


@case("bad fields", "calls by the id of a container")
def container_ids(t):
    more = {"ExecSync": {"cmd": ["true"]}, "Exec": {"cmd": ["true"], "stdout": True}, "Attach": {"stdout": True},
            "UpdateContainerResources": {"linux": {"cpu_shares": 100}}}
    box = t.run()  # there is one that a loose reading could find
    for name in ("StartContainer", "ContainerStatus", "ContainerStats", "ReopenContainerLog", "ExecSync", "Exec",
                 "Attach", "UpdateContainerResources"):
        t.cri.refused(name, BAD, "container_id", **more.get(name, {}))
        for unknown in (UNKNOWN, "no-such", "../../x", f"../containers/{box.id}", f"{box.id}/../{box.id}", box.id + "/",
                        box.id.upper()):
            t.cri.refused(name, "NOT_FOUND", "container", container_id=unknown, **more.get(name, {}))
    # What takes away is content with what is not there (critest's Idempotence), but not with no name at all.
    for name in ("StopContainer", "RemoveContainer"):
        for unknown in (UNKNOWN, "no-such", f"../containers/{box.id}"):
            t.cri.call(name, container_id=unknown)
        t.cri.refused(name, BAD, "container_id")
    assert box.exec("echo", "alive") == "alive"


@case("bad fields", "calls by the id of a pod")
def pod_ids(t):
    pod = t.pod()  # there is one that a loose reading could find
    for name in ("PodSandboxStatus", "PodSandboxStats", "PortForward", "UpdatePodSandboxResources"):
        t.cri.refused(name, BAD, "pod_sandbox_id")
        for unknown in (UNKNOWN, "no-such", "../../x", f"../pods/{pod.id}", pod.id + "/"):
            t.cri.refused(name, "NOT_FOUND", "pod sandbox", pod_sandbox_id=unknown)
    for name in ("StopPodSandbox", "RemovePodSandbox"):
        for unknown in (UNKNOWN, "no-such", f"../pods/{pod.id}"):
            t.cri.call(name, pod_sandbox_id=unknown)
        t.cri.refused(name, BAD, "pod_sandbox_id")
    assert pod.container().exec("echo", "alive") == "alive"


@case("bad fields", "ExecSync, Exec, Attach, PortForward, StopContainer")
def execution(t):
    pod = t.pod()
    box = pod.container()
    for name, word, fields in (
            ("ExecSync", "cmd", {}), ("ExecSync", "cmd", {"cmd": [""]}), ("ExecSync", "cmd[1]", {"cmd": ["a", "b\0"]}),
            ("ExecSync", "timeout", {"cmd": ["true"], "timeout": -1}),
            ("Exec", "cmd", {"stdout": True}), ("Exec", "cmd[0]", {"cmd": ["\0x"], "stdout": True}),
            ("Exec", "stdout", {"cmd": ["true"]}),
            ("Exec", "stderr", {"cmd": ["true"], "tty": True, "stdout": True, "stderr": True}),
            ("Attach", "stdout", {}), ("Attach", "stderr", {"tty": True, "stderr": True}),
            ("Attach", "tty", {"tty": True, "stdout": True}),
            ("StopContainer", "timeout", {"timeout": -1})):
        t.cri.refused(name, BAD, word, container_id=box.id, **fields)
    for port in (0, -1, 65536):
        t.cri.refused("PortForward", BAD, "port", pod_sandbox_id=pod.id, port=[80, port])
    assert box.exec("echo", "alive") == "alive"


@case("bad fields", "filters")
def filters(t):
    t.run()
    for name in ("ListPodSandbox", "ListContainers", "StreamPodSandboxes", "StreamContainers"):
        t.cri.refused(name, BAD, "filter.state", filter={"state": {"state": 17}})
    for name, items in (("ListPodSandbox", "items"), ("ListContainers", "containers"), ("ListContainerStats", "stats"),
                        ("ListPodSandboxStats", "stats")):
        for wanted in ("no-such", "../..", UNKNOWN, "x" * 10000):
            assert not getattr(t.cri.call(name, filter={"id": wanted}), items), f"{name}: {wanted} fits something"


@case("bad fields", "PullImage, ImageStatus, RemoveImage")
def images(t):
    for name in ("PullImage", "ImageStatus", "RemoveImage"):
        t.cri.refused(name, BAD, "image")
        t.cri.refused(name, BAD, "image", image={})
    for bad in ("registry.k8s.io/UPPER:1", "registry.k8s.io/a:b:c", "registry.k8s.io/a@sha256:123", "http://x/y:1",
                "registry.k8s.io/a b:1", "registry.k8s.io/" + "a" * 5000, "registry.k8s.io/a/../b:1",
                "registry.k8s.io/a:" + "t" * 200, "-", "registry.k8s.io/a@sha256:../../x",
                "registry.k8s.io/a@sha256:" + "A" * 64):
        error = t.cri.refused("PullImage", BAD, image={"image": bad})
        assert bad[:20] in error.details, error
    t.cri.refused("PullImage", "NOT_FOUND", "nobody/has", image={"image": "registry.k8s.io/nobody/has:1"})
    for auth in ({"auth": "!!! no base64"}, {"auth": "bm9jb2xvbg=="}):
        error = t.cri.refused("PullImage", BAD, "auth field", image={"image": "registry.k8s.io/no:1"}, auth=auth)
        assert auth["auth"] not in error.details and "nocolon" not in error.details, "the secret is in the text"
    auth = {"username": "somebody", "password": "secret-of-a-pull"}
    error = t.cri.refused("PullImage", "NOT_FOUND", image={"image": "registry.k8s.io/nobody/has:1"}, auth=auth)
    log = Path(t.engine.log).read_text(errors="replace")
    assert not [word for word in (auth["password"], "bm9jb2xvbg==") if word in error.details + log]


@case("bad fields", "a message that is none is refused by the protocol, and the engine goes on")
def garbage(t):
    pid = t.engine.pid
    for name in t.cri.methods():
        for data in (b"\xff" * 40, b"\x0a\x7f", b"\x08"):
            try:
                answer = t.cri.call(name, data, timeout_s=5)
                if not hasattr(answer, "DESCRIPTOR"):
                    next(answer, None)
                    answer.cancel()
            except AssertionError as error:
                # The answer of gRPC, whose versions differ in it; one of the engine's would name a field.
                assert error.code == "INTERNAL" and "malformed" in error.details, f"{name}: {error}"
            else:
                raise AssertionError(f"{name} took {data!r}")
    assert t.cri.Version().runtime_name == "davit" and t.engine.pid == pid
