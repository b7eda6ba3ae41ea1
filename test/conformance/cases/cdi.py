"""CDI: devices by the names of their vendors, from the field and from annotations, by what they change."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from bench import case

# Named before it exists: the settings are read with the case, the directories made by it.
BASE = Path(tempfile.gettempdir()) / f"davit-cdi-{os.getpid()}"
CONFIG = f'[runtime]\ncdi_spec_dirs = ["{BASE}/weak", "{BASE}/strong"]\n'


def spec(devices: dict, common: dict | None = None, version: str = "0.7.0") -> dict:
    made = {"cdiVersion": version, "kind": "davit.test/thing",
            "devices": [{"name": name, "containerEdits": edits} for name, edits in devices.items()]}
    if common:
        made["containerEdits"] = common
    return made


@contextmanager
def directories():
    shutil.rmtree(BASE, ignore_errors=True)
    for name in ("weak", "strong"):
        (BASE / name).mkdir(parents=True, mode=0o755)
    try:
        yield BASE / "weak", BASE / "strong"
    finally:
        shutil.rmtree(BASE, ignore_errors=True)


def devices(*names: str) -> list[dict]:
    return [{"name": f"davit.test/thing={name}"} for name in names]


@case("cdi", "environment, device nodes, mounts and groups of a device", config=CONFIG)
def edits(t):
    with directories() as (weak, _):
        library = t.folder("cdi") / "library"
        library.write_text("of the vendor")
        (weak / "a.json").write_text(json.dumps(spec({"one": {
            "env": ["THING=one", "PATH=/vendor/bin:/bin"],
            "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/loop-control", "permissions": "r",
                             "fileMode": 0o604, "uid": 7, "gid": 8}],
            "mounts": [{"hostPath": str(library), "containerPath": "/vendor/library", "options": ["ro", "nosuid"]}],
            "additionalGids": [4242]}}, {"env": ["ALL=1"]})))
        box = t.run("sleep", "1000", CDI_devices=devices("one"))
        assert box.sh("echo $THING $ALL $PATH") == "one 1 /vendor/bin:/bin"
        assert box.exec("stat", "-c", "%F %t %T %a %u %g", "/dev/thing") == "character special file a ed 604 7 8"
        box.sh("exec 3< /dev/thing")
        assert box.exec_sync("sh", "-c", "exec 3>> /dev/thing").exit_code != 0, "permissions were r"
        assert box.exec("cat", "/vendor/library") == "of the vendor"
        assert box.exec_sync("sh", "-c", "echo x > /vendor/library").exit_code != 0
        assert "4242" in box.exec("id", "-G").split()


@case("cdi", "hooks run with a clean environment", config=CONFIG)
def hooks(t):
    with directories() as (weak, _):
        out = t.folder("cdi") / "hook"
        script = out.parent / "hook.sh"
        script.write_text(f"#!/bin/sh\ncat > {out}.state\necho \"$*\" > {out}.args\ncat /proc/self/environ > {out}.env\n")
        script.chmod(0o755)
        (weak / "a.json").write_text(json.dumps(spec({"one": {"hooks": [
            {"hookName": "createRuntime", "path": str(script), "args": ["hook", "x", "y"], "env": ["MINE=1"]}]}})))
        box = t.run("sleep", "1000", CDI_devices=devices("one"), envs=[{"key": "LD_PRELOAD", "value": b"/evil.so"}])
        assert json.loads(Path(f"{out}.state").read_text())["id"] == box.id
        assert Path(f"{out}.args").read_text() == "x y\n"
        environment = Path(f"{out}.env").read_text()
        assert "MINE=1\0" in environment and "LD_PRELOAD" not in environment, environment
        names = {e.partition("=")[0] for e in environment.split("\0") if e}
        assert names <= {"MINE", "PATH", "PWD", "SHLVL", "_"}, names
        [given] = box.info()["runtimeSpec"]["hooks"]["createRuntime"]
        assert given["timeout"] == 10, "no deadline where the vendor gives none"


@case("cdi", "a hook that hangs is ended and fails the create", config=CONFIG)
def hanging_hook(t):
    with directories() as (weak, _):
        (weak / "a.json").write_text(json.dumps(spec({"one": {"hooks": [
            {"hookName": "createRuntime", "path": "/bin/sleep", "args": ["sleep", "20"], "timeout": 1}]}})))
        # Without the deadline it would end by itself, and the creation be good.
        t.pod().refused("INTERNAL", "timeout", CDI_devices=devices("one"))


@case("cdi", "YAML, annotations, and each device once", config=CONFIG)
def annotations(t):
    with directories() as (weak, strong):
        (weak / "a.yaml").write_text(
            "cdiVersion: 0.5.0\nkind: davit.test/thing\ndevices:\n"
            "- name: one\n  containerEdits: {env: [ONE=1]}\n- name: two\n  containerEdits: {env: [\"TWO=1\"]}\n")
        box = t.run("sleep", "1000", CDI_devices=devices("one"),
                    annotations={"cdi.k8s.io/plugin_x": "davit.test/thing=one,davit.test/thing=two"})
        assert box.sh("echo $ONE $TWO") == "1 1"
        assert box.info()["runtimeSpec"]["process"]["env"].count("ONE=1") == 1


@case("cdi", "files that appear, change and go are seen by the next container; the later directory wins", config=CONFIG)
def changes(t):
    with directories() as (weak, strong):
        pod = t.pod()
        pod.refused("INVALID_ARGUMENT", "davit.test/thing=one", CDI_devices=devices("one"))
        for where, value in ((weak, "weak"), (strong, "strong"), (strong, "changed")):
            (where / "a.json").write_text(json.dumps(spec({"one": {"env": [f"V={value}"]}})))
            assert pod.container(CDI_devices=devices("one")).sh("echo $V") == value
        (strong / "a.json").unlink()
        assert pod.container(CDI_devices=devices("one")).sh("echo $V") == "weak"


@case("cdi", "what cannot be resolved is refused by the device's name", config=CONFIG)
def refused(t):
    with directories() as (weak, strong):
        pod = t.pod()
        one = json.dumps(spec({"one": {"env": ["V=1"]}, "gone": {"deviceNodes": [{"path": "/dev/not-there"}]}}))
        (weak / "a.json").write_text(one)
        (weak / "b.json").write_text(one)
        error = pod.refused("INVALID_ARGUMENT", "davit.test/thing=one", CDI_devices=devices("one"))
        assert "a.json" in error.details and "b.json" in error.details, error
        (weak / "b.json").write_text("{")
        assert pod.container(CDI_devices=devices("one")).sh("echo $V") == "1"
        pod.refused("INVALID_ARGUMENT", "b.json", CDI_devices=devices("other"))
        pod.refused("INVALID_ARGUMENT", "/dev/not-there", CDI_devices=devices("gone"))
        pod.refused("INVALID_ARGUMENT", "CDI_devices[0].name", CDI_devices=[{"name": "nonsense"}])
        pod.refused("INVALID_ARGUMENT", "cdi.k8s.io/x", annotations={"cdi.k8s.io/x": "nonsense"})
        (weak / "c.json").write_text(json.dumps(spec({"rdt": {"intelRdt": {"closID": "x"}}})))
        pod.refused("INVALID_ARGUMENT", "intelRdt", CDI_devices=devices("rdt"))
