"""Resources, namespaces of the node, and the security context."""

import json
import os

from kube import BUSYBOX, Kube, case, container, wait_for


def cgroup(k: Kube, pod: str, controller: str, file: str) -> str:
    """Read in the container, where its cgroup is the root."""
    return k.sh(pod, f"cat /sys/fs/cgroup/{controller}/{file} 2>/dev/null || cat /sys/fs/cgroup/{file}")


@case("limits: memory and CPU are the cgroup's; beyond memory is OOMKilled")
def limits(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000", resources={"limits": {"cpu": "300m", "memory": "96Mi"},
                                                        "requests": {"cpu": "100m", "memory": "32Mi"}}))
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        assert cgroup(k, pod, "", "memory.max") == str(96 << 20) and cgroup(k, pod, "", "cpu.max") == "30000 100000"
    else:
        assert cgroup(k, pod, "memory", "memory.limit_in_bytes") == str(96 << 20)
        assert cgroup(k, pod, "cpu", "cpu.cfs_quota_us") == "30000" and cgroup(k, pod, "cpu", "cpu.shares") == "102"
    greedy = k.pod(container("sh", "-c", "tail /dev/zero", resources={"limits": {"memory": "32Mi"}}), wait="done")
    ended = k.container_status(greedy)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137), ended


@case("resize in place: the cgroup changes, and nothing is started again")
def resize(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000", resources={"limits": {"cpu": "200m", "memory": "64Mi"}}), restartPolicy="Always")
    before = k.container_status(pod)["containerID"]
    change = {"spec": {"containers": [{"name": "main", "resources": {
        "limits": {"cpu": "400m", "memory": "128Mi"}, "requests": {"cpu": "400m", "memory": "128Mi"}}}]}}
    k.call("patch", "pod", pod, "--subresource", "resize", "-p", json.dumps(change))
    v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    file = ("", "memory.max") if v2 else ("memory", "memory.limit_in_bytes")
    wait_for("the limit is new", lambda: cgroup(k, pod, *file) == str(128 << 20))
    wait_for("the status says so", lambda: k.container_status(pod).get("resources", {}).get("limits", {}).get("cpu") == "400m")
    after = k.container_status(pod)
    assert after["containerID"] == before and after["restartCount"] == 0


@case("an ephemeral container sees the processes of its target")
def ephemeral(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000"))
    k.call("debug", pod, f"--image={BUSYBOX}", "--target=main", "--container=look", "--profile=general", "--", "sleep", "1000")
    wait_for("it runs", lambda: any(c.get("state", {}).get("running") for c in k.status(pod).get(
        "ephemeralContainerStatuses", [])))
    seen = k.exec(pod, "ps", "-o", "args", container="look")
    assert "sleep 100000" in seen, seen
    assert k.exec(pod, "readlink", "/proc/self/ns/net", container="look") == k.exec(pod, "readlink", "/proc/self/ns/net")


@case("host network, host PID and host ports")
def host(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000"), hostNetwork=True, hostPID=True)
    assert k.sh(pod, "readlink /proc/self/ns/net") == os.readlink("/proc/self/ns/net")
    assert k.sh(pod, "readlink /proc/self/ns/pid") == os.readlink("/proc/self/ns/pid")
    assert k.status(pod)["podIP"] == k.status(pod)["hostIP"]
    served = k.pod(container("sh", "-c", "mkdir /w; echo served >/w/index.html; exec httpd -f -p 80 -h /w",
                             ports=[{"containerPort": 80, "hostPort": 18099}]))
    address = k.status(served)["hostIP"]
    wait_for("the node's port answers", lambda: "served" in k.call(
        "exec", pod, "--", "wget", "-qO-", "-T", "2", f"http://{address}:18099/", check=False).stdout)


@case("security context: users, groups, capabilities, root, privilege, seccomp")
def security(k: Kube) -> None:
    text = k.output_of(container(
        "sh", "-c", "id; touch /f 2>/dev/null && echo written; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; "
        "stat -c %g:%a /v", volumeMounts=[{"name": "v", "mountPath": "/v"}], securityContext={
            "runAsUser": 1234, "runAsGroup": 2345, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}),
        volumes=[{"name": "v", "emptyDir": {}}],
        securityContext={"fsGroup": 3456, "supplementalGroups": [4567]})
    assert "uid=1234" in text and "gid=2345" in text and "3456" in text and "4567" in text, text
    assert "written" not in text and "CapEff:\t0000000000000000" in text and "NoNewPrivs:\t1" in text, text
    assert "Seccomp:\t2" in text and "3456:2777" in text, text
    added = k.output_of(container("sh", "-c", "grep CapEff /proc/self/status", securityContext={
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}))
    assert int(added.split()[1], 16) == 1 << 12
    privileged = k.output_of(container("sh", "-c", "ls /dev | wc -l; mount -t tmpfs x /mnt && echo mounted || "
                                       "{ mkdir -p /mnt; mount -t tmpfs x /mnt && echo mounted; }",
                                       securityContext={"privileged": True}))
    assert "mounted" in privileged and int(privileged.split()[0]) > 30, privileged


@case("shared PID namespace, sysctls, hostname and hosts")
def pod_settings(k: Kube) -> None:
    pod = k.pod(container("sleep", "100000"), container("sleep", "200000", name="other"), shareProcessNamespace=True,
                hostname="named", hostAliases=[{"ip": "192.0.2.9", "hostnames": ["alias.test"]}],
                securityContext={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "99"}]})
    assert "sleep 200000" in k.exec(pod, "ps", "-o", "args")
    assert k.sh(pod, "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start").split() == ["named", "99"]
    assert "192.0.2.9\talias.test" in k.exec(pod, "cat", "/etc/hosts")


@case("RuntimeClass: the handler that it names, and an error for one that is not there")
def runtime_class(k: Kube) -> None:
    k.apply("RuntimeClass", "runc", name="with-runc", version="node.k8s.io/v1", key="handler")
    k.apply("RuntimeClass", "nothing", name="with-nothing", version="node.k8s.io/v1", key="handler")
    pod = k.pod(container("sleep", "100000"), runtimeClassName="with-runc")
    assert k.status(pod)["phase"] == "Running"
    bad = k.pod(container("true"), wait="", runtimeClassName="with-nothing")
    wait_for("the handler is named", lambda: '"nothing" is not configured' in k.explain(bad))


@case("ephemeral storage: what a container writes beyond its limit evicts the pod")
def eviction(k: Kube) -> None:
    deep = "for i in $(seq 1 150); do mkdir d; cd d; done; head -c 60000000 /dev/zero >f; sleep 100000"
    pod = k.pod(container("sh", "-c", deep, resources={"limits": {"ephemeral-storage": "20Mi"}}), wait="")
    wait_for("it is evicted", lambda: k.status(pod).get("reason") == "Evicted", 120)
    assert "ephemeral" in k.status(pod)["message"], k.status(pod)["message"]


@case("dead containers are collected: one of the past is kept")
def collected(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "exit 0"), wait="", restartPolicy="Always")
    wait_for("three restarts", lambda: k.container_status(pod)["restartCount"] >= 3
             if k.status(pod).get("containerStatuses") else False, 120)
    uid = k.get("pod", pod)["metadata"]["uid"]

    def left() -> int:
        listed = json.loads(k.davit("ctr", "list", "-o", "json"))
        rows = listed if isinstance(listed, list) else next(iter(listed.values()))
        return sum(uid in json.dumps(row) for row in rows)
    wait_for("the others are gone", lambda: 1 <= left() <= 2, 120)
