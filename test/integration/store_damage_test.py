#!/usr/bin/env python3
"""davitd is killed, one file of its store is damaged, and it is started again: a thousand times, with containers running.

Every file of the root and of the state directory gets its share of single flipped bits, of cuts, and is once emptied and
once moved away (layers' own files only where nothing runs of them). After each start: davitd serves; what ran has the same
processes and mounts; no layer is gone; what CRI says is what it said before, or the log or Status names the object that
was lost. Then the store is put back as it was. The seed is printed; --seed and --only repeat one damage.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.grpc_client import CallFailed, GrpcClient  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

from oci_image import Entry, Image, Layer  # noqa: E402

UNUSED = "registry.k8s.io/damage/unused:1"
VOLUME = "registry.k8s.io/damage/volume:1"
KINDS = ("flip", "cut", "empty", "away")


@dataclass(frozen=True)
class Damage:
    kind: str
    path: str  # relative to the work directory
    at: int = 0  # the bit to flip, or the length to cut to

    def __str__(self) -> str:
        return f"{self.kind} {self.path}" + (f" at {self.at}" if self.kind in ("flip", "cut") else "")


class Store:
    """The files of an engine that is down, and how they were."""

    def __init__(self, stage: Stage, in_use: set[str]):
        self.work = stage.work
        self.bases = (stage.engine.root, stage.engine.state)
        self.in_use = in_use  # hex names of layers from which something runs
        self.files = {path: self._read(path) for path in self._walk()}
        self.directories = {path for path, _ in self._directories()}

    def _directories(self) -> Iterator[tuple[str, list[str]]]:
        for base in self.bases:
            for folder, below, names in os.walk(base):
                # A container's own root, the kernel's files of overlays, and trees that are mounted.
                below[:] = [name for name in below if not self._foreign(Path(folder) / name)]
                yield folder, names

    def _foreign(self, path: Path) -> bool:
        if path.name in ("rootfs", "work", "upper", "empty", "empty2", "mounts", "trash", "ns", "shm") or os.path.ismount(path):
            return True
        return path.name == "fs" and path.parent.name in self.in_use

    def _walk(self) -> Iterator[str]:
        for folder, names in self._directories():
            for name in names:
                path = os.path.join(folder, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield path

    @staticmethod
    def _read(path: str) -> tuple[bytes, os.stat_result]:
        return Path(path).read_bytes(), os.stat(path)

    def damages(self, count: int, chance: random.Random) -> list[Damage]:
        """Each file emptied and moved away once; the rest are bits and cuts over all files, larger ones more often."""
        paths = sorted(self.files)
        made = [Damage(kind, os.path.relpath(path, self.work)) for path in paths for kind in ("empty", "away")
                if kind == "away" or self.files[path][0]]
        full = [path for path in paths if self.files[path][0]]
        weights = [min(len(self.files[path][0]), 4096) + 200 for path in full]
        while len(made) < count:
            [path] = chance.choices(full, weights)
            size = len(self.files[path][0])
            kind = "flip" if chance.random() < 0.7 else "cut"
            at = chance.randrange(size * 8) if kind == "flip" else chance.randrange(size)
            made.append(Damage(kind, os.path.relpath(path, self.work), at))
        chance.shuffle(made)
        return made

    def apply(self, damage: Damage) -> None:
        path = self.work / damage.path
        if damage.kind == "away":
            path.unlink()
        elif damage.kind == "flip":
            data = bytearray(path.read_bytes())
            data[damage.at // 8] ^= 1 << damage.at % 8
            with path.open("r+b") as file:  # in place: the same inode, as a disk has it
                file.write(data)
        else:
            os.truncate(path, damage.at if damage.kind == "cut" else 0)

    def restore(self) -> None:
        for path in list(self._walk()):
            if path not in self.files:
                os.unlink(path)
        for folder, names in sorted(self._directories(), reverse=True):
            if folder not in self.directories and not os.listdir(folder):
                os.rmdir(folder)
        for path, (data, info) in self.files.items():
            try:
                if Path(path).read_bytes() == data:
                    continue
                with open(path, "r+b") as file:
                    file.truncate(0)
                    file.write(data)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(data)
                os.chown(path, info.st_uid, info.st_gid)
                os.chmod(path, stat.S_IMODE(info.st_mode))


def start_time(pid: int) -> str:
    """Tells a process from a later one of the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def mounts_of(stage: Stage) -> set[str]:
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(stage.work) in line}


class Judge:
    """What has to be so after every start."""

    def __init__(self, stage: Stage, in_use: set[str]):
        self.stage = stage
        self.in_use = in_use
        with GrpcClient(stage.engine.socket) as cri:
            self.said = self.everything(cri)
            verbose = [cri.ContainerStatus(container_id=c.id, verbose=True) for c in cri.ListContainers().containers]
        self.pids = {answer.status.id: json.loads(answer.info["info"])["pid"] for answer in verbose
                     if answer.status.state == 1}
        assert len(self.pids) == 4, self.pids
        self.born = {pid: start_time(pid) for pid in self.pids.values()}
        self.mounts = mounts_of(stage)
        self.layers = {path.name for path in (stage.engine.root / "layers").iterdir()}

    @staticmethod
    def everything(cri: GrpcClient) -> dict[str, str]:
        """By id, what CRI says of it; times of asking left out."""
        found = {}
        for pod in cri.ListPodSandbox().items:
            found[pod.id] = str(pod) + str(cri.PodSandboxStatus(pod_sandbox_id=pod.id).status)
        for box in cri.ListContainers().containers:
            found[box.id] = str(box) + str(cri.ContainerStatus(container_id=box.id).status)
        for image in cri.ListImages().images:
            found[image.id] = str(image)
        return found

    def check(self, damage: Damage, log_from: int) -> None:
        with GrpcClient(self.stage.engine.socket, timeout_s=20) as cri:
            now = self.everything(cri)
            status = str(cri.Status(verbose=True).info)
            with self.stage.engine.log.open("rb") as log:
                log.seek(log_from)
                heard = log.read().decode(errors="replace") + status
            for id, before in self.said.items():
                if now.get(id) == before:
                    continue
                name = id.removeprefix("sha256:")
                assert name in heard or name[:12] in heard, \
                    f"{name[:12]} was {'lost' if id not in now else 'changed'} without a word:\n{before}\n---\n{now.get(id)}"
            assert set(now) <= set(self.said), f"new: {set(now) - set(self.said)}"
            for id, pid in self.pids.items():
                assert start_time(pid) == self.born[pid], f"the process {pid} of {id[:12]} was harmed"
                if id not in now:
                    continue
                try:
                    answer = cri.ExecSync(container_id=id, cmd=["echo", "alive"], timeout=10)
                    assert answer.stdout == b"alive\n" and answer.exit_code == 0, answer
                except CallFailed as error:
                    # Only where the damaged file is what the exec needs, and with a reason.
                    assert id in damage.path and len(error.details) > 20, f"exec in {id[:12]}: {error}"
        gone = self.mounts - mounts_of(self.stage)
        assert not gone, f"mounts are gone: {gone}"
        used = self.layers & self.in_use
        left = {path.name for path in (self.stage.engine.root / "layers").iterdir()}
        assert used <= left, f"layers in use are gone: {used - left}"


def populate(stage: Stage) -> set[str]:
    """Three pods, five containers, one of which has ended, and an image that nothing uses. Returns the layers in use."""
    stage.pusher.push(Image([Layer.of([Entry("unused", data=b"unused" * 100)])], {"Cmd": ["/unused"]}), "damage/unused", "1")
    stage.pusher.push(Image([Layer.of([Entry("data", data=b"data" * 100)])]), "damage/volume", "1")
    client = stage.client()
    for image in (BUSYBOX, UNUSED, VOLUME):
        client.pull(image)
    for name, boxes in (("one", ("a", "b", "ended")), ("two", ("c",)), ("three", ("d",))):
        pod = pod_config(name, log_directory=str(stage.logs(name)))
        pod_id = client.run_pod(pod)
        for box in boxes:
            command = ("true",) if box == "ended" else ("sleep", "100000")
            more = {"mounts": [{"container_path": "/v", "image": {"image": VOLUME}}]} if box == "c" else {}
            container = client.create(pod_id, container_config(box, BUSYBOX, *command, log_path=f"{box}.log", **more), pod)
            client.start(container)
            if box == "ended":
                wait_for("the end of a container",
                         lambda: client.container_status(container)["state"] == "CONTAINER_EXITED", 20)
    layers = stage.engine.root / "layers"
    return {path.name for path in layers.iterdir() if not (path / "fs/unused").exists()}


def tried(stage: Stage, store: Store, judge: Judge, damage: Damage) -> str:
    """What is wrong after it; empty: nothing. The store is as before, and the engine down."""
    store.apply(damage)
    log_from = stage.engine.log.stat().st_size
    try:
        stage.engine.start()
        judge.check(damage, log_from)
    except Exception as error:  # noqa: BLE001 — the next damage is judged all the same
        return str(error) or repr(error)
    finally:
        stage.engine.kill()
        store.restore()
    return ""


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--only", action="append", help="the damage that a message names, such as log17 (repeatable)")
    args = parser.parse_args()
    report = Report("store damage")
    with reported(report), stage_of("store-damage", args) as stage:
        stage.engine.start()
        before = stage.engine.snapshot()
        in_use = populate(stage)
        stage.engine.kill()
        stage.engine.start()  # what the judge compares with is of a start, too
        judge = Judge(stage, in_use)
        stage.engine.kill()
        counts = dict.fromkeys(KINDS, 0)
        wrong: dict[str, list[str]] = {kind: [] for kind in KINDS}
        chance = random.Random(args.seed)
        print(f"store damage: --seed {args.seed}", flush=True)
        # As a kill leaves it, with all in the log; and with all in the database file.
        for state in ("log", "file"):
            if state == "file":
                with contextlib.closing(sqlite3.connect(stage.engine.root / "davit.db")) as database:
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            store = Store(stage, in_use)
            damages = store.damages(args.count // 2, chance)
            print(f"store damage: {len(damages)} damages of {len(store.files)} files, the records in the {state}", flush=True)
            for number, damage in enumerate(damages):
                if args.only and f"{state}{number}" not in args.only:
                    continue
                counts[damage.kind] += 1
                if error := tried(stage, store, judge, damage):
                    wrong[damage.kind].append(f"{state}{number}: {damage}: {error}")
                    print(f"store damage: {wrong[damage.kind][-1]}", flush=True)
                if number % 100 == 99:
                    print(f"store damage: {number + 1} done", flush=True)
        for kind in KINDS:
            def verdict(kind: str = kind) -> None:
                assert not wrong[kind], f"{len(wrong[kind])} of {counts[kind]}, the first: {wrong[kind][0]}"
            report.run(f"{kind}: {counts[kind]} damages", verdict)
        stage.engine.start()
        report.run("the store as it was is the store as it was",
                   lambda: judge.check(Damage("away", ""), stage.engine.log.stat().st_size))
        stage.client().remove_everything()
        report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
