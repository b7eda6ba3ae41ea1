"""The node: restarts, rotation, statistics, drain, many pods."""

import base64
import contextlib
import json
import re
import signal
import tempfile
import time
from pathlib import Path

import images
from busybox import busybox
from kube import NODE, Kube, case, container, wait_for
from oci_image import Layer, Pusher
from registry import Registry

COUNT = "i=0; while :; do i=$((i+1)); echo line $i; [ $((i % 200)) = 0 ] && sleep 0.05; done"


def lines_are_whole(text: str) -> int:
    numbers = [int(n) for n in re.findall(r"^line (\d+)$", text, re.M)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a line is missing, torn or doubled"
    return numbers[-1]


@case("SIGKILL of davitd and a restart of the kubelet: nothing restarts, no line is lost")
def restarts(k: Kube) -> None:
    pods = [k.pod(container("sh", "-c", COUNT), wait="", restartPolicy="Always") for _ in range(4)]
    for pod in pods:
        k.wait_ready(pod)
    before = {pod: k.container_status(pod)["containerID"] for pod in pods}
    for _ in range(3):
        k.restart("davitd", signal.SIGKILL)
        time.sleep(1)  # under load: lines are written meanwhile
    k.restart("kubelet", signal.SIGTERM)
    wait_for("the node answers again", lambda: all(k.call("exec", pod, "--", "true", check=False).returncode == 0
                                                   for pod in pods), 90)
    new = k.pod(container("echo", "after"), wait="done")
    assert k.logs(new) == "after\n"
    for pod in pods:
        status = k.container_status(pod)
        assert status["containerID"] == before[pod] and status["restartCount"] == 0, status
        assert lines_are_whole(k.logs(pod, "--tail=-1")) > 1000


@case("log rotation by the kubelet: the file stays small, and a follower loses nothing")
def rotation(k: Kube) -> None:
    text = "for i in $(seq 1 400000); do echo line $i; done; sleep 100000"
    pod = k.pod(container("sh", "-c", text), wait="ready")
    uid = k.get("pod", pod)["metadata"]["uid"]
    [folder] = list((k.dir / "pod-logs").glob(f"*_{uid}"))
    wait_for("all is written", lambda: "line 400000" in k.logs(pod, "--tail=1"), 120)
    wait_for("it was rotated", lambda: len(list((folder / "main").glob("0.log*"))) > 1, 60)
    assert (folder / "main" / "0.log").stat().st_size < 12 << 20


@case("stats summary and cadvisor's metrics")
def stats(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "head -c 3000000 /dev/zero >/f; while :; do :; done",
                          resources={"limits": {"cpu": "100m"}}))

    wait_for("its statistics", lambda: summary_of(k, pod).get("containers", [{}])[0].get("cpu", {}).get(
        "usageCoreNanoSeconds", 0) > 0 and summary_of(k, pod)["containers"][0].get("rootfs", {}).get(
        "usedBytes", 0) >= 3_000_000, 90)
    assert summary_of(k, pod)["containers"][0]["memory"]["workingSetBytes"] > 0
    assert "container_cpu_usage_seconds_total" in k.call("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/cadvisor").stdout


@case("static pods come and go with their files")
def static(k: Kube) -> None:
    file = k.dir / "manifests" / "static.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static"}, "spec": {
        "containers": [container("sleep", "100000")], "terminationGracePeriodSeconds": 1}}))
    try:
        wait_for("it runs", lambda: k.call("get", "pod", f"static-{NODE}", "-o", "jsonpath={.status.phase}",
                                           check=False).stdout == "Running", 90)
    finally:
        file.unlink()
    wait_for("it is gone", lambda: k.call("get", "pod", f"static-{NODE}", check=False).returncode != 0, 90)


@case("drain takes a deployment's pods away, uncordon brings them back")
def drain(k: Kube) -> None:
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "drained"}}, "template": {
        "metadata": {"labels": {"app": "drained"}},
        "spec": {"containers": [container("sleep", "100000")], "terminationGracePeriodSeconds": 1}}}
    name = k.apply("Deployment", spec, version="apps/v1")
    ready = lambda: k.get("deployment", name)["status"].get("readyReplicas", 0)  # noqa: E731
    wait_for("three are ready", lambda: ready() == 3)
    k.call("drain", NODE, "--ignore-daemonsets", "--force", "--delete-emptydir-data", timeout_s=120)
    try:
        wait_for("none is ready", lambda: ready() == 0)
    finally:
        k.call("uncordon", NODE)
    wait_for("three are ready again", lambda: ready() == 3, 90)


@case("a hundred pods at once")
def hundred(k: Kube) -> None:
    spec = {"replicas": 100, "selector": {"matchLabels": {"app": "hundred"}}, "template": {
        "metadata": {"labels": {"app": "hundred"}},
        "spec": {"containers": [container("sleep", "100000")], "terminationGracePeriodSeconds": 0}}}
    name = k.apply("Deployment", spec, version="apps/v1")
    wait_for("all are ready", lambda: k.get("deployment", name)["status"].get("readyReplicas", 0) == 100, 300)
    restarts = [c["restartCount"] for p in k.get("pods", "", "-l", "app=hundred")["items"]
                for c in p["status"]["containerStatuses"]]
    assert restarts == [0] * 100
    k.call("delete", "deployment", name, "--cascade=foreground", "--timeout=200s", timeout_s=240)
    wait_for("all are gone", lambda: not k.get("pods", "", "-l", "app=hundred")["items"], 120)


def summary_of(k: Kube, pod: str) -> dict:
    body = json.loads(k.call("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/stats/summary").stdout)
    found = [p for p in body["pods"] if p["podRef"]["name"] == pod]
    return found[0] if found else {}


@contextlib.contextmanager
def kubelet_with(k: Kube, **settings):
    """A kubelet with other settings; as it was afterwards."""
    file = k.dir / "kubelet.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), **settings}))
    try:
        k.restart("kubelet", signal.SIGTERM)
        wait_for("the kubelet answers", lambda: k.call("get", "--raw", f"/api/v1/nodes/{NODE}/proxy/healthz",
                                                       check=False).stdout == "ok", 60)
        yield
    finally:
        file.write_text(before)
        k.restart("kubelet", signal.SIGTERM)


@case("PodAndContainerStatsFromCRI: the summary and a container's series come from Davit")
def stats_from_cri(k: Kube) -> None:
    with kubelet_with(k, featureGates={"PodAndContainerStatsFromCRI": True}):
        pod = k.pod(container("sh", "-c", "while :; do :; done", resources={"limits": {"cpu": "100m"}}))
        wait_for("its statistics", lambda: summary_of(k, pod).get("containers", [{}])[0].get("cpu", {}).get(
            "usageCoreNanoSeconds", 0) > 0 and summary_of(k, pod).get("network", {}).get("rxBytes") is not None, 60)
        series = rf'container_cpu_usage_seconds_total{{[^}}]*container="main"[^}}]*pod="{pod}"'
        wait_for("its series", lambda: re.search(series, k.call(
            "get", "--raw", f"/api/v1/nodes/{NODE}/proxy/metrics/cadvisor").stdout), 60)


@case("EventedPLEG: starts, exits and restarts are seen")
def evented(k: Kube) -> None:
    with kubelet_with(k, featureGates={"EventedPLEG": True}):
        done = k.pod(container("sh", "-c", "echo hi"), wait="done")
        assert k.status(done)["phase"] == "Succeeded"
        pod = k.pod(container("sh", "-c", "sleep 2; exit 1"), wait="", restartPolicy="Always")
        wait_for("a restart", lambda: k.status(pod).get("containerStatuses", [{}])[0].get("restartCount", 0) >= 1)


@case("a registry that wants a password: refused without, pulled with an image pull secret")
def pull_secret(k: Kube) -> None:
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder), user="somebody", password="secret").start()
        try:
            Pusher(registry.url, "somebody", "secret").push(
                images.shell_image(Layer.of(images.base_entries(busybox()))), "private/busybox", "1")
            host = registry.url.removeprefix("http://")
            image = f"{host}/private/busybox:1"
            bare = k.pod(container("true", image=image), wait="")
            wait_for("it is refused", lambda: "401" in k.explain(bare) or "credentials" in k.explain(bare))
            auth = base64.b64encode(b"somebody:secret").decode()
            body = json.dumps({"auths": {host: {"auth": auth}}})
            k.apply("Secret", {"type": "kubernetes.io/dockerconfigjson", "data": {
                ".dockerconfigjson": base64.b64encode(body.encode()).decode()}}, name="pull-secret", key="")
            k.pod(container("sleep", "100000", image=image), imagePullSecrets=[{"name": "pull-secret"}])
        finally:
            registry.stop()
