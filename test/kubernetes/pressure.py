"""The node under pressure, and what the kubelet collects."""

import re
import signal

import images
from busybox import busybox
from kube import NODE, Kube, KubeError, case, container, wait_for
from node import kubelet_with
from oci_image import Entry, Layer, Pusher


def condition(k: Kube, kind: str) -> str:
    return next(c["status"] for c in k.get("node", NODE)["status"]["conditions"] if c["type"] == kind)


def restart_davitd(k: Kube) -> None:
    k.restart("davitd", signal.SIGTERM)

    def answers() -> bool:
        try:
            return bool(k.davit("image", "list"))
        except KubeError:
            return False
    wait_for("davitd answers", answers)


def has_image(k: Kube, reference: str) -> bool:
    return reference in k.davit("image", "list", "-o", "json")


@case("a pod that writes more than its ephemeral-storage limit is evicted, and its node is not")
def ephemeral(k: Kube) -> None:
    limits = {"resources": {"limits": {"ephemeral-storage": "2Mi"}}}
    layer = k.pod(container("sh", "-c", "head -c 8000000 /dev/zero >/f; sleep 1000", **limits), wait="")
    volume = k.pod(container("sh", "-c", "head -c 8000000 /dev/zero >/v/f; sleep 1000", **limits,
                             volumeMounts=[{"name": "v", "mountPath": "/v"}]), wait="", volumes=[{"name": "v", "emptyDir": {}}])
    log = k.pod(container("sh", "-c", "yes | head -c 8000000; sleep 1000", **limits), wait="")
    for pod in (layer, volume, log):
        status = k.wait_done(pod, 120)
        assert status["reason"] == "Evicted" and "ephemeral" in status["message"].lower(), status
    assert condition(k, "DiskPressure") == "False"


@case("under disk pressure unused images go, pods are evicted, and the node recovers")
def disk(k: Kube) -> None:
    registry = (k.dir / "registry.url").read_text()
    Pusher(registry).push(images.shell_image(Layer.of([*images.base_entries(busybox()), Entry("unused", data=b"x" * 99)])),
                          "e2e-test-images/unused", "1")
    unused = "registry.k8s.io/e2e-test-images/unused:1"
    k.pod(container("true", image=unused), wait="done", name="unused")
    k.call("delete", "pod", "unused", "--grace-period=0", "--force")
    assert has_image(k, unused)
    pod = k.pod(container("sleep", "100000"))
    # More than any disk has free: what can be done about it is done, and does not help.
    full = {"evictionHard": {"nodefs.available": "99.99%", "imagefs.available": "99.99%"},
            "evictionPressureTransitionPeriod": "1s", "imageMinimumGCAge": "1s"}
    with kubelet_with(k, **full):
        wait_for("the unused image is collected", lambda: not has_image(k, unused), 120)
        wait_for("the node says so", lambda: condition(k, "DiskPressure") == "True", 60)
        status = k.wait_done(pod, 120)
        assert status["reason"] == "Evicted", status
    wait_for("the pressure is gone", lambda: condition(k, "DiskPressure") == "False", 120)
    wait_for("the node takes pods again", lambda: not any(
        t["key"] == "node.kubernetes.io/disk-pressure" for t in k.get("node", NODE)["spec"].get("taints", [])), 60)
    k.pod(container("true", image=unused), wait="done")  # fetched again


@case("api.crio_socket: cAdvisor has a container's and its pod's series, with an unchanged kubelet")
def cadvisor(k: Kube) -> None:
    file = k.dir / "davit.toml"
    before = file.read_text()
    file.write_text(before.replace("[api]\n", '[api]\ncrio_socket = "/var/run/crio/crio.sock"\n'))
    pod = ""

    def series(name: str, *labels: str) -> bool:
        text = k.call("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/cadvisor").stdout
        return any(all(label in line for label in labels) and float(line.split("} ")[1].split()[0]) > 0
                   for line in re.findall(rf"^{name}{{.*$", text, re.M))
    try:
        restart_davitd(k)
        with kubelet_with(k):
            pod = k.pod(container("sh", "-c", "head -c 20000000 /dev/zero | tail | wc -c; while :; do :; done",
                                  resources={"limits": {"cpu": "200m"}}))
            mine = (f'pod="{pod}"', 'namespace="default"')
            for name in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes",
                         "container_start_time_seconds"):
                wait_for(f"{name} of its container", lambda: series(name, *mine, 'container="main"', "busybox"), 90)
            wait_for("its pod's traffic", lambda: series("container_network_receive_bytes_total", *mine), 90)
            file.write_text(before)
            restart_davitd(k)  # before the kubelet, which ends when it finds no runtime
    finally:
        file.write_text(before)
    # What was made under the other names is still this davitd's.
    wait_for("it answers", lambda: k.call("exec", pod, "--", "echo", "alive", check=False).stdout == "alive\n")
