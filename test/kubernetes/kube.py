"""kubectl against the cluster of tools/cluster, and the list of cases that the suite runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.29-2"
NODE = "davit-node"
CASES: list[tuple[str, Callable[["Kube"], None]]] = []


def case(name: str):
    def note(function):
        CASES.append((name, function))
        return function
    return note


def ended(pid: int) -> bool:
    """All of it: a leader that is a zombie says nothing of its threads, which hold the sockets until the last one ends."""
    try:
        zombie = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return zombie and len(os.listdir(f"/proc/{pid}/task")) == 1
    except (FileNotFoundError, ProcessLookupError):
        return True


class KubeError(AssertionError):
    """kubectl refused, or something did not come to be in time."""


def wait_for(what: str, condition, timeout_s: float = 60):
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise KubeError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(0.2)


def container(*command: str, name: str = "main", image: str = BUSYBOX, **fields) -> dict:
    return {"name": name, "image": image, "terminationMessagePolicy": "File",
            **({"command": list(command)} if command else {}), **fields}


class Kube:
    """One cluster. Pods get names of their own, and those of a case are deleted after it."""

    def __init__(self, cluster: Path, bin_dir: str):
        self.dir = cluster
        self._tool = [sys.executable, str(ROOT / "tools" / "cluster"), "--dir", str(cluster)]
        self._tool += ["--bin-dir", bin_dir] if bin_dir else []
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "davit" / "kubernetes"
        self.programs = sorted(cache.glob("v*"))[-1] if cache.exists() else cache
        self._count = 0
        self._made: list[tuple[str, str]] = []

    def tool(self, *words: str, timeout_s: float = 3000) -> subprocess.CompletedProcess:
        return subprocess.run([*self._tool, *words], capture_output=True, text=True, timeout=timeout_s)

    # kubectl.
    def command(self, *words: str) -> list[str]:
        return [str(self.programs / "kubectl"), "--kubeconfig", str(self.dir / "admin.kubeconfig"), *words]

    def call(self, *words: str, check: bool = True, data: str | None = None, timeout_s: float = 120):
        done = subprocess.run(self.command(*words), capture_output=True, text=True, errors="replace", input=data,
                              stdin=None if data is not None else subprocess.DEVNULL, timeout=timeout_s)
        if check and done.returncode != 0:
            raise KubeError(f"kubectl {' '.join(words[:4])}: exit {done.returncode}: {(done.stderr + done.stdout)[-500:]}")
        return done

    def get(self, kind: str, name: str = "", *more: str) -> dict:
        return json.loads(self.call("get", kind, *([name] if name else []), *more, "-o", "json").stdout)

    def apply(self, kind: str, spec: dict, name: str = "", version: str = "v1", key: str = "spec", **metadata) -> str:
        self._count += 1
        name = name or f"t{self._count}"
        body = spec if key == "" else {key: spec}
        self.call("create", "-f", "-", data=json.dumps({
            "apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, **body}))
        self._made.append((kind, name))
        return name

    def clean(self) -> None:
        """What the case made, all at once."""
        for kind, name in reversed(self._made):
            self.call("delete", kind, name, "--ignore-not-found", "--wait=false", "--grace-period=0", "--force", check=False)
        made, self._made = self._made, []
        for kind, name in made:
            wait_for(f"{kind} {name} is gone", lambda: self.call("get", kind, name, check=False).returncode != 0)

    # Pods.
    def pod(self, *containers: dict, wait: str = "ready", timeout_s: float = 90, metadata: dict | None = None,
            name: str = "", **spec) -> str:
        """Makes it and waits until it is ready, done (all have ended) or, with "", not at all."""
        made = self.apply("Pod", {"containers": list(containers), "terminationGracePeriodSeconds": 1,
                                  "restartPolicy": "Never", **spec}, name, **(metadata or {}))
        if wait == "ready":
            self.wait_ready(made, timeout_s)
        elif wait == "done":
            self.wait_done(made, timeout_s)
        return made

    def status(self, pod: str) -> dict:
        return self.get("pod", pod)["status"]

    def explain(self, pod: str) -> str:
        events = self.get("events", "", f"--field-selector=involvedObject.name={pod}")["items"]
        return "; ".join(f"{e['reason']}: {e['message']}" for e in events)[-700:]

    def wait_ready(self, pod: str, timeout_s: float = 90) -> None:
        def ready() -> bool:
            status = self.status(pod)
            if status["phase"] in ("Failed", "Succeeded"):
                raise KubeError(f"{pod} has ended: {json.dumps(status.get('containerStatuses'))[-600:]}")
            return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        try:
            wait_for(f"pod {pod} is ready", ready, timeout_s)
        except KubeError as error:
            raise KubeError(f"{error} ({self.explain(pod)})") from None

    def wait_done(self, pod: str, timeout_s: float = 90) -> dict:
        try:
            wait_for(f"pod {pod} has ended", lambda: self.status(pod)["phase"] in ("Failed", "Succeeded"), timeout_s)
        except KubeError as error:
            raise KubeError(f"{error} ({self.explain(pod)})") from None
        return self.status(pod)

    def container_status(self, pod: str, name: str = "main", kind: str = "containerStatuses") -> dict:
        return next(c for c in self.status(pod).get(kind, []) if c["name"] == name)

    def logs(self, pod: str, *more: str) -> str:
        return self.call("logs", pod, *more).stdout

    def exec(self, pod: str, *command: str, container: str = "", data: str | None = None) -> str:
        words = ["exec"] + (["-i"] if data is not None else []) + [pod] + (["-c", container] if container else [])
        return self.call(*words, "--", *command, data=data).stdout

    def sh(self, pod: str, script: str, container: str = "") -> str:
        return self.exec(pod, "sh", "-c", script, container=container).strip()

    def output_of(self, *containers: dict, **spec) -> str:
        """The log of a pod that runs to its end, which must be a success."""
        pod = self.pod(*containers, wait="done", **spec)
        status = self.status(pod)
        assert status["phase"] == "Succeeded", f"{status} {self.logs(pod)[-500:]}"
        return self.logs(pod)

    # The node's programs.
    def davit(self, *words: str) -> str:
        command = Path(f"/proc/{self.processes()['davitd']['pid']}/exe").resolve().parent / "davit"
        done = subprocess.run([str(command), "--connect", str(self.dir / "davit.sock"), *words], capture_output=True,
                              text=True, timeout=60)
        if done.returncode != 0:
            raise KubeError(f"davit {' '.join(words)}: {done.stderr[-300:]}")
        return done.stdout

    def processes(self) -> dict:
        return json.loads((self.dir / "processes.json").read_text())

    def restart(self, name: str, signal_number: int) -> None:
        """Ends a program of the node by a signal and starts it again as it was started."""
        entry = self.processes()[name]
        command = Path(f"/proc/{entry['pid']}/cmdline").read_bytes().split(b"\0")[:-1]
        os.kill(entry["pid"], signal_number)
        wait_for(f"{name} ends", lambda: ended(entry["pid"]), 30)
        with open(self.dir / "logs" / f"{name}.log", "ab") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                     cwd="/")
        threading.Thread(target=child.wait, daemon=True).start()  # reaped when it ends
        known = self.processes()
        start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        known[name] = {"pid": child.pid, "start": start}
        (self.dir / "processes.json").write_text(json.dumps(known))
