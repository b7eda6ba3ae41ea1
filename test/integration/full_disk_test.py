#!/usr/bin/env python3
"""A full disk: what frees space works through CRI alone, exits are told, and the node is as before afterwards.

The engine's root, with the pods' logs, is a small ext4 file system that each case fills in another way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.cri import CallError, Client, container_config, pod_config  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

import images  # noqa: E402
from busybox import busybox  # noqa: E402
from oci_image import Entry, Layer  # noqa: E402

MIB = 1 << 20
DISK = 96 * MIB
BIG = "registry.k8s.io/conformance/big:1"
FULL = MIB // 4  # less than that is full: nothing of use fits


class Disk:
    """An ext4 of its own below the engine's root."""

    def __init__(self, stage: Stage):
        self.image, self.path = stage.work / "disk.img", stage.engine.root
        self.path.mkdir(parents=True)
        with open(self.image, "wb") as file:
            file.truncate(DISK)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(self.image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.path)], check=True)

    def free(self) -> int:
        numbers = os.statvfs(self.path)
        return numbers.f_bavail * numbers.f_frsize

    def logs(self) -> Path:
        directory = self.path / "pod-logs"
        directory.mkdir(exist_ok=True)
        return directory

    def fill(self) -> Path:
        """A file of somebody else's takes what is left."""
        path = self.path / "filler"
        with open(path, "ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
        return path

    def umount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)  # the engine's end may have


class Node:
    def __init__(self, stage: Stage, disk: Disk, client: Client):
        self.stage, self.disk, self.client = stage, disk, client
        self.pods: list[str] = []

    def run(self, name: str, *command: str) -> str:
        logs = self.disk.logs() / name
        logs.mkdir(exist_ok=True)
        pod = pod_config(name, log_directory=str(logs))
        self.pods.append(self.client.run_pod(pod))
        box = self.client.create(self.pods[-1], container_config("main", BUSYBOX, *command, log_path="main.log"), pod)
        self.client.start(box)
        return box

    def listed(self, box: str) -> str:
        [found] = [c for c in self.client.containers() if c["id"] == box]
        return found["state"]

    def state(self, box: str) -> str:
        """Lists and Status say the same; what changes between two answers is in the list that follows."""
        before = self.listed(box)
        state = self.client.container_status(box)["state"]
        after = self.listed(box)
        assert state in (before, after), f"lists say {before}, then {after}; Status between them {state}"
        return after


def by_log(node: Node) -> None:
    node.run("talker", "sh", "-c", "yes 'a line of some length that is written over and over again'")
    wait_for("the log fills the disk", lambda: node.disk.free() < FULL, 120)


def by_writable_layer(node: Node) -> None:
    node.run("writer", "sh", "-c", "cat /dev/zero >/zeros; sleep 100000")
    wait_for("the writable layer fills the disk", lambda: node.disk.free() < FULL, 120)


def by_pull(node: Node) -> None:
    """The pull keeps its distance from the end of the disk; the last bytes are somebody else's."""
    try:
        node.client.pull(BIG)
        raise AssertionError("an image larger than the disk was pulled")
    except CallError as error:
        assert "space" in str(error) or "full" in str(error) or "free" in str(error), error
    assert not [i for i in node.client.images() if BIG in i["repoTags"]]
    node.disk.fill()


def by_records(node: Node) -> None:
    """Pods are made on the full disk until that is refused: they too can be taken away."""
    node.disk.fill()
    for number in range(8):
        try:
            node.run(f"late{number}", "sleep", "100000")
        except (CallError, OSError):
            break


def full(node: Node, fill: Callable[[Node], None]) -> None:
    client, disk = node.client, node.disk
    client.pull(BUSYBOX)
    dying = node.run("dying", "sleep", "100000")
    stopped = node.run("stopped", "sleep", "100000")
    before = disk.free()
    fill(node)
    assert disk.free() < FULL, f"{disk.free()} bytes are free"
    os.kill(client.container_pid(dying), signal.SIGKILL)
    wait_for("the exit is told", lambda: node.state(dying) == "CONTAINER_EXITED", 30)
    assert client.container_status(dying)["exitCode"] == 137
    client.stop(stopped)
    assert node.state(stopped) == "CONTAINER_EXITED"
    client.remove(stopped)
    client.remove(dying)
    for pod in client.pods():
        client.stop_pod(pod["id"])
        client.remove_pod(pod["id"])
    assert not client.pods() and not client.containers()
    client.remove_image(BUSYBOX)
    assert not client.images()
    (disk.path / "filler").unlink(missing_ok=True)
    for log in disk.logs().rglob("*.log"):
        log.unlink()  # the kubelet's
    wait_for("the space is there again", lambda: disk.free() > before - MIB, 60)
    client.pull(BUSYBOX)
    after = node.run("after", "echo", "hello")
    wait_for("a pod works again", lambda: node.state(after) == "CONTAINER_EXITED", 30)
    assert client.container_status(after)["exitCode"] == 0


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("full disk")
    for fill in (by_log, by_writable_layer, by_pull, by_records):
        with reported(report), stage_of("full", args) as stage:
            disk = Disk(stage)
            try:
                layer = Layer.of([*images.base_entries(busybox()), Entry("blob", data=os.urandom(DISK))])
                stage.pusher.push(images.shell_image(layer), "conformance/big", "1")
                stage.engine.start()
                before = stage.engine.snapshot()
                client = stage.client()
                node = Node(stage, disk, client)
                report.run(fill.__name__.replace("_", " "), lambda: full(node, fill))

                def clean() -> None:
                    client.remove_everything()
                    stage.engine.check_leaks(before)

                report.run(f"{fill.__name__.replace('_', ' ')}: nothing is left behind", clean)
            finally:
                stage.engine.destroy()
                disk.umount()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
