#!/usr/bin/env python3
"""Loss of power, the machine's half: looks at the store that the last boot left, then pulls and removes ten images until
the machine is killed. In the machine only; the host's half is power_loss.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "integration"), str(TESTS / "support")]
from davit_test.engine import answers, wait_for  # noqa: E402
import registry as registries  # noqa: E402

registries.START_TIMEOUT_S = 300  # in emulation

INPUT = Path("/input/power-loss")
DATA = Path("/data")
DISK = "/dev/vdd"
SOCKET = Path("/run/davit-power/davit.sock")
PORT = 5555  # the same in every boot: it is a part of the images' names


class Failed(Exception):
    """What the store should not have been."""


def say(text: str) -> None:
    print(text, flush=True)


class Node:
    def __init__(self, bin_dir: Path):
        self.bin = bin_dir
        self.expected = json.loads((INPUT / "expected.json").read_text())
        self.names = [f"127.0.0.1:{PORT}/{name}" for name in self.expected["images"]]
        self.log = Path("/results/davitd.log")
        self.davitd: subprocess.Popen | None = None

    def davit(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run([str(self.bin / "davit"), "--connect", str(SOCKET), *words], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise Failed(f"davit {' '.join(words)}: exit {done.returncode}: {(done.stderr + done.stdout).strip()[-500:]}")
        return done

    def start(self) -> None:
        subprocess.run(["mount", "-t", "ext4", DISK, str(DATA)], check=True)
        config = Path("/run/davit-power.toml")
        config.write_text(f'root = "{DATA}/root"\nstate = "/run/davit-power"\n[api]\nlisten = "{SOCKET}"\n[stream]\nport = 0\n')
        with open(self.log, "ab") as log:
            self.davitd = subprocess.Popen([str(self.bin / "davitd"), "--config", str(config)], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log)
        wait_for("davitd's socket", lambda: answers(SOCKET) or self.davitd.poll() is not None, 300)
        if self.davitd.poll() is not None:
            raise Failed(f"davitd did not start: {self.log.read_text(errors='replace')[-1000:]}")

    def listed(self) -> list[str]:
        images = json.loads(self.davit("image", "list", "-o", "json").stdout or "[]")
        images = images if isinstance(images, list) else images.get("images", images.get("items", []))
        return sorted(tag for image in images for tag in image.get("repoTags", []))

    def check_layer(self, diff_id: str) -> None:
        root = DATA / "root" / "layers" / diff_id.removeprefix("sha256:") / "fs"
        wanted = self.expected["layers"][diff_id]
        found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
        if found.keys() != wanted.keys():
            raise Failed(f"layer {diff_id} has other files: {sorted(found.keys() ^ wanted.keys())[:5]}")
        for name, path in found.items():
            if hashlib.sha256(path.read_bytes()).hexdigest() != wanted[name]:
                raise Failed(f"{name} of layer {diff_id} has other bytes")

    def check(self) -> None:
        """By itself, every image complete or absent, nothing half there."""
        names = self.listed()
        layers: set[str] = set()
        for name in names:
            layers.update(self.expected["images"][name.split("/", 1)[1]])
        for layer in layers:
            self.check_layer(layer)
        self.davit("image", "verify")
        quarantine = DATA / "root" / "quarantine"
        aside = sorted(p.name for p in quarantine.iterdir()) if quarantine.exists() else []
        if aside:
            raise Failed(f"in quarantine: {aside}; {self.words('quarantine|damaged|lost')}")
        staging = [p.name for p in (DATA / "root" / "layers").iterdir() if p.name.startswith(".staging")]
        if staging:
            raise Failed(f"left in layers: {staging}")
        seen = self.words("the machine went down")
        say(f"checked: {len(names)} of {len(self.names)} images, {len(layers)} layers whole{'; ' + seen if seen else ''}")

    def words(self, pattern: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "; ".join(line[-200:] for line in lines if re.search(pattern, line))[:600]

    def pull_all(self) -> None:
        pulls = [subprocess.Popen([str(self.bin / "davit"), "--connect", str(SOCKET), "image", "pull", name],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                 for name in self.names]
        for pull in pulls:
            _, error = pull.communicate(timeout=600)
            if pull.returncode != 0:
                raise Failed(f"pull: {error.decode(errors='replace')[-500:]}")

    def remove_some(self, chance: random.Random) -> None:
        there = self.listed()
        for name in chance.sample(there, chance.randrange(len(there) // 2, len(there) + 1)):
            self.davit("image", "remove", name)


def serve() -> registries.Registry:
    """Debian's registry over the storage of the input disk, which nothing writes to."""
    place = Path("/run/registry")
    place.mkdir(exist_ok=True)
    (place / "storage").symlink_to(INPUT / "storage")
    return registries.Registry(place, port=PORT).start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", type=Path, required=True)
    args = parser.parse_args()
    found = re.search(r"davit\.round=(\d+)/(\d+)", Path("/proc/cmdline").read_text())
    number, rounds = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    DATA.mkdir(exist_ok=True)
    SOCKET.parent.mkdir(mode=0o700, exist_ok=True)
    node = Node(args.bin_dir)
    try:
        node.start()
        begin = time.monotonic()
        node.check()
        say(f"looked at in {time.monotonic() - begin:.0f} s")
        if number >= rounds:
            node.davitd.terminate()
            node.davitd.wait(60)
            subprocess.run(["umount", str(DATA)], check=True)
            say("1 passed, 0 failed")
            return 0
        registry = serve()  # until the end
        chance = random.Random(os.urandom(8))
        while True:
            node.remove_some(chance)
            say(f"pulling from {registry.url}, with {len(node.listed())} there")
            node.pull_all()
            say("pulled")
    except Exception as error:  # the host reads it from the serial port
        say(f"FAILED: round {number}: {error!r}"[:1500])
        for line in node.log.read_text(errors="replace").splitlines()[-15:] if node.log.exists() else ():
            say(f"davitd: {line[:300]}")
        time.sleep(5)
        return 1


if __name__ == "__main__":
    sys.exit(main())
