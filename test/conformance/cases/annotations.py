"""Annotations: those that the handler allows have a typed effect, all others none."""

from bench import case

ALLOWED = "".join(
    f"""[runtime.handlers.{name}]
allowed_annotations = ["umask.crio.io", "io.kubernetes.cri-o.ShmSize", "devices.crio.io"]
allowed_devices = ["/dev/full"]
""" for name in ("crun", "native", "runc"))

# What runtimes act on, and what CRI-O would.
DANGEROUS = {"run.oci.seccomp_bpf_data": "BgAAAAAA/38=", "run.oci.hooks.stdout": "/tmp/davit-annotation-was-used",
             "run.oci.keep_original_groups": "1", "org.systemd.property.ExecStartPre": "'/bin/touch /tmp/x'",
             "io.kubernetes.cri-o.UnifiedCgroup": "memory.max=1", "umask.crio.io": "077",
             "module.wasm.image/variant": "compat", "io.kubernetes.cri-o.ShmSize": "1Mi"}


@case("annotations", "none reaches the runtime or has an effect without being allowed")
def inert(t):
    pod = t.pod(annotations=DANGEROUS)
    box = pod.container(annotations=DANGEROUS)
    # The engine's own, for crun below systemd.
    written = set(box.info()["runtimeSpec"].get("annotations", {})) - {"run.oci.systemd.subgroup"}
    assert not written, written
    assert box.sh("umask") == "0022"
    assert " 65536 " in box.exec("df", "-k", "/dev/shm"), box.exec("df", "-k", "/dev/shm")
    assert dict(box.status().annotations) == DANGEROUS, "they are still the client's labels"


@case("annotations", "umask, shm-size and devices where the handler allows them", config=ALLOWED)
def allowed(t):
    pod = t.pod(annotations={"umask.crio.io": "0027", "io.kubernetes.cri-o.ShmSize": "8Mi",
                             "devices.crio.io": "/dev/full:/dev/brimful:rw"})
    box = pod.container("sh", "-c", "touch /made; sleep 1000")
    assert box.proc_status("Umask") == "0027"
    if t.handler == "crun":  # runc 1.1 gives an exec its own
        assert box.sh("umask") == "0027", "an exec has the umask of the container"
    t.wait_for("the file", lambda: box.exec_sync("ls", "/made").exit_code == 0)
    assert box.exec("stat", "-c", "%a", "/made") == "640"
    assert " 8192 " in box.exec("df", "-k", "/dev/shm"), box.exec("df", "-k", "/dev/shm")
    assert box.exec("stat", "-c", "%t %T", "/dev/brimful") == "1 7"
    own = pod.container(annotations={"umask.crio.io": "0077"})
    assert own.proc_status("Umask") == "0077", "the container's word wins"


@case("annotations", "values of the wrong type are refused by the annotation's name", config=ALLOWED)
def wrong_type(t):
    t.refused_pod("INVALID_ARGUMENT", "io.kubernetes.cri-o.ShmSize", annotations={
        "io.kubernetes.cri-o.ShmSize": "1Mi,mode=0777"})
    pod = t.pod()
    pod.refused("INVALID_ARGUMENT", "umask.crio.io", annotations={"umask.crio.io": "999"})
    pod.refused("PERMISSION_DENIED", "/dev/loop-control", annotations={"devices.crio.io": "/dev/loop-control"})
