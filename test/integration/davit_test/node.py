"""What an engine leaves on the node: mounts, namespaces, cgroups, links, leases, processes, files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OCTAL = re.compile(r"\\(\d{3})")


def mount_points() -> list[str]:
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, _, tail = line.partition(" - ")
        point = OCTAL.sub(lambda m: chr(int(m.group(1), 8)), head.split()[4])
        points.append(f"{point} ({tail.split()[0]})")
    return points


def cgroups() -> set[str]:
    """Every cgroup directory, named without its hierarchy so that v1 gives each path once."""
    found = set()
    hierarchies = [CGROUP_ROOT]
    if not (CGROUP_ROOT / "cgroup.controllers").exists():
        hierarchies = [p for p in CGROUP_ROOT.iterdir() if p.is_dir() and not p.is_symlink()]
    for hierarchy in hierarchies:
        for path, _, _ in os.walk(hierarchy):
            if path != str(hierarchy):
                found.add(os.path.relpath(path, hierarchy))
    return found


def links() -> set[str]:
    """Network links by index and name: an index is never reused while its peer lives."""
    found = set()
    for name in os.listdir("/sys/class/net"):
        try:
            found.add(f"{Path('/sys/class/net', name, 'ifindex').read_text().strip()}:{name}")
        except OSError:
            continue  # no link, or one that is going away
    return found


def named_netns() -> set[str]:
    found = set()
    for directory in ("/run/netns", "/run/ipcns", "/run/utsns", "/run/userns", "/run/pidns"):
        if os.path.isdir(directory):
            found |= {f"{directory}/{name}" for name in os.listdir(directory)}
    return found


def port_rules() -> set[str]:
    """Rules and chains of one pod each; the plugins' own top-level chains stay for good by design."""
    done = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True)
    rules = {line for line in done.stdout.splitlines()
             if re.search(r"CNI-[0-9a-f]{20}|CNI-(DN|SN)-|davit", line) and not line.startswith("#")}
    return rules | table_elements()


def table_elements() -> set[str]:
    """What pods have in davitd's own nftables table, one line an element of a map that is not of rules."""
    try:
        done = subprocess.run(["nft", "-j", "list", "table", "inet", "davit"], capture_output=True, text=True)
    except FileNotFoundError:
        return set()
    found = set()
    for entry in json.loads(done.stdout or "{}").get("nftables", []):
        made = entry.get("map", {})
        if made.get("name", "").rstrip("46") in ("masquerade", "any_ports", "any_snat", "addr_ports", "addr_snat"):
            found |= {f"inet davit {made['name']} {json.dumps(element)}" for element in made.get("elem", [])}
    return found


def processes(programs: tuple[str, ...]) -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            name = (entry / "comm").read_text().strip()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        program = os.path.basename(command.split(" ")[0]) if command else name
        if state != "Z" and any(program.startswith(p) for p in programs):
            found.add(f"{entry.name} {command[:160]}")
    return found


def zombies(programs: tuple[str, ...]) -> set[str]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z" and name.startswith(programs):
                    found.add(f"{entry.name} {name}")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def files_below(directories: tuple[Path, ...]) -> set[str]:
    """What lies below; the directories themselves may come and go."""
    found = set()
    for directory in directories:
        for path, folders, files in os.walk(directory):
            found |= {os.path.join(path, name) for name in folders + files}
    return found


def leases(directory: Path) -> set[str]:
    """Addresses that host-local has given out below its data directory."""
    return {str(path) for path in directory.rglob("*") if path.is_file() and re.fullmatch(r"[0-9a-fA-F.:]+", path.name)}


@dataclass
class Watch:
    """What to look at beyond the node-wide facts."""

    # Program name prefixes whose processes must not stay.
    programs: tuple[str, ...] = ("davit-monitor", "davit-init", "davit-pull", "davit-oci", "crun", "runc")
    # Directories whose entries are compared, e.g. the run folders of pods.
    folders: tuple[Path, ...] = ()
    # Data directories of the host-local plugin.
    leases: tuple[Path, ...] = ()
    # On a node that others use too, only what names one of these counts.
    markers: tuple[str, ...] = ()


@dataclass
class Snapshot:
    facts: dict[str, set[str]] = field(default_factory=dict)

    @staticmethod
    def take(watch: Watch) -> "Snapshot":
        facts = {
            "mount": set(), "cgroup": cgroups(), "link": links(), "namespace pin": named_netns(),
            "nat rule": port_rules(), "process": processes(watch.programs), "file": files_below(watch.folders),
            "lease": set().union(*(leases(directory) for directory in watch.leases)),
        }
        counts: dict[str, int] = {}
        for point in mount_points():
            counts[point] = counts.get(point, 0) + 1
            facts["mount"].add(f"{point} #{counts[point]}")
        if watch.markers:
            for kind in ("mount", "cgroup", "link", "namespace pin", "nat rule", "process"):
                facts[kind] = {item for item in facts[kind] if any(m in item for m in watch.markers)}
        return Snapshot(facts)

    def diff(self, later: "Snapshot") -> list[str]:
        """One line a difference: '+ mount ...' appeared, '- mount ...' went."""
        lines = []
        for kind, before in self.facts.items():
            after = later.facts.get(kind, set())
            lines += [f"+ {kind} {item}" for item in sorted(after - before)]
            lines += [f"- {kind} {item}" for item in sorted(before - after)]
        return lines


def leaks(before: Snapshot, watch: Watch, timeout_s: float = 10, ignore: tuple[str, ...] = ()) -> list[str]:
    """What is new since `before`, given time for what ends by itself (PID 1 may reap late)."""
    end = time.monotonic() + timeout_s
    while True:
        new = [line for line in before.diff(Snapshot.take(watch))
               if line.startswith("+") and not any(text in line for text in ignore)]
        if not new or time.monotonic() > end:
            return new
        time.sleep(0.2)


def check_leaks(before: Snapshot, watch: Watch, timeout_s: float = 10, ignore: tuple[str, ...] = ()) -> None:
    left = leaks(before, watch, timeout_s, ignore)
    assert not left, f"left behind: {left[:6]}"


def unmount_below(directory: Path) -> None:
    """Takes down every mount below a directory, deepest first: the last resort of a clean-up."""
    points = [p.rpartition(" (")[0] for p in mount_points()]
    for point in sorted((p for p in points if p == str(directory) or p.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "-l", point], capture_output=True)
