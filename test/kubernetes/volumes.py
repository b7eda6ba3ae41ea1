"""Volumes of every kind, environment, and user namespaces with all of them."""

import base64
import json
import tempfile
from pathlib import Path

from kube import BUSYBOX, Kube, case, container

ALL = ("disk", "memory", "config", "secret", "projected", "down", "host", "image")


def every_volume(k: Kube, folder: str) -> tuple[list[dict], list[dict]]:
    config = k.apply("ConfigMap", {"key": "from config", "other": "more"}, key="data")
    secret = k.apply("Secret", {"word": base64.b64encode(b"from secret").decode()}, key="data")
    volumes = [
        {"name": "disk", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
        {"name": "config", "configMap": {"name": config}},
        {"name": "secret", "secret": {"secretName": secret, "defaultMode": 0o400}},
        {"name": "projected", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}, {"configMap": {"name": config}}]}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "host", "hostPath": {"path": folder}}, {"name": "image", "image": {"reference": BUSYBOX}}]
    mounts = [{"name": name, "mountPath": f"/v/{name}"} for name in ALL]
    mounts.append({"name": "config", "mountPath": "/v/sub", "subPath": "other"})
    return volumes, mounts


LOOK = """set -e
echo d >/v/disk/f; cat /v/disk/f; echo m >/v/memory/f; grep ' /v/memory tmpfs' /proc/mounts | wc -l
cat /v/config/key; echo; cat /v/secret/word; echo; stat -Lc %a /v/secret/word; wc -c </v/projected/token
cat /v/down/labels; echo; cat /v/host/f; ls /v/image/bin/busybox; cat /v/sub; echo
cat /proc/self/uid_map; echo h >/v/host/made || echo not-writable
if echo x >/v/image/f 2>/dev/null; then echo image-written; fi"""


def check(text: str) -> None:
    lines = text.splitlines()
    assert lines[:2] == ["d", "1"] and "from config" in lines and "from secret" in lines and "400" in lines, text
    assert int(next(line for line in lines if line.strip().isdigit() and int(line) > 400)) > 400, text
    assert 'app="x"' in text and "from host" in text and "/v/image/bin/busybox" in text and "more" in lines, text
    assert "image-written" not in text


@case("volumes: emptyDir, configMap, secret, projected, downward, hostPath, image, sub path")
def kinds(k: Kube) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "f").write_text("from host\n")
        volumes, mounts = every_volume(k, folder)
        text = k.output_of(container("sh", "-c", LOOK, volumeMounts=mounts), volumes=volumes,
                           metadata={"labels": {"app": "x"}})
        check(text)
        assert Path(folder, "made").read_text() == "h\n"


@case("user namespaces: every kind of volume, and no id of the node")
def mapped(k: Kube) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        Path(folder, "f").write_text("from host\n")
        volumes, mounts = every_volume(k, folder)
        text = k.output_of(container("sh", "-c", LOOK, volumeMounts=mounts), volumes=volumes, hostUsers=False,
                           metadata={"labels": {"app": "x"}})
        check(text)
        maps = [line.split() for line in text.splitlines() if len(line.split()) == 3 and line.split()[0] == "0"]
        assert maps and maps[0][1] != "0" and maps[0][2] == "65536", text


@case("read-only and recursive read-only mounts hold")
def read_only(k: Kube) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = k.output_of(container(
            "sh", "-c", "touch /a/f 2>/dev/null && echo a; touch /b/f 2>/dev/null && echo b; echo done", volumeMounts=[
                {"name": "h", "mountPath": "/a", "readOnly": True},
                {"name": "h", "mountPath": "/b", "readOnly": True, "recursiveReadOnly": "Enabled"}]),
            volumes=[{"name": "h", "hostPath": {"path": folder}}])
        assert text == "done\n", text


@case("environment: values, fields, resources, config maps and secrets")
def environment(k: Kube) -> None:
    config = k.apply("ConfigMap", {"A": "1", "B": "2"}, key="data")
    secret = k.apply("Secret", {"S": base64.b64encode(b"hidden").decode()}, key="data")
    text = k.output_of(container(
        "sh", "-c", "echo $PLAIN $NAME $CPU $ONE $S $B $EXPANDED", resources={"limits": {"cpu": "200m", "memory": "64Mi"}},
        env=[{"name": "PLAIN", "value": "p"}, {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
             {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
             {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": config, "key": "A"}}},
             {"name": "EXPANDED", "value": "x$(PLAIN)"}],
        envFrom=[{"configMapRef": {"name": config}}, {"secretRef": {"name": secret}}]))
    assert text.split() == ["p", "default", "64", "1", "hidden", "2", "xp"], text


@case("termination messages, and two containers that share the pod's network and IPC")
def shared(k: Kube) -> None:
    pod = k.pod(container("sh", "-c", "echo because >/dev/termination-log; exit 4"), wait="done")
    assert k.container_status(pod)["state"]["terminated"]["message"] == "because\n"
    two = k.pod(container("sleep", "100000"), container("nc", "-lk", "-p", "9000", "-e", "echo", "hello", name="other"))
    assert k.sh(two, "nc 127.0.0.1 9000 </dev/null") == "hello"
    spaces = [json.dumps(k.exec(two, "readlink", "/proc/self/ns/ipc", container=c)) for c in ("main", "other")]
    assert spaces[0] == spaces[1]
