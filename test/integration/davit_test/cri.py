"""A thin CRI client: crictl behind functions that return data.

Every call has a time limit, so that an engine that hangs fails a test instead of stopping the suite.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from . import paths


class CallError(AssertionError):
    """A call that the engine refused, or that took too long."""


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return (self.err + self.out).strip()


class Client:
    """crictl against one endpoint."""

    name = "crictl"

    def __init__(self, endpoint: str, timeout_s: int = 60):
        self._timeout_s = timeout_s + 10
        self._files = tempfile.TemporaryDirectory(prefix="davit-client-")
        self._base = self._program(endpoint, timeout_s)

    def _program(self, endpoint: str, timeout_s: int) -> list[str]:
        # crictl would otherwise read the machine's /etc/crictl.yaml.
        empty = Path(self._files.name) / "crictl.yaml"
        empty.write_text("")
        return [paths.need_tool("crictl"), "-r", endpoint, "-i", endpoint, "-t", f"{timeout_s}s", "-c", str(empty)]

    def command(self, *words: str) -> list[str]:
        return [*self._base, *words]

    def try_call(self, *words: str, timeout_s: float | None = None) -> Answer:
        try:
            done = subprocess.run(self.command(*words), capture_output=True, text=True, errors="replace",
                                  stdin=subprocess.DEVNULL, timeout=timeout_s or self._timeout_s)
        except subprocess.TimeoutExpired:
            raise CallError(f"{self.name} {' '.join(words[:2])}: no answer within {timeout_s or self._timeout_s} s") from None
        return Answer(done.returncode, done.stdout, done.stderr)

    def call(self, *words: str, timeout_s: float | None = None) -> str:
        answer = self.try_call(*words, timeout_s=timeout_s)
        if answer.code != 0:
            raise CallError(f"{self.name} {' '.join(words[:3])}: exit {answer.code}: {answer.text[-600:]}")
        return answer.out

    def refuse(self, *words: str) -> str:
        """A call that must fail; returns the error text."""
        answer = self.try_call(*words)
        if answer.code == 0:
            raise CallError(f"{self.name} {' '.join(words[:3])}: succeeded, but must fail: {answer.out[:200]}")
        return answer.text

    def write(self, name: str, value: object) -> str:
        path = Path(self._files.name) / name
        path.write_text(json.dumps(value))
        return str(path)

    # Pods and containers.
    def run_pod(self, pod: dict, handler: str = "") -> str:
        words = ["runp"] + (["--runtime", handler] if handler else [])
        return self.call(*words, self.write("pod.json", pod)).strip()

    def create(self, pod_id: str, container: dict, pod: dict) -> str:
        return self.call("create", "--no-pull", pod_id, self.write("ctr.json", container),
                         self.write("pod.json", pod)).strip()

    def start(self, container_id: str) -> None:
        self.call("start", container_id)

    def stop(self, container_id: str, grace_s: int = 0) -> None:
        self.call("stop", "-t", str(grace_s), container_id)

    def remove(self, container_id: str, force: bool = False) -> None:
        self.call("rm", *(["-f"] if force else []), container_id)

    def stop_pod(self, pod_id: str) -> None:
        self.call("stopp", pod_id)

    def remove_pod(self, pod_id: str, force: bool = False) -> None:
        self.call("rmp", *(["-f"] if force else []), pod_id)

    def remove_image(self, reference: str) -> None:
        self.call("rmi", reference)

    def exec_sync(self, container_id: str, *command: str) -> str:
        return self.call("exec", "-s", container_id, *command)

    def pods(self) -> list[dict]:
        return json.loads(self.call("pods", "-o", "json"))["items"] or []

    def containers(self) -> list[dict]:
        return json.loads(self.call("ps", "-a", "-o", "json"))["containers"] or []

    def pod_status(self, pod_id: str) -> dict:
        return json.loads(self.call("inspectp", pod_id))

    def container_status(self, container_id: str) -> dict:
        return json.loads(self.call("inspect", container_id))["status"]

    def container_pid(self, container_id: str) -> int:
        """The pid of the first process on the host; 0 where the engine does not tell."""
        return int(json.loads(self.call("inspect", container_id)).get("info", {}).get("pid", 0))

    def images(self) -> list[dict]:
        return json.loads(self.call("images", "-o", "json"))["images"] or []

    def pull(self, reference: str) -> None:
        self.call("pull", reference)

    def remove_everything(self) -> None:
        """Pods with their containers; images stay."""
        for pod in self.pods():
            self.stop_pod(pod["id"])
            self.remove_pod(pod["id"], force=True)
        for container in self.containers():
            self.remove(container["id"], force=True)


class DavitClient(Client):
    """The same calls through the davit command, for machines where crictl cannot be built."""

    name = "davit"

    def __init__(self, endpoint: str, bin_dir: Path, timeout_s: int = 60):
        self._bin_dir = bin_dir
        super().__init__(endpoint, timeout_s)

    def _program(self, endpoint: str, timeout_s: int) -> list[str]:
        return [str(self._bin_dir / "davit"), "--connect", endpoint.removeprefix("unix://"),
                "--timeout", f"{timeout_s}s"]

    def run_pod(self, pod: dict, handler: str = "") -> str:
        words = ["pod", "run", "--config", self.write("pod.json", pod)]
        return self.call(*words, *(["--runtime", handler] if handler else [])).strip()

    def create(self, pod_id: str, container: dict, pod: dict) -> str:
        del pod  # the engine remembers it
        return self.call("ctr", "create", "--pod", pod_id, "--config", self.write("ctr.json", container)).strip()

    def start(self, container_id: str) -> None:
        self.call("ctr", "start", "--id", container_id)

    def stop(self, container_id: str, grace_s: int = 0) -> None:
        self.call("ctr", "stop", "--id", container_id, "--grace", str(grace_s))

    def remove(self, container_id: str, force: bool = False) -> None:
        del force
        self.call("ctr", "remove", "--id", container_id)

    def stop_pod(self, pod_id: str) -> None:
        self.call("pod", "stop", "--id", pod_id)

    def remove_pod(self, pod_id: str, force: bool = False) -> None:
        del force
        self.call("pod", "remove", "--id", pod_id)

    def remove_image(self, reference: str) -> None:
        self.call("image", "remove", reference)

    def pull(self, reference: str) -> None:
        self.call("image", "pull", reference)

    def exec_sync(self, container_id: str, *command: str) -> str:
        return self.call("ctr", "exec", container_id, *command)

    def _list(self, *words: str) -> list[dict]:
        """A list in JSON: the CRI message, or its one list alone."""
        value = json.loads(self.call("-o", "json", *words) or "[]")
        return value if isinstance(value, list) else next(iter(value.values()), []) or []

    def pods(self) -> list[dict]:
        return self._list("pod", "list")

    def containers(self) -> list[dict]:
        return self._list("ctr", "list")

    def images(self) -> list[dict]:
        return self._list("image", "list")

    def pod_status(self, pod_id: str) -> dict:
        return json.loads(self.call("-o", "json", "pod", "status", "--id", pod_id))

    def container_status(self, container_id: str) -> dict:
        value = json.loads(self.call("-o", "json", "ctr", "status", "--id", container_id))
        return value.get("status", value)

    def container_pid(self, container_id: str) -> int:
        del container_id
        return 0


def pod_config(name: str, *, log_directory: str = "", host_network: bool = False, shared_pid: bool = False,
               **more: object) -> dict:
    """A PodSandboxConfig as crictl reads it: protobuf's JSON names in snake case."""
    # NamespaceMode: POD 0, CONTAINER 1, NODE 2.
    options = {"pid": 0 if shared_pid else 1, "network": 2 if host_network else 0}
    return {"metadata": {"name": name, "namespace": "test", "uid": uuid.uuid4().hex, "attempt": 1},
            "log_directory": log_directory, "linux": {"security_context": {"namespace_options": options}}, **more}


def container_config(name: str, image: str, *command: str, **more: object) -> dict:
    return {"metadata": {"name": name, "attempt": 1}, "image": {"image": image}, "command": list(command),
            "linux": {}, **more}
