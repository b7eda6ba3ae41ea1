#!/usr/bin/env python3
"""Measures davit-api beside Debian's podman service on this machine, in the same run, and prints Markdown.

Idle memory (PSS), the list of many containers as a client asks for it, and what `run --rm` of a present image takes:
through davit-api against the calls of davitd that it is made of. Needs root, docker's client, podman; measure on a
quiet machine.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "test" / "integration"), str(ROOT / "test" / "e2e")]
from api import Api  # noqa: E402
from davit_test import paths  # noqa: E402
from davit_test.control_client import ControlClient  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402


class Unix(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__("d")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def ask(self, method: str, path: str, body: dict | None = None) -> tuple[int, bytes]:
        self.request(method, path, json.dumps(body) if body is not None else None)
        answer = self.getresponse()
        return answer.status, answer.read()


def pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def median_ms(rounds: int, work) -> float:
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


class Podman:
    """Debian's podman as a service, with a store of its own."""

    def __init__(self, work: Path, registry: str):
        self.root = work / "podman"
        self.base = ["podman", "--root", str(self.root / "root"), "--runroot", str(self.root / "run"), "--cgroup-manager",
                     "cgroupfs"]
        self.socket = str(work / "podman.sock")
        self.root.mkdir()
        self.image = BUSYBOX
        subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false",
                        f"docker://{registry.split('//')[1]}/{BUSYBOX.split('/', 1)[1]}", f"oci-archive:{work}/busybox.tar:{BUSYBOX}"],
                       check=True)
        subprocess.run([*self.base, "load", "-q", "-i", f"{work}/busybox.tar"], check=True, stdout=subprocess.DEVNULL)
        self.process = subprocess.Popen([*self.base, "system", "service", "--time", "0", f"unix://{self.socket}"])
        wait_for("podman's service", lambda: Path(self.socket).exists(), 20)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        subprocess.run([*self.base, "rm", "-fa"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run([*self.base, "rmi", "-fa"], check=False, stdout=subprocess.DEVNULL)


def listed(path: str, count: int) -> dict[str, float]:
    """Figures of a list of `count` containers that were created and not started."""
    peer = Unix(path)
    for number in range(count):
        status, body = peer.ask("POST", f"/v1.41/containers/create?name=bench{number}", {"Image": BUSYBOX, "Cmd": ["true"]})
        assert status == 201, body
    figures = {"GET /containers/json, ms": median_ms(20, lambda: peer.ask("GET", "/v1.41/containers/json?all=1"))}
    figures["docker ps -a, ms"] = median_ms(10, lambda: subprocess.run(
        ["docker", "-H", f"unix://{path}", "ps", "-aq"], check=True, stdout=subprocess.DEVNULL))
    for number in range(count):
        peer.ask("DELETE", f"/v1.41/containers/bench{number}?force=1")
    return figures


def ran(path: str, rounds: int) -> float:
    return median_ms(rounds, lambda: subprocess.run(
        ["docker", "-H", f"unix://{path}", "run", "--rm", BUSYBOX, "true"], check=True, stdout=subprocess.DEVNULL))


def by_calls(stage: Stage, rounds: int) -> float:
    """The same run by davitd's own calls: create, prepare, start, wait; the removal is automatic."""
    number = iter(range(10_000))
    control = ControlClient(stage.engine.socket)
    service = "StandaloneService/"

    def once() -> None:
        name = f"calls{next(number)}"
        control.call(service + "CreateContainer", config={"image": {"image": BUSYBOX}, "args": ["true"]},
                     options={"name": name, "auto_remove": True})
        waited = control.call(service + "WaitContainer", container=name, condition=2)  # removed
        control.call(service + "StartContainer", container=name)
        for _ in waited:
            pass

    try:
        return median_ms(rounds, once)
    finally:
        control.close()


def table(columns: dict[str, dict[str, float]]) -> str:
    rows = list(dict.fromkeys(row for figures in columns.values() for row in figures))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for row in rows:
        lines.append(f"| {row} | " + " | ".join(
            f"{figures[row]:.1f}" if row in figures else "" for figures in columns.values()) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--containers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    report = Report("bench api")
    with reported(report):
        with stage_of("apib", args) as stage:
            stage.engine.start()
            api = Api(stage)
            podman = Podman(stage.work, stage.registry.url)
            try:
                stage.any_client().pull(BUSYBOX)
                time.sleep(6)  # idle: its last client has gone, and what it needed was given back
                columns = {"davit-api": {"idle PSS, MiB": pss_mib(api.process.pid)},
                           "podman service": {"idle PSS, MiB": pss_mib(podman.process.pid)}}
                for name, path in (("davit-api", str(api.socket)), ("podman service", podman.socket)):
                    columns[name] |= listed(path, args.containers)
                    columns[name]["docker run --rm, ms"] = ran(path, args.rounds)
                columns["davit-api"]["the calls of davitd in it, ms"] = by_calls(stage, args.rounds)
                print(f"{args.containers} containers, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")
                print(table(columns))
            finally:
                podman.stop()
                api.stop()
            stage.engine.end()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
