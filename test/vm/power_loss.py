"""Loss of power, the host's half: the machine is killed (SIGKILL of qemu) at a random moment of its pulls, again and again.

What the machine had not written to its disk is gone then, as with a plug that is pulled: its page cache is its own. The
disk that holds the store is one file for all boots, with cache=writeback. What is checked after each boot is in
power_loss_guest.py, which prints it; here it is read from the second serial port.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "integration"), str(ROOT / "test" / "support")]
from oci_image import Entry, Image, Layer, Pusher, directory  # noqa: E402
from registry import Registry  # noqa: E402

IMAGES = 10
PREFIX = "power-loss: "
DATA_SIZE = "3G"


def make_images(chance: random.Random) -> tuple[list[Image], dict[str, dict[str, str]]]:
    """One layer of all, one of each two, one of its own; and by diff ID what is in each: path -> SHA-256."""
    contents: dict[str, dict[str, str]] = {}

    def layer(name: str, files: int) -> Layer:
        entries = [directory(name)]
        entries += [Entry(f"{name}/{n:04}", data=chance.randbytes(chance.randrange(1, 8192))) for n in range(files)]
        entries += [Entry(f"{name}/large", data=chance.randbytes(1 << 20))]
        made = Layer.of(entries)
        contents[made.diff_id] = {e.path: hashlib.sha256(e.data).hexdigest() for e in entries if e.kind == "file"}
        return made

    common = layer("common", 200)
    pairs = [layer(f"pair{n}", 80) for n in range(IMAGES // 2)]
    return [Image([common, pairs[n // 2], layer(f"own{n}", 80)], {"Cmd": ["/none"]}, platforms=("amd64",))
            for n in range(IMAGES)], contents


def add_input(folder: Path, seed: int) -> None:
    """The registry's storage and what has to come out of it, for /input/power-loss of the machine."""
    target = folder / "power-loss"
    target.mkdir()
    made, contents = make_images(random.Random(seed))
    with Registry(target / "registry") as registry:
        pusher = Pusher(registry.url)
        for number, image in enumerate(made):
            pusher.push(image, f"lost/image{number}", "1")
    shutil.move(target / "registry" / "storage", target / "storage")
    shutil.rmtree(target / "registry")
    expected = {"images": {f"lost/image{n}:1": [layer.diff_id for layer in image.layers] for n, image in enumerate(made)},
                "layers": contents}
    (target / "expected.json").write_text(json.dumps(expected))


@dataclass
class Watcher:
    """What one boot prints, and the plug: pulled at a random moment after the first pull began."""

    chance: random.Random
    window_s: float
    last: bool
    kill: object = None  # set by who starts the machine
    checked: str = ""
    failed: list[str] = field(default_factory=list)
    pulled_in_s: float = 0.0
    moment_s: float = -1.0
    begun: float = 0.0

    def on_line(self, line: str) -> None:
        text = line.removeprefix(PREFIX)
        if text.startswith("checked: "):
            self.checked = text.removeprefix("checked: ")
        elif text.startswith("FAILED"):
            self.failed.append(text)
        elif text.startswith("pulling") and not self.begun:
            self.begun = time.monotonic()
            if not self.last:
                self.moment_s = self.chance.uniform(0, self.window_s)
                timer = threading.Timer(self.moment_s, self.kill)  # type: ignore[arg-type]
                timer.daemon = True
                timer.start()
        elif text.startswith("pulled") and not self.pulled_in_s:
            self.pulled_in_s = time.monotonic() - self.begun
