#!/usr/bin/env python3
"""davit-oci on its own: every verb, its errors and exit codes, and SIGKILL at each step of create, start and delete.

Two containers of busybox, in cgroups and below a --root of the test's own. After a SIGKILL, `delete --force` has to
leave no process, cgroup, mount or state.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.report import Report  # noqa: E402

from busybox import busybox  # noqa: E402

APPLETS = ("sh", "sleep", "cat", "echo", "true", "id")
TIMEOUT_S = 60


class Runtime:
    def __init__(self, program: Path, work: Path):
        self.program, self.work = program, work
        self.root = work / "root"
        self.bundle = work / "bundle"
        self.cgroup = f"/davit-oci-test-{os.getpid()}"
        (self.bundle / "rootfs/bin").mkdir(parents=True)
        (self.bundle / "rootfs/bin/busybox").write_bytes(busybox().read_bytes())
        (self.bundle / "rootfs/bin/busybox").chmod(0o755)
        for name in APPLETS:
            (self.bundle / "rootfs/bin" / name).symlink_to("busybox")
        self.must("spec", "--bundle", str(self.bundle))
        self.config = json.loads((self.bundle / "config.json").read_text())
        self.config["process"]["terminal"] = False
        self.config["linux"]["cgroupsPath"] = self.cgroup + "/c"
        self.configure("sleep", "1000")

    def configure(self, *args: str, **more: object) -> None:
        config = {**self.config, **more}
        config["process"] = {**self.config["process"], "args": list(args)}
        (self.bundle / "config.json").write_text(json.dumps(config))

    def run(self, *words: str, env: dict[str, str] | None = None, text: str = "") -> subprocess.CompletedProcess[str]:
        # Files and no pipes: what runs on in the container keeps them open.
        with open(self.work / "out", "w+") as out, open(self.work / "err", "w+") as err:
            done = subprocess.run([str(self.program), "--root", str(self.root), *words], stdout=out, stderr=err,
                                  input=text, text=True, timeout=TIMEOUT_S, env={**os.environ, **(env or {})})
        return subprocess.CompletedProcess(words, done.returncode, (self.work / "out").read_text(),
                                           (self.work / "err").read_text())

    def must(self, *words: str, code: int = 0, says: str = "", text: str = "") -> str:
        done = self.run(*words, text=text)
        assert done.returncode == code, f"{words}: exit {done.returncode}, not {code}: {done.stderr}"
        assert says in done.stderr, f"{words}: {done.stderr!r} does not say {says!r}"
        return done.stdout

    def state(self, name: str = "c") -> dict[str, object]:
        return json.loads(self.must("state", name))

    def cgroups(self) -> list[str]:
        folders = [Path("/sys/fs/cgroup"), *(f for f in Path("/sys/fs/cgroup").iterdir() if f.is_dir())]
        return [str(folder) for folder in folders if (folder / self.cgroup[1:] / "c").exists()]

    def left(self) -> list[str]:
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.work) in line]
        state = [entry.name for entry in self.root.iterdir()] if self.root.exists() else []
        return [*self.cgroups(), *mounts, *state]

    def close(self) -> None:
        self.run("delete", "--force", "c")
        for folder in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
            if (folder / self.cgroup[1:]).is_dir():
                (folder / self.cgroup[1:]).rmdir()


def verbs(oci: Runtime) -> None:
    oci.must("create", "--bundle", str(oci.bundle), "--pid-file", str(oci.work / "pid"), "c")
    assert oci.state()["status"] == "created" and oci.state()["pid"] == int((oci.work / "pid").read_text())
    oci.must("create", "--bundle", str(oci.bundle), "c", code=1, says="exists already")
    oci.must("start", "c")
    oci.must("start", "c", code=1, says="started already")
    oci.must("delete", "c", code=1, says="is not stopped: running")
    assert oci.must("exec", "c", "sh", "-c", "echo out; exit 7", code=7) == "out\n"
    assert oci.must("exec", "--user", "5:6", "--cwd", "/bin", "--env", "A=b", "c", "sh", "-c",
                    "echo $(id -u) $(id -g) $PWD $A") == "5 6 /bin b\n"
    oci.must("exec", "c", "no-such", code=255, says="executable file not found in $PATH")
    oci.must("pause", "c")
    assert oci.state()["status"] == "paused"
    oci.must("exec", "c", "true", code=255, says="paused container")
    oci.must("resume", "c")
    oci.must("update", "--pids-limit", "33", "c")
    oci.must("update", "-r", "-", "c", text='{"memory": {"limit": 67108864}}')
    oci.must("update", "-r", "-", "c", code=1, says="resources.blockIO.weight", text='{"blockIO": {"weight": 1}}')
    stats = json.loads(oci.must("events", "--stats", "c"))
    assert stats["data"]["pids"]["limit"] == 33 and stats["data"]["memory"]["usage"]["limit"] == 67108864, stats
    assert json.loads(oci.must("ps", "--format", "json", "c")) == [oci.state()["pid"]]
    assert "sleep" in oci.must("ps", "c")
    assert oci.must("list", "-q") == "c\n" and json.loads(oci.must("list", "-f", "json"))[0]["id"] == "c"
    oci.must("kill", "c", "KILL")
    wait("the container has stopped", lambda: oci.state()["status"] == "stopped")
    oci.must("kill", "c", code=1, says="container not running")
    oci.must("delete", "c")
    oci.must("state", "c", code=1, says="container c does not exist")
    oci.must("delete", "--force", "c")
    assert not oci.left(), oci.left()


def errors(oci: Runtime) -> None:
    oci.must("create", "--bundle", "/nowhere", "c", code=1, says="bundle /nowhere")
    oci.must("state", "../c", code=1, says="invalid container id")
    oci.must("no-such-verb", code=1)
    oci.configure("sleep", "1", hostname=7)
    oci.must("create", "--bundle", str(oci.bundle), "c", code=1, says="config.json: hostname: expected a string")
    oci.configure("no-such")
    oci.must("run", "--bundle", str(oci.bundle), "c", code=1, says="executable file not found in $PATH")
    log = oci.work / "log.json"
    oci.must("--log", str(log), "--log-format", "json", "start", "c", code=1, says="container c does not exist")
    line = json.loads(log.read_text())
    assert line["level"] == "error" and line["msg"] == "container c does not exist" and line["time"], line
    oci.configure("sh", "-c", "exit 9")
    oci.must("run", "--bundle", str(oci.bundle), "c", code=9)
    assert not oci.left(), oci.left()


def hooks(oci: Runtime) -> None:
    out = oci.work / "hooks"
    out.write_text("")
    points = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    described = {point: [{"path": "/bin/sh", "args": ["sh", "-c", f"(echo {point}; cat; echo) >> {out}"]}]
                 for point in points}
    oci.configure("true", hooks=described)
    oci.must("run", "--bundle", str(oci.bundle), "c")
    lines = out.read_text().splitlines()
    assert tuple(lines[::2]) == points, lines
    states = [json.loads(line)["status"] for line in lines[1::2]]
    assert states == ["creating", "creating", "creating", "running", "stopped"], states
    oci.configure("true", hooks={"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]})
    oci.must("create", "--bundle", str(oci.bundle), "c", code=1, says="hooks.createRuntime[0] /bin/sh: exit status 3: no")
    assert not oci.left(), oci.left()


def wait(what: str, true) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < end, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(0.05)


def steps(oci: Runtime) -> list[str]:
    oci.configure("sleep", "1000")
    trace = oci.work / "trace"
    env = {"DAVIT_FAULT_TRACE": str(trace)}
    for words in (("create", "--bundle", str(oci.bundle), "c"), ("start", "c"), ("delete", "--force", "c")):
        done = oci.run(*words, env=env)
        assert done.returncode == 0, done.stderr
    return list(dict.fromkeys(trace.read_text().split()))


def killed(oci: Runtime, step: str) -> None:
    env = {"DAVIT_FAULT_KILL": step}
    codes = [oci.run(*words, env=env).returncode
             for words in (("create", "--bundle", str(oci.bundle), "c"), ("start", "c"), ("delete", "--force", "c"))]
    assert -signal.SIGKILL in codes, f"{step} was not passed: {codes}"
    oci.must("delete", "--force", "c")
    assert not oci.left(), oci.left()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="", help="directory of davit-oci (default: newest build/*/bin)")
    args = parser.parse_args()
    report = Report("oci_runtime")
    try:
        paths.need_root()
    except paths.Skip as reason:
        report.add_skip("the whole suite", str(reason))
        return report.finish()
    oci = Runtime(paths.find_bin_dir(args.bin_dir) / "davit-oci", paths.scratch("oci"))
    try:
        for name, case in (("every verb", verbs), ("errors name what is wrong", errors),
                           ("hooks run in their order with their states", hooks)):
            if not report.run(name, lambda case=case: case(oci)):
                oci.run("delete", "--force", "c")
        for step in steps(oci):
            report.run(f"killed at {step}", lambda step=step: killed(oci, step))
    finally:
        oci.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
