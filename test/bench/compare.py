#!/usr/bin/env python3
"""Measures Davit against Debian's containerd on this machine, in the same run, and prints Markdown.

Both engines run at the same time in directories of their own, with the same OCI runtime, CNI configuration,
registry and images; davit-bench asks them in turn (A B B A …). Figures that need more than one client call
are measured here: the start with many containers, and the log. Needs root; `tools/bootstrap --bench`
installs containerd. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.cri import CallError, Client, container_config, pod_config  # noqa: E402
from davit_test.engine import Containerd, Davitd, remove_scratch, wait_for  # noqa: E402
from davit_test.stage import BUSYBOX  # noqa: E402
from davit_test.stuck import stuck_handler  # noqa: E402

import images  # noqa: E402
from oci_image import Entry, Image, Layer, Pusher, directory  # noqa: E402
from registry import Registry  # noqa: E402

BIG = "registry.k8s.io/davit-bench/big:1"
TICK = os.sysconf("SC_CLK_TCK")


# What language images are made of: headers, compilers, libraries, scripts.
SOURCES = ("/usr/include", "/usr/lib/gcc", "/usr/lib/python3", "/usr/share/perl", "/usr/lib/llvm-14", "/usr/share/doc",
           "/usr/lib/x86_64-linux-gnu")


def big_image(megabytes: int) -> Image:
    """One layer for each directory of this machine, cut so that the sum is about four times `megabytes`."""
    layers = []
    for source in SOURCES:
        budget = megabytes * 4_000_000 // len(SOURCES)
        entries = []
        for folder, folders, files in os.walk(source):
            folders.sort()
            if budget <= 0:
                break
            entries.append(directory(folder))
            for name in sorted(files):
                path = Path(folder) / name
                if path.is_symlink() or not path.is_file() or path.stat().st_size > budget:
                    continue
                data = path.read_bytes()
                budget -= len(data)
                entries.append(Entry(str(path), data=data))
        if entries:
            layers.append(Layer.of(entries))
    return Image(layers, config={"Cmd": ["/bin/true"]})


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(fields[i]) for i in (11, 12)) / TICK


def restart_figure(engine, client: Client, containers: int) -> float:
    """Seconds from the start of the killed daemon until it lists all its containers as running."""
    def all_listed() -> bool:
        try:
            return sum(c["state"] == "CONTAINER_RUNNING" for c in client.containers()) >= containers
        except CallError:
            return False  # containerd answers "not initialized" for a while

    times = []
    for _ in range(3):
        engine.kill()
        begin = time.monotonic()
        engine.start()
        wait_for("all containers are listed", all_listed, 60, 0.01)
        times.append(time.monotonic() - begin)
    return statistics.median(times)


def log_figure(engine, client: Client, work: Path, name: str) -> tuple[float, float]:
    """Wall and CPU seconds (helper and daemon) of 200 MB of 100-byte lines, from start to exit.

    The container sleeps 0.2 s at its end, so that the helper's last CPU reading is whole.
    """
    logs = work / f"logs-{name}"
    pod = pod_config(f"log-{name}", log_directory=str(logs))
    pod_id = client.run_pod(pod)
    writer = 'line=$(printf "%099d" 7); yes "$line" | head -n 2000000; sleep 0.2'
    container = client.create(pod_id, container_config("w", BUSYBOX, "sh", "-c", writer, log_path="w.log"), pod)
    before = cpu_seconds(engine.pid)
    begin = time.monotonic()
    client.start(container)
    # The parent of the container's first process: davit-monitor, or the shim.
    pid = client.container_pid(container)
    helper = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    used = 0.0
    while client.container_status(container)["state"] != "CONTAINER_EXITED":
        try:
            used = cpu_seconds(helper)
        except OSError:
            pass
        time.sleep(0.02)
    wall = time.monotonic() - begin - 0.2
    cpu = used + cpu_seconds(engine.pid) - before
    client.remove(container)
    client.stop_pod(pod_id)
    client.remove_pod(pod_id)
    return wall, cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davitd and davit-bench (default: newest build)")
    parser.add_argument("--handler", choices=("crun", "runc", "native"), default="crun",
                        help="native is Davit's own; containerd has crun beside it")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--pods", default="1,10,50")
    parser.add_argument("--list-at", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the pulled image")
    parser.add_argument("--pulls", type=int, default=1, help="more than one measures ext4 too: files created soon after "
                        "many were deleted cost it seconds of system time (default: 1)")
    parser.add_argument("--busy-containers", type=int, default=1000)
    parser.add_argument("--only", default="start,list,memory,pull,restart,log", help="also: stats (statistics of --list-at pods), busy (Davit alone: lists of "
                        "1,000 containers while pods come and go and 20 starts hang)")
    args = parser.parse_args()
    paths.need_root()
    work = paths.scratch("bench")
    bin_dir = paths.find_bin_dir(args.bin_dir)
    registry = Registry(work / "registry")
    engines = []
    subprocess.run([str(paths.SUPPORT / "cgroups")], check=False, stdout=subprocess.DEVNULL)
    try:
        registry.start()
        mirrors = {host: registry.url for host in images.HOSTS}
        pusher = Pusher(registry.url)
        images.push_all(pusher)
        for name in ("davit", "containerd"):
            (work / name).mkdir()
        options = {"mirrors": mirrors, "handler": args.handler}
        wanted = args.only.split(",")
        engines = [Davitd(work / "davit", bin_dir, extra=stuck_handler(work, args.handler), **options)]
        if wanted != ["busy"]:
            theirs = "crun" if args.handler == "native" else args.handler
            engines.append(Containerd(work / "containerd", **{**options, "handler": theirs}))
        for engine in engines:
            engine.start()
        ours, theirs = engines[0], engines[-1]
        if "busy" in wanted:
            subprocess.run([str(bin_dir / "davit-bench"), "--endpoint", ours.endpoint, "--image", BUSYBOX,
                            "--only", "busy", "--busy-containers", str(args.busy_containers), "--stuck-handler", "stuck"],
                           check=True)
        own = [w for w in wanted if w in ("start", "list", "stats", "memory", "pull")]
        if "pull" in own:
            print(f"making an image of {args.megabytes} MB", file=sys.stderr)
            pusher.push(big_image(args.megabytes), BIG.split("/", 1)[1].rsplit(":", 1)[0], "1")
        if own:
            command = [str(bin_dir / "davit-bench"), "--endpoint", ours.endpoint, "--vs", theirs.endpoint,
                       "--daemon-pid", str(ours.pid), "--vs-daemon-pid", str(theirs.pid), "--image", BUSYBOX,
                       "--iterations", str(args.iterations), "--pods", args.pods, "--list-at", str(args.list_at),
                       "--only", ",".join(own)]
            if "pull" in own:
                command += ["--pull-image", BIG, "--pulls", str(args.pulls)]
            subprocess.run(command, check=True)
        clients = [Client(engine.endpoint, 300) for engine in engines]
        for client in clients:
            client.pull(BUSYBOX)
        if "log" in wanted:
            print("\n| 200 MB of 100-byte log lines | wall s | CPU s |\n|---|---:|---:|")
            for engine, client in zip(engines, clients):
                runs = [log_figure(engine, client, work, f"{engine.name}{i}") for i in range(3)]
                wall, cpu = (statistics.median(column) for column in zip(*runs))
                print(f"| {engine.name} | {wall:.2f} | {cpu:.2f} |", flush=True)
        if "restart" in wanted:
            print(f"\n| start to all of {args.list_at} containers listed | s |\n|---|---:|")
            for engine, client in zip(engines, clients):
                pod = pod_config("many")
                pod_id = client.run_pod(pod)
                for number in range(args.list_at):
                    client.start(client.create(pod_id, container_config(f"c{number}", BUSYBOX, "sleep", "1000"), pod))
                print(f"| {engine.name} | {restart_figure(engine, client, args.list_at):.2f} |", flush=True)
                client.remove_everything()
    except paths.Skip as reason:
        print(f"compare: skipped: {reason}", file=sys.stderr)
        return 77
    finally:
        for engine in engines:
            engine.destroy()
        registry.stop()
        remove_scratch(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
