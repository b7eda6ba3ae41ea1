#!/usr/bin/env python3
"""Pulls that are killed: ten images at once, and davitd or one of its davit-pull processes gets SIGKILL at a random moment,
a hundred times. After each, the store opens by itself, every image that is listed is complete down to each byte, what
is not listed has left nothing, and the next pull makes it whole.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

from oci_image import Entry, Image, Layer, directory  # noqa: E402

IMAGES = 10


def make_images(chance: random.Random) -> list[Image]:
    """One layer of all, one of each two, one of its own; thousands of small files and some large ones."""
    def layer(name: str, files: int, size: int) -> Layer:
        entries = [directory(name)]
        entries += [Entry(f"{name}/{n:04}", data=chance.randbytes(chance.randrange(size))) for n in range(files)]
        return Layer.of([*entries, Entry(f"{name}/large", data=chance.randbytes(2 << 20))])

    common = layer("common", 400, 4096)
    pairs = [layer(f"pair{n}", 150, 4096) for n in range(IMAGES // 2)]
    return [Image([common, pairs[n // 2], layer(f"own{n}", 150, 4096)], {"Cmd": ["/none"]}, platforms=("amd64",))
            for n in range(IMAGES)]


def content_of(root: Path) -> str:
    """A digest over names, kinds, modes and bytes of everything in a directory."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        total.update(f"{path.relative_to(root)} {info.st_mode:o} {info.st_uid} {info.st_size if path.is_file() else 0}\n".encode())
        if path.is_file():
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


class Pulls:
    def __init__(self, stage: Stage, names: list[str], pushed: list[Image], chance: random.Random):
        self.stage, self.client, self.names, self.chance = stage, stage.any_client(), names, chance
        self.pushed = dict(zip(names, pushed))
        self.whole: dict[str, str] = {}  # digest of a layer -> content_of its directory, as a pull in peace made it
        self.caught = 0  # kills that met a pull at work
        self.length = 0.0  # seconds that all pulls at once take on this machine, as it is now

    def layer(self, digest: str) -> Path:
        return self.stage.engine.root / "layers" / digest.removeprefix("sha256:") / "fs"

    def learn(self) -> None:
        for name in self.names:
            self.client.pull(name)
        for image in self.pushed.values():
            for layer in image.layers:
                self.whole[layer.diff_id] = content_of(self.layer(layer.diff_id))
        self.forget()
        begun = time.monotonic()
        assert not (said := self.end(self.begin())), said
        self.length = time.monotonic() - begun
        self.forget()

    def forget(self) -> None:
        for image in self.client.images():
            self.client.remove_image(image["id"])

    def begin(self) -> list[subprocess.Popen]:
        program = str(self.stage.engine.bin_dir / "davit")
        return [subprocess.Popen([program, "--connect", str(self.stage.engine.socket), "image", "pull", name],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for name in self.names]

    def helpers(self) -> list[int]:
        """The davit-pull processes of our davitd."""
        pid, found = self.stage.engine.pid, []
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                children = (task / "children").read_text().split()
                found += [int(c) for c in children if Path(f"/proc/{c}/comm").read_text().startswith("davit-pull")]
            except OSError:
                continue
        return found

    def check(self, moment: str) -> None:
        listed = {tag for image in self.client.images() for tag in image["repoTags"]}
        for name in listed:
            for layer in self.pushed[name].layers:
                found = content_of(self.layer(layer.diff_id))
                assert found == self.whole[layer.diff_id], f"{moment}: {name} is listed, and its layer {layer.diff_id} is not what it was"
        for left in (self.stage.engine.root / "layers").glob("*"):
            if left.name.startswith("."):
                assert not left.name.startswith(".staging"), f"{moment}: {left} was left"
                continue
            digest = f"sha256:{left.name}"
            assert digest in self.whole, f"{moment}: nobody knows {left}"
            assert content_of(left / "fs") == self.whole[digest], f"{moment}: {left} is not whole"
        quarantine = self.stage.engine.root / "quarantine"
        assert not quarantine.exists() or not any(quarantine.iterdir()), f"{moment}: something is in quarantine"

    def end(self, pulls: list[subprocess.Popen]) -> list[str]:
        said = []
        for pull in pulls:
            _, error = pull.communicate(timeout=120)
            if pull.returncode != 0:
                said.append(error.decode(errors="replace"))
        return said

    def kill_davitd(self, number: int) -> None:
        pulls = self.begin()
        time.sleep(self.chance.uniform(0, self.length))
        helpers = self.helpers()
        self.caught += bool(helpers)
        self.stage.engine.kill()
        self.end(pulls)
        wait_for("what it ran is gone", lambda: not any(Path(f"/proc/{p}").exists() and "davit-pull" in comm(p) for p in helpers), 20)
        self.stage.engine.start()
        self.check(f"kill {number} of davitd")
        if number % 4 == 0:
            self.forget()

    def kill_helper(self, number: int) -> None:
        pulls = self.begin()
        until = time.monotonic() + self.chance.uniform(0, self.length)
        killed = 0
        while time.monotonic() < until or (not killed and any(p.poll() is None for p in pulls)):
            helpers = self.helpers()
            if helpers and time.monotonic() >= until:
                os.kill(self.chance.choice(helpers), signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.01)
        self.caught += killed
        said = self.end(pulls)
        assert len(said) <= killed, f"one was killed, {len(said)} pulls failed: {said}"
        assert not said or "davit-pull" in said[0], said
        self.check(f"kill {number} of davit-pull")
        self.forget()

    def round(self, number: int) -> None:
        (self.kill_helper if number % 2 else self.kill_davitd)(number)


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    report = Report("pull kill")
    with reported(report), stage_of("pull-kill", args) as stage:
        chance = random.Random(args.seed)
        print(f"pull kill: seed {args.seed}", flush=True)
        pushed = make_images(chance)
        host = f"127.0.0.1:{stage.registry.port}"
        names = [f"{host}/killed/image{n}:1" for n in range(IMAGES)]
        for n, image in enumerate(pushed):
            stage.pusher.push(image, f"killed/image{n}", "1")
        stage.engine.start()
        before = stage.engine.snapshot()
        pulls = Pulls(stage, names, pushed, chance)
        pulls.learn()
        done = all(report.run(f"kill {number}", lambda number=number: pulls.round(number)) for number in range(args.kills))

        def met() -> None:
            assert pulls.caught > args.kills // 3, f"only {pulls.caught} of {args.kills} kills met a pull at work"

        def whole_again() -> None:
            for name in names:
                pulls.client.pull(name)
            assert len(pulls.client.images()) == IMAGES
            pulls.check("at the end")
            pulls.forget()
            left = [p for p in (stage.engine.root / "layers").iterdir() if not p.name.startswith(".")]
            assert not left, left
            stage.engine.check_leaks(before)

        print(f"pull kill: {pulls.caught} of {args.kills} kills met a pull at work; one takes {pulls.length:.1f} s", flush=True)
        if done:
            report.run("the kills met pulls at work", met)
            report.run("everything is pulled again, removed, and leaves nothing", whole_again)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
