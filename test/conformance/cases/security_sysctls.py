"""docs/security.md: sysctls, annotations, labels. What a request names must not reach further than its field."""

from contextlib import contextmanager
from pathlib import Path

import images
from bench import case
from busybox import busybox
from oci_image import Layer

CORE = Path("/proc/sys/kernel/core_pattern")


@contextmanager
def unchanged(*paths: Path):
    """These settings of the node are the same at the end; a fault must not outlive the case that finds it."""
    before = {path: path.read_text() for path in paths}
    try:
        yield
        for path, text in before.items():
            assert path.read_text() == text, f"{path} of the node was changed"
    finally:
        for path, text in before.items():
            if path.read_text() != text:
                path.write_text(text)


@case("security", "sysctls: one at a time, from an allow list; a joined one reaches no second (CVE-2022-0811)")
def joined(t):
    evil = "|/tmp/davit-conformance-evil"
    rows = (("kernel.shm_rmid_forced", f"1+kernel.core_pattern={evil}"),
            ("kernel.shm_rmid_forced", f"1\nkernel.core_pattern={evil}"),
            ("kernel.shm_rmid_forced=1+kernel.core_pattern", evil), ("kernel.shm_rmid_forced+kernel.core_pattern", evil),
            ("kernel/shm/../core_pattern", evil), ("net/../kernel/core_pattern", evil),
            ("net.ipv4.ip_forward/../../../../kernel/core_pattern", evil), ("kernel.core_pattern", evil),
            ("kernel.modprobe", evil), ("vm.overcommit_memory", "1"), ("kernel.hostname", "evil"),
            ("fs.suid_dumpable", "1"), ("user.max_user_namespaces", "9"))
    with unchanged(CORE):
        for name, value in rows:
            t.refused_pod("INVALID_ARGUMENT", "linux.sysctls", sysctls={name: value})
    # What is allowed is set exactly, in both spellings.
    box = t.pod(sysctls={"kernel.shm_rmid_forced": "1", "net/ipv4/ip_unprivileged_port_start": "81",
                         "net.ipv4.ping_group_range": "0 100", "fs.mqueue.msg_max": "77"}).container()
    assert box.exec("cat", "/proc/sys/kernel/shm_rmid_forced") == "1"
    assert box.exec("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "81"
    assert box.exec("cat", "/proc/sys/net/ipv4/ping_group_range").split() == ["0", "100"]
    assert box.exec("cat", "/proc/sys/fs/mqueue/msg_max") == "77"


@case("security", "sysctls: refused where the namespace is the node's (CVE-2022-0532)")
def of_node(t):
    for namespaces, name, value in (({"network": "NODE"}, "net.ipv4.ip_unprivileged_port_start", "82"),
                                    ({"network": "NODE"}, "net/ipv4/ip_unprivileged_port_start", "82"),
                                    ({"ipc": "NODE"}, "kernel.msgmax", "8191"), ({"ipc": "NODE"}, "kernel.sem", "1 2 3 4"),
                                    ({"ipc": "NODE"}, "kernel.shm_rmid_forced", "1"),
                                    ({"ipc": "NODE"}, "fs.mqueue.msg_max", "76")):
        with unchanged(Path("/proc/sys") / name.replace(".", "/")):
            t.refused_pod("INVALID_ARGUMENT", "linux.sysctls", namespaces={"pid": "CONTAINER", **namespaces},
                          sysctls={name: value})


@case("security", "sysctls: what a pod sets stays in the pod")
def own(t):
    names = {"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "83", "kernel.msgmax": "8190"}
    with unchanged(*(Path("/proc/sys") / n.replace(".", "/") for n in names)):
        box, other = t.pod(sysctls=names).container(), t.run()
        for name, value in names.items():
            path = "/proc/sys/" + name.replace(".", "/")
            assert box.exec("cat", path) == value and other.exec("cat", path) != value


# crun's own list of those with power (`crun features`, potentiallyUnsafeConfigAnnotations), and the peers'.
ANNOTATIONS = ("run.oci.handler", "run.oci.hooks.stdout", "run.oci.hooks.stderr", "run.oci.mount_context_type",
               "run.oci.keep_original_groups", "run.oci.systemd.force_cgroup_v1", "run.oci.systemd.subgroup",
               "run.oci.delegate-cgroup", "run.oci.seccomp.receiver", "run.oci.seccomp_fail_unknown_syscall",
               "run.oci.seccomp.plugins", "run.oci.pidfd_receiver", "run.oci.seccomp_bpf_data", "run.oci.timens_offset",
               "module.wasm.image/variant", "io.kubernetes.cri-o.unified-cgroup.c1",
               "io.kubernetes.cri-o.unified-cgroup.memory.max", "io.kubernetes.cri-o.userns-mode",
               "io.kubernetes.cri-o.Devices", "io.kubernetes.cri-o.ShmSize", "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
               "org.systemd.property.ExecStartPre", "org.systemd.property.CPUWeight", "org.criu.config",
               "io.containerd.rdt-class", "io.kubernetes.cri.untrusted-workload")


@case("security", "annotations of a request never reach the runtime (CVE-2023-6476, CVE-2024-3154)")
def annotations(t):
    witness = t.folder("annotations") / "written"
    evil = {name: str(witness) for name in ANNOTATIONS}
    pod = t.pod(annotations=evil)
    box = pod.container("sleep", "1000", annotations=evil)
    given = box.info()["runtimeSpec"].get("annotations") or {}
    # The engine's own: of the compiled filter, and of systemd's scopes (docs/adr/0011, 0012).
    own = {"run.oci.seccomp_bpf_data", "run.oci.systemd.subgroup"}
    foreign = {name: value for name, value in given.items() if name not in own or value == str(witness)}
    assert not foreign, f"the runtime was given {sorted(foreign)}"
    assert not witness.exists()
    assert int(box.proc_status("Uid").split()[0]) == 0 and box.namespace("user")
    # They are kept for those who ask, and that is all.
    assert dict(box.status().annotations) == evil == dict(pod.status().annotations)


@case("security", "labels and annotations of an image are data (CVE-2026-53488)")
def labels(t):
    witness = t.folder("labels") / "written"
    evil = {"containerd.io/restart.loguri": f"binary:///bin/sh?-c=touch%20{witness}", "containerd.io/restart.status": "running",
            "io.containerd.image.config.stop-signal": "SIGKILL", "io.kubernetes.cri-o.Volumes": "[]",
            "io.kubernetes.container.name": "evil", **{name: str(witness) for name in ANNOTATIONS}}
    image = t.image("labels", images.shell_image(Layer.of(images.base_entries(busybox())), Labels=evil))
    box = t.run("sleep", "1000", image=image)
    status = box.status()
    assert not status.labels and not status.annotations, status
    assert str(witness) not in str(box.info()["runtimeSpec"].get("annotations"))
    box.stop(0)
    assert not witness.exists()
