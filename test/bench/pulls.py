#!/usr/bin/env python3
"""Pulls the same images from the same local registry with Davit, containerd, podman and skopeo + umoci, and prints Markdown.

Each pull is on a file system of its own: a fresh ext4 in RAM, for ext4 just after a large delete makes any unpacking up
to four times slower. CPU seconds are those of the daemon, its helpers and the client together (a cgroup), memory their
anonymous memory at its highest, bytes what the block device was given until all was synced. The tools take turns within
a round, in another order each round; the table has the medians. Measure on a quiet machine. Needs root and Debian's
containerd, podman, skopeo and umoci; one that is missing is left out. Nothing is left behind.

scenarios:
  large    one gzip layer of --megabytes
  seven    the same content in seven layers
  forty    forty layers of 1 MB
  ten      an image of three layers, pulled ten times at once (skopeo + umoci: into ten directories)
  changed  an image of four layers is there; it is pulled with another topmost layer
  far      the large image from a registry that gives a connection --far-rate and a request --far-latency; only when asked
           for. "davit:4" as a tool is Davit with image.connections_per_layer = 4
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "integration"), str(ROOT / "test" / "bench")]
from compare import big_image  # noqa: E402
from davit_test import paths  # noqa: E402
from davit_test.engine import Containerd, Davitd, Engine, remove_scratch  # noqa: E402
from meter import Figures, Group, RamDisk, measure  # noqa: E402

import images  # noqa: E402
from oci_image import Entry, Image, Layer, Pusher, directory  # noqa: E402
from registry import Registry  # noqa: E402

HOST = "registry.k8s.io"
TOOLS = ("davit", "containerd", "podman", "skopeo+umoci")
COLUMNS = ("wall s", "synced s", "CPU s", "peak MB", "davit-pull MB", "written MB")


def random_layer(chance: random.Random, name: str, megabytes: float, files: int) -> Layer:
    """Half of each file is text that compresses, half is not."""
    size = int(megabytes * 1e6 / files)
    entries = [directory(name)]
    for number in range(files):
        text = (f"{name} {number} " * (size // 16))[:size // 2].encode()
        entries.append(Entry(f"{name}/{number:05}", data=text + chance.randbytes(size - len(text))))
    return Layer.of(entries)


def joined(image: Image) -> Image:
    """The layers of it as one."""
    import gzip
    import io
    import tarfile
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        for layer in image.layers:
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer.blob))) as tar:
                for member in tar:
                    out.addfile(member, tar.extractfile(member) if member.isreg() else None)
    return Image([Layer.of_tar(buffer.getvalue())], config=image.config)


def make_images(megabytes: int, wanted: list[str]) -> dict[str, Image]:
    chance = random.Random(9)
    made = {}
    if {"large", "seven", "far"} & set(wanted):
        made["seven"] = big_image(megabytes)
        made["large"] = joined(made["seven"])
        made["far"] = made["large"]
    if "forty" in wanted:
        made["forty"] = Image([random_layer(chance, f"layer{n}", 1, 40) for n in range(40)])
    if "ten" in wanted:
        made["ten"] = Image([random_layer(chance, f"part{n}", 12, 600) for n in range(3)])
    if "changed" in wanted:
        base = [random_layer(chance, f"base{n}", 20, 500) for n in range(3)]
        made["before"] = Image([*base, random_layer(chance, "app", 8, 200)])
        made["changed"] = Image([*base, random_layer(chance, "app", 8, 200)])
    return made


class Tool:
    """One way to pull, with everything that it keeps below `directory`."""

    def __init__(self, name: str, directory: Path, group: Group, url: str, bin_dir: Path):
        self.name, self.directory, self.group, self.url = name, directory, group, url
        self.engine: Engine | None = None
        directory.mkdir()
        program, _, connections = name.partition(":")
        if program in ("davit", "containerd"):
            options = {"mirrors": {HOST: url}}
            more = f"[image]\nconnections_per_layer = {connections}\n" if connections else ""
            self.engine = Davitd(directory, bin_dir, log_level="warning", extra=more, **options) if program == "davit" else \
                Containerd(directory, **options)
            plain = self.engine.command
            self.engine.command = lambda: group.wrapped(plain())  # type: ignore[method-assign]
            self.engine.start()

    def commands(self, image: str, slot: int) -> list[list[str]]:
        local = f"{self.url.removeprefix('http://')}/bench/{image}:1"
        own = self.directory
        if self.engine:
            return [[paths.need_tool("crictl"), "-r", self.engine.endpoint, "-t", "600s", "pull", f"{HOST}/bench/{image}:1"]]
        if self.name == "podman":
            return [["podman", "--root", f"{own}/root", "--runroot", f"{own}/run", "--storage-driver", "overlay",
                     "--cgroup-manager", "cgroupfs", "--events-backend", "none", "pull", "-q", "--tls-verify=false", local]]
        layout = f"{own}/layout{slot}"
        return [["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{local}", f"oci:{layout}:{image}"],
                ["umoci", "unpack", "--image", f"{layout}:{image}", f"{own}/bundle{slot}-{image}"]]

    def pull(self, image: str, times: int = 1) -> None:
        """At once, where there are several; each command waits for the one before it."""
        rest = [self.commands(image, slot) for slot in range(times)]
        while any(rest):
            children = [subprocess.Popen(self.group.wrapped(steps.pop(0)), stdin=subprocess.DEVNULL, text=True,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for steps in rest if steps]
            said = [child.communicate()[0] for child in children]
            for child, text in zip(children, said):
                if child.returncode != 0:
                    raise RuntimeError(f"{self.name}: exit {child.returncode}: {text[-600:]}")

    def end(self) -> None:
        if self.engine:
            self.engine.destroy()


SCENARIOS: dict[str, tuple[str, Callable[[Tool], None] | None, Callable[[Tool], None]]] = {
    "large": ("one large gzip layer", None, lambda tool: tool.pull("large")),
    "seven": ("the same in seven layers", None, lambda tool: tool.pull("seven")),
    "forty": ("forty small layers", None, lambda tool: tool.pull("forty")),
    "ten": ("ten pulls of one image at once", None, lambda tool: tool.pull("ten", 10)),
    "changed": ("again with one layer of four changed", lambda tool: tool.pull("before"), lambda tool: tool.pull("changed")),
    "far": ("one large gzip layer from far away", None, lambda tool: tool.pull("large")),
}


class Far:
    """far_registry.py before a registry, as long as the block lasts."""

    def __init__(self, registry: Registry, rate: float, latency: float):
        self.child = subprocess.Popen([sys.executable, "-B", str(Path(__file__).parent / "far_registry.py"), str(registry.port),
                                       str(rate), str(latency)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.child.stdout.readline().strip()}"

    def __enter__(self) -> "Far":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stdin.close()
        self.child.terminate()
        self.child.wait()


def one(tool_name: str, scenario: str, work: Path, url: str, args) -> Figures:
    _, prepare, action = SCENARIOS[scenario]
    place = work / "one"
    place.mkdir()
    disk, group, tool = None, Group(), None
    try:
        disk = RamDisk(place, args.disk_gigabytes)
        tool = Tool(tool_name, disk.path / "x", group, url, args.bin_dir)
        if prepare:
            prepare(tool)
        return measure(group, disk, lambda: action(tool))
    finally:
        if tool:
            tool.end()
        if disk:
            disk.remove()
        group.remove()
        remove_scratch(place)


def available(names: list[str]) -> list[str]:
    found = []
    for name in names:
        missing = [p for p in name.split(":")[0].split("+") if p != "davit" and not shutil.which(p)]
        if missing:
            print(f"pulls: {name} is left out: {', '.join(missing)} is not installed", file=sys.stderr)
        else:
            found.append(name)
    return found


def show(scenario: str, image: Image, results: dict[str, list[Figures]]) -> None:
    packed = sum(len(layer.blob) for layer in image.layers) / 1e6
    print(f"\n**{scenario}**: {SCENARIOS[scenario][0]} ({packed:.0f} MB compressed, {len(image.layers)} layers)\n")
    print("| tool | " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * len(COLUMNS))
    for tool, runs in results.items():
        cells = [statistics.median(column) for column in zip(*(astuple(run) for run in runs))]
        print(f"| {tool} | " + " | ".join(f"{c:.2f}" if i < 3 else f"{c:.0f}" if c else "" for i, c in enumerate(cells))
              + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davitd (default: newest build)")
    parser.add_argument("--only", default=",".join(name for name in SCENARIOS if name != "far"), help="scenarios")
    parser.add_argument("--far-rate", type=float, default=25, help="MB a second and connection")
    parser.add_argument("--far-latency", type=float, default=30, help="milliseconds a request")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=200, help="of the large image, compressed, about")
    parser.add_argument("--disk-gigabytes", type=int, default=6)
    parser.add_argument("--json", type=Path, help="also writes every single figure there")
    args = parser.parse_args()
    paths.need_root()
    args.bin_dir = paths.find_bin_dir(args.bin_dir)
    wanted, tools = args.only.split(","), available(args.tools.split(","))
    work = paths.scratch("pulls")
    registry = Registry(work / "registry")
    try:
        print("pulls: making the images", file=sys.stderr)
        made = make_images(args.megabytes, wanted)
        registry.start()
        pusher = Pusher(registry.url)
        for name, image in made.items():
            pusher.push(image, f"bench/{name}", "1")
        load = Path("/proc/loadavg").read_text().split()[0]
        print(f"Load of the machine at the start: {load}; {args.rounds} rounds, medians; release build in {args.bin_dir.name}.")
        single = []
        for scenario in wanted:
            results: dict[str, list[Figures]] = {tool: [] for tool in tools}
            for number in range(args.rounds):
                for tool in tools[number % len(tools):] + tools[:number % len(tools)]:
                    begin = time.monotonic()
                    with Far(registry, args.far_rate, args.far_latency) as far:
                        figures = one(tool, scenario, work, far.url if scenario == "far" else registry.url, args)
                    results[tool].append(figures)
                    single.append({"scenario": scenario, "tool": tool, "round": number,
                                   **dict(zip(COLUMNS, astuple(figures)))})
                    print(f"pulls: {scenario} {tool}: {figures} ({time.monotonic() - begin:.0f} s)", file=sys.stderr)
            show(scenario, made[scenario], results)
        if args.json:
            args.json.write_text(json.dumps(single, indent=1) + "\n")
    except paths.Skip as reason:
        print(f"pulls: skipped: {reason}", file=sys.stderr)
        return 77
    finally:
        registry.stop()
        remove_scratch(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
