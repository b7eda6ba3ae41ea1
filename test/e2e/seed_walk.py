#!/usr/bin/env python3
"""The documentation's walk-through, word for word: pods and containers through the davit command.

The commands are those that early CRI-O's documentation showed for ocid and ocic, with the new names, and
its two CNI files unchanged (bridge cni0, 10.88.0.0/16, a separate loopback file).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.node import links  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

import images  # noqa: E402
from busybox import busybox  # noqa: E402
from oci_image import Entry, Layer  # noqa: E402

BRIDGE = """{
    "cniVersion": "0.2.0",
    "name": "mynet",
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": true,
    "ipMasq": true,
    "ipam": {
        "type": "host-local",
        "subnet": "10.88.0.0/16",
        "routes": [
            { "dst": "0.0.0.0/0"  }
        ]
    }
}
"""
LOOPBACK = """{
    "cniVersion": "0.2.0",
    "type": "loopback"
}
"""
# Stands in for the real server: the walk looks at the engine, not at the database.
REDIS_SERVER = b"#!/bin/sh\necho \"redis: ready in $PWD\"\nexec sleep 100000\n"
ENTRYPOINT = b"#!/bin/sh\nexec \"$@\"\n"


class Walk:
    def __init__(self, stage: Stage):
        self.stage = stage
        self.values: dict[str, str] = {}

    def davit(self, line: str) -> str:
        """Runs one documented line; <pod_id> and <ctr_id> stand for what earlier lines printed."""
        for name, value in self.values.items():
            line = line.replace(f"<{name}>", value)
        words = shlex.split(line)
        command = [str(self.stage.engine.bin_dir / words[0]), "--connect", str(self.stage.engine.socket), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=paths.ROOT)
        assert done.returncode == 0, f"{line}: exit {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        return done.stdout

    def keep(self, name: str, line: str) -> None:
        self.values[name] = self.davit(line).strip()
        assert re.fullmatch(r"[0-9a-f]{64}", self.values[name]), f"{line} printed {self.values[name]!r}"

    def shows(self, line: str, *texts: str) -> None:
        out = self.davit(line)
        for text in texts:
            for name, value in self.values.items():
                text = text.replace(f"<{name}>", value)
            assert text in out, f"{line} does not show {text!r}: {out[:600]}"

    def hides(self, line: str, *names: str) -> None:
        out = self.davit(line)
        for name in names:
            assert self.values[name] not in out, f"{line} still shows <{name}>: {out[:400]}"

    def pings(self) -> None:
        """The address comes from the documented subnet and answers from the host."""
        found = re.search(r"10\.88\.\d+\.\d+", self.davit("davit pod status --id <pod_id>"))
        assert found, "the pod has no address from 10.88.0.0/16"
        done = subprocess.run(["ping", "-c", "1", "-W", "3", found.group()], capture_output=True, text=True) \
            if paths.find_tool("ping") else None
        assert done is None or done.returncode == 0, done.stdout

    def restart(self) -> None:
        """Status and lists read the same after the daemon was killed."""
        lines = ("davit pod status --id <pod_id>", "davit ctr status --id <ctr_id>", "davit pod list", "davit ctr list")
        before = [self.davit(line) for line in lines]
        self.stage.engine.kill()
        self.stage.engine.start()
        for line, text in zip(lines, before):
            assert self.davit(line) == text, f"{line} differs after a restart"

    def steps(self):
        yield "davit image pull", lambda: self.davit("davit image pull docker.io/library/redis:alpine")
        yield "davit pod run", lambda: self.keep("pod_id", "davit pod run --config test/testdata/sandbox_config.json")
        yield "davit pod status", lambda: self.shows("davit pod status --id <pod_id>", "<pod_id>", "READY")
        yield "the documented network", self.pings
        yield "davit ctr create", lambda: self.keep(
            "ctr_id", "davit ctr create --pod <pod_id> --config test/testdata/container_redis.json")
        yield "davit ctr start", lambda: self.davit("davit ctr start --id <ctr_id>")
        yield "davit ctr status", lambda: self.shows("davit ctr status --id <ctr_id>", "<ctr_id>", "RUNNING")
        yield "davit pod list", lambda: self.shows("davit pod list", "<pod_id>")
        yield "davit ctr list", lambda: self.shows("davit ctr list", "<ctr_id>")
        yield "davit ctr execsync", lambda: self.shows("davit ctr execsync --id <ctr_id> echo hello", "hello")
        yield "restart with a kill", self.restart
        yield "davit ctr stop", lambda: self.davit("davit ctr stop --id <ctr_id>")
        yield "davit ctr status (stopped)", lambda: self.shows("davit ctr status --id <ctr_id>", "EXITED")
        yield "davit ctr remove", lambda: self.davit("davit ctr remove --id <ctr_id>")
        yield "davit pod stop", lambda: self.davit("davit pod stop --id <pod_id>")
        yield "davit pod remove", lambda: self.davit("davit pod remove --id <pod_id>")
        yield "both gone", lambda: (self.hides("davit pod list", "pod_id"), self.hides("davit ctr list", "ctr_id"))
        yield "davit runtimeversion", lambda: self.shows("davit runtimeversion", "davit")


def run(stage: Stage, report: Report) -> None:
    mirror = f'[image.registries."docker.io"]\nmirrors = ["{stage.registry.url}"]\nfallback = false\n'
    stage.engine.extra = mirror
    conf = stage.engine.network.conf_dir
    for old in conf.iterdir():
        old.unlink()
    (conf / "10-mynet.conf").write_text(BRIDGE)
    (conf / "99-loopback.conf").write_text(LOOPBACK)
    stage.engine.network.bridge = "cni0"
    base = Layer.of(images.base_entries(busybox()))
    redis = Layer.of([Entry("data", "dir", mode=0o755), Entry("bin/redis-server", data=REDIS_SERVER, mode=0o755),
                      Entry("bin/docker-entrypoint.sh", data=ENTRYPOINT, mode=0o755)])
    stage.pusher.push(images.shell_image(base, redis), "library/redis", "alpine")
    before = stage.engine.snapshot()
    stage.engine.start()
    walk = Walk(stage)
    for name, step in walk.steps():
        report.run(name, step)
    stage.engine.end()
    report.run("nothing is left", lambda: stage.engine.check_leaks(before))


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("seed walk")
    with reported(report):
        if any(link.endswith(":cni0") for link in links()):
            raise paths.Skip("this node has a bridge cni0 already")
        with stage_of("seed", args) as stage:
            run(stage, report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
