"""What the conformance cases stand on: the `case` decorator, and pods and containers as objects."""

from __future__ import annotations

import inspect
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from davit_test import paths
from davit_test.engine import Davitd, wait_for
from davit_test.grpc_client import CallFailed, GrpcClient, container_config, pb, pod_config
from davit_test.stage import BUSYBOX

from oci_image import Image, Pusher

HOST = "registry.k8s.io"
ENDS_S = 30


@dataclass
class Case:
    area: str
    title: str
    run: Callable[["Bench"], object]
    config: str = ""
    handlers: tuple[str, ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.area}: {self.title}"


CASES: list[Case] = []


def case(area: str, title: str, *, config: str = "", handlers: tuple[str, ...] = (), why: str = ""):
    """Declares the function below as a case. `config`: settings in TOML for an engine of its own, with
    @STATE@ for its state directory.
    `handlers`: the runtimes that it is for; `why` says what the others cannot do."""
    def add(function):
        assert not any(c.name == f"{area}: {title}" for c in CASES), f"two cases named {area}: {title}"
        assert len(inspect.signature(function).parameters) == 1, f"{function.__name__} takes the bench alone"
        CASES.append(Case(area, title, function, config, handlers, why))
        return function
    return add


def has_cgroup2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


class Container:
    def __init__(self, pod: "Pod", config, container_id: str):
        self.pod, self.config, self.id = pod, config, container_id
        self._cri = pod.cri

    def start(self) -> "Container":
        """Started, and past the runtime: what /proc says of the process is of the container's own program."""
        self._cri.StartContainer(container_id=self.id)
        pid = self.pid

        def runs() -> bool:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                held = os.listdir(f"/proc/{pid}/fd")
                opened = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in held]
            except OSError:
                return not Path(f"/proc/{pid}").exists()  # it has ended, or is changing just now
            # Before the exec it is the runtime still, with the FIFO on which it waited.
            return os.path.basename(words[0]) not in (b"crun", b"runc") and not any("exec.fifo" in o for o in opened)

        if pid:
            wait_for(f"{self.config.metadata.name} runs", runs, ENDS_S, 0.01)
        return self

    def stop(self, grace_s: int = 0) -> None:
        self._cri.StopContainer(container_id=self.id, timeout=grace_s)

    def remove(self) -> None:
        self._cri.RemoveContainer(container_id=self.id)

    def status(self):
        return self._cri.ContainerStatus(container_id=self.id).status

    def info(self) -> dict:
        """The verbose part of ContainerStatus: pid, cgroup, runtimeSpec, ..."""
        return json.loads(self._cri.ContainerStatus(container_id=self.id, verbose=True).info["info"])

    @property
    def pid(self) -> int:
        """Of the first process, on the host."""
        return self.info()["pid"]

    def exec_sync(self, *command: str, timeout: int = 20):
        """The whole answer, whatever the exit code."""
        return self._cri.ExecSync(container_id=self.id, cmd=command, timeout=timeout)

    def exec(self, *command: str, timeout: int = 20) -> str:
        answer = self.exec_sync(*command, timeout=timeout)
        assert answer.exit_code == 0, \
            f"{' '.join(command)[:200]}: exit {answer.exit_code}: {(answer.stderr + answer.stdout)[-300:]!r}"
        return answer.stdout.decode(errors="replace").strip()

    def sh(self, script: str, timeout: int = 20) -> str:
        return self.exec("sh", "-c", script, timeout=timeout)

    def wait_exit(self, timeout_s: float = ENDS_S):
        """Its status once it has ended."""
        wait_for(f"{self.config.metadata.name} ends",
                 lambda: self.status().state == pb.CONTAINER_EXITED, timeout_s)
        return self.status()

    def log(self) -> str:
        """What it wrote, without the time stamps of the log; partial lines are joined."""
        text = ""
        for line in Path(self.status().log_path).read_bytes().split(b"\n")[:-1]:
            _, _, tag, rest = line.decode(errors="replace").split(" ", 3)
            text += rest + ("\n" if tag == "F" else "")
        return text

    def proc(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def proc_status(self, key: str) -> str:
        for line in self.proc("status").splitlines():
            if line.startswith(f"{key}:"):
                return line.partition(":")[2].strip()
        raise AssertionError(f"no {key} in /proc/{self.pid}/status")

    def namespace(self, kind: str) -> str:
        return os.readlink(f"/proc/{self.pid}/ns/{kind}")

    def cgroup(self, controller: str = "") -> Path:
        """Its directory in the controller's hierarchy (cgroup v1), or the one there is (v2)."""
        root = Path("/sys/fs/cgroup")
        for line in self.proc("cgroup").splitlines():
            number, names, path = line.split(":", 2)
            if has_cgroup2() and number == "0":
                return root / path.lstrip("/")
            if not has_cgroup2() and controller and controller in names.split(","):
                return root / controller / path.lstrip("/")
        raise AssertionError(f"no controller {controller}: {self.proc('cgroup')}")

    def cgroup_value(self, controller: str, v1: str, v2: str) -> str:
        return (self.cgroup(controller) / (v2 if has_cgroup2() else v1)).read_text().strip()


class Pod:
    def __init__(self, bench: "Bench", config, pod_id: str):
        self.bench, self.config, self.id = bench, config, pod_id
        self.cri = bench.cri
        self._count = 0

    def status(self):
        return self.cri.PodSandboxStatus(pod_sandbox_id=self.id).status

    def info(self) -> dict:
        return json.loads(self.cri.PodSandboxStatus(pod_sandbox_id=self.id, verbose=True).info["info"])

    @property
    def ip(self) -> str:
        return self.status().network.ip

    def stop(self) -> None:
        self.cri.StopPodSandbox(pod_sandbox_id=self.id)

    def remove(self) -> None:
        self.cri.RemovePodSandbox(pod_sandbox_id=self.id)

    def container_config(self, *command: str, image: str = BUSYBOX, name: str = "", security: dict | None = None,
                         namespaces: dict | None = None, **fields):
        """A ContainerConfig whose namespaces are the pod's, as the kubelet sends them, unless given."""
        self._count += 1
        name = name or f"c{self._count}"
        command = tuple(fields.pop("command", command))
        config = container_config(name, image, *command, security=security or {}, **fields)
        context = config.linux.security_context
        if namespaces is not None:
            context.namespace_options.MergeFrom(pb.NamespaceOption(**namespaces))
        elif not context.HasField("namespace_options"):
            context.namespace_options.CopyFrom(self.config.linux.security_context.namespace_options)
        if not config.log_path:
            config.log_path = f"{name}.log"
        return config

    def create(self, *command: str, **fields) -> Container:
        config = self.container_config(*command, **fields)
        answer = self.cri.CreateContainer(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        return Container(self, config, answer.container_id)

    def container(self, *command: str, **fields) -> Container:
        """Created and started; runs until it is stopped when no command is given."""
        return self.create(*(command or ("sleep", "100000")), **fields).start()

    def ends(self, *command: str, **fields) -> tuple[int, str]:
        """Runs a container to its end: exit code, and what it wrote."""
        box = self.container(*command, **fields)
        code = box.wait_exit().exit_code
        text = box.log()
        box.remove()
        return code, text

    def refused(self, code: str | tuple[str, ...], word: str, *command: str, **fields) -> CallFailed:
        """CreateContainer, or else StartContainer, must fail with this code ("": any) and word, and leave nothing.
        Fields as for `container`, or a whole `config`."""
        default = () if "config" in fields or "command" in fields else ("sleep", "100000")
        config = fields.pop("config", None) or self.container_config(*(command or default), **fields)
        try:
            answer = self.cri.CreateContainer(pod_sandbox_id=self.id, config=config, sandbox_config=self.config)
        except CallFailed as error:
            left = self.cri.ListContainers(filter={"pod_sandbox_id": self.id}).containers
            assert not any(c.metadata.name == config.metadata.name for c in left), f"{error}, but it is listed"
            refused = error
        else:
            try:
                refused = self.cri.refused("StartContainer", container_id=answer.container_id)
            finally:
                self.cri.RemoveContainer(container_id=answer.container_id)
        codes = (code,) if isinstance(code, str) else code
        assert code == "" or refused.code in codes, f"{refused} (expected {' or '.join(codes)})"
        assert word in refused.details, f"{refused} (expected the word \"{word}\" in it)"
        return refused


class Bench:
    """One engine and what a case makes on it."""

    def __init__(self, engine: Davitd, pusher: Pusher, work: Path, handler: str):
        self.engine, self.work, self.handler = engine, work, handler
        self.cri = GrpcClient(engine.socket)
        self._pusher = pusher
        self._pods: list[Pod] = []
        self._count = 0

    def close(self) -> None:
        self.cri.close()

    def start_engine(self) -> None:
        """Starts the stopped or killed engine again."""
        self.engine.start()
        self.cri.reconnect()

    def pod(self, *, handler: str = "", **fields) -> Pod:
        """A running pod; fields as in pod_config. It has a log directory unless one is given."""
        self._count += 1
        name = f"pod-{self._count}"
        if "log_directory" not in fields:
            directory = self.work / "logs" / f"{name}-{time.monotonic_ns()}"
            directory.mkdir(parents=True)
            fields["log_directory"] = str(directory)
        config = pod_config(name, **fields)
        pod = Pod(self, config, self.cri.RunPodSandbox(config=config, runtime_handler=handler).pod_sandbox_id)
        self._pods.append(pod)
        return pod

    def run(self, *command: str, **fields) -> Container:
        """A pod with one running container, which sleeps when no command is given."""
        return self.pod().container(*command, **fields)

    def refused_pod(self, code: str | tuple[str, ...], word: str, *, handler: str = "", **fields) -> CallFailed:
        """RunPodSandbox must fail with this code and word, and leave no pod."""
        config = fields.pop("config", None) or pod_config("refused", **fields)
        error = self.cri.refused("RunPodSandbox", code, word, config=config, runtime_handler=handler)
        left = [p.id for p in self.cri.ListPodSandbox().items if p.metadata.uid == config.metadata.uid]
        assert not left, f"{error}, but the pod is listed"
        return error

    def image(self, name: str, image: Image, tag: str = "1") -> str:
        """Pushes an image and pulls it; gives the reference."""
        self._pusher.push(image, f"conformance/{name}", tag)
        reference = f"{HOST}/conformance/{name}:{tag}"
        self.cri.PullImage(image={"image": reference})
        return reference

    def folder(self, name: str) -> Path:
        """A fresh directory on the host."""
        self._count += 1
        made = self.work / "host" / f"{name}-{self._count}"
        made.mkdir(parents=True)
        return made

    def skip(self, reason: str) -> None:
        raise paths.Skip(reason)

    def restart(self) -> None:
        """Ends the engine and starts it again; for cases with an engine of their own."""
        self.cri.close()
        self.engine.stop()
        self.engine.start()
        self.cri = GrpcClient(self.engine.socket)

    def wait_for(self, what: str, condition, timeout_s: float = 20):
        return wait_for(what, condition, timeout_s)

    def clean(self) -> None:
        """Removes every pod, also those that a case made past this object."""
        self._pods.clear()
        for pod in self.cri.ListPodSandbox().items:
            self.cri.StopPodSandbox(pod_sandbox_id=pod.id)
            self.cri.RemovePodSandbox(pod_sandbox_id=pod.id)
        left = self.cri.ListContainers().containers
        assert not left, f"{len(left)} containers without a pod"
