#!/usr/bin/env python3
"""Volumes of standalone containers: copied up, shared, kept, in use, removed with their containers; SIGKILL at each step
of what makes and removes them, of a commit too.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import uuid
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.control_client import ControlClient  # noqa: E402
from davit_test.engine import EngineError, wait_for  # noqa: E402
from davit_test.grpc_client import CallFailed, GrpcClient  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

S, V, F = "StandaloneService", "VolumeService", "FileService"
IMAGE = "registry.test/volumes/declares:1"
ENDS_S = 30


class Cases:
    def __init__(self, stage: Stage):
        self.stage = stage
        self.cri = GrpcClient(stage.engine.socket)
        self.control = ControlClient(stage.engine.socket)
        self.cri.PullImage(image={"image": BUSYBOX})
        self.make_image()

    def make_image(self) -> None:
        """An image that declares a volume with content: a commit, the quickest way to one."""
        box = self.run("sleep", "1000")
        self.sh(box, "mkdir -p /data/sub; echo image > /data/sub/file; chown 7:8 /data; chmod 2775 /data")
        self.control.call(f"{F}/Commit", container=box, reference=IMAGE, changes=["VOLUME /data"])
        self.remove(box)

    def reconnect(self) -> None:
        self.control.reconnect()
        self.cri.reconnect()

    def create(self, *command: str, image: str = BUSYBOX, **more: object) -> str:
        request = {"config": {"image": {"image": image}, "command": list(command or ("sleep", "1000")),
                              "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}},
                   "pod_config": {"linux": {"security_context": {"namespace_options": {"pid": "CONTAINER",
                                                                                      "network": "NODE"}}}},
                   "options": {"name": f"c{uuid.uuid4().hex[:10]}", **more}}
        return self.control.call(f"{S}/CreateContainer", **request).container_id

    def run(self, *command: str, **more: object) -> str:
        box = self.create(*command, **more)
        self.control.call(f"{S}/StartContainer", container=box)
        return box

    def sh(self, box: str, script: str) -> str:
        done = self.cri.ExecSync(container_id=box, cmd=["sh", "-c", script], timeout=30)
        assert done.exit_code == 0, done
        return done.stdout.decode()

    def stop(self, box: str) -> None:
        self.control.call(f"{S}/StopContainer", container=box, timeout_seconds=0)

    def remove(self, box: str, volumes: bool = True) -> None:
        self.control.call(f"{S}/RemoveContainer", container=box, force=True, volumes=volumes)

    def names(self) -> set[str]:
        return {volume.name for volume in self.control.call(f"{V}/ListVolumes").volumes}

    def show(self, box: str):
        return self.control.call(f"{S}/ListContainers", containers=[box], full=True).containers[0]

    def volume(self, name: str):
        return self.control.call(f"{V}/ListVolumes", names=[name]).volumes[0]

    # ---- The cases ----
    def copied_up(self) -> None:
        """A named volume takes what the image has at the path, owner and mode too; once, and not with no_copy."""
        box = self.run(image=IMAGE, volumes=[{"name": "up", "container_path": "/data"},
                                            {"name": "plain", "container_path": "/etc", "no_copy": True},
                                            {"name": "fresh", "container_path": "/not/there"}])
        assert self.sh(box, "cat /data/sub/file; stat -c '%u:%g %a' /data; ls -A /etc /not/there | wc -l").split() == \
            ["image", "7:8", "2775", "6"], self.sh(box, "stat -c '%u:%g %a' /data; ls -A /etc /not/there")
        assert not self.volume("up").needs_copy_up
        self.sh(box, "echo mine > /data/sub/file; echo new > /data/new")
        self.remove(box)
        assert {"up", "plain", "fresh"} <= self.names()
        again = self.run(image=IMAGE, volumes=[{"name": "up", "container_path": "/data", "readonly": True}])
        assert self.sh(again, "cat /data/sub/file /data/new") == "mine\nnew\n"
        assert self.sh(again, "echo x > /data/no 2>/dev/null || echo refused") == "refused\n"
        self.remove(again)
        for name in ("up", "plain", "fresh"):
            self.control.call(f"{V}/RemoveVolume", name=name)

    def anonymous(self) -> None:
        """What an image declares is an anonymous volume, which goes with the container where that is asked for."""
        box = self.create(image=IMAGE)
        [volume] = self.show(box).volumes
        assert len(volume.name) == 64 and volume.container_path == "/data"
        assert self.volume(volume.name).anonymous and list(self.volume(volume.name).containers) == [box]
        for run in (1, 2):
            self.control.call(f"{S}/StartContainer", container=box)
            assert self.sh(box, "cat /data/sub/file; echo x >> /data/runs; wc -l < /data/runs").split() == \
                ["image", str(run)]
            self.stop(box)
        self.remove(box, volumes=False)
        assert volume.name in self.names()
        assert not self.volume(volume.name).containers
        self.control.call(f"{V}/RemoveVolume", name=volume.name)
        gone = self.run("true", image=IMAGE, auto_remove=True, volumes=[{"container_path": "/x"}])
        wait_for("the anonymous volumes go with it", lambda: not self.names(), ENDS_S)
        self.control.refused(f"{S}/ListContainers", "NOT_FOUND", containers=[gone])

    def shared(self) -> None:
        one = self.run(volumes=[{"name": "both", "container_path": "/v"}])
        two = self.run(volumes=[{"name": "both", "container_path": "/w"}])
        self.sh(one, "mkdir /v/sub; echo hello > /v/sub/file; ln -s /etc /v/evil")
        assert self.sh(two, "cat /w/sub/file") == "hello\n"
        assert sorted(self.volume("both").containers) == sorted([one, two])
        self.control.refused(f"{V}/RemoveVolume", "FAILED_PRECONDITION", one[:12] if one < two else two[:12], name="both")
        # A part of it; a link in it leads nowhere.
        part = self.run(volumes=[{"name": "both", "container_path": "/p", "sub_path": "sub"}])
        assert self.sh(part, "ls /p") == "file\n"
        self.remove(part)
        for sub_path in ("evil/passwd", "none", "../x"):
            try:
                box = self.create(volumes=[{"name": "both", "container_path": "/p", "sub_path": sub_path}])
            except CallFailed as error:
                assert error.code == "INVALID_ARGUMENT", error
                continue
            self.control.refused(f"{S}/StartContainer", "FAILED_PRECONDITION", "sub_path", container=box)
            self.remove(box)
        self.stop(one)
        self.remove(two)
        # One that does not run uses it too.
        self.control.refused(f"{V}/RemoveVolume", "FAILED_PRECONDITION", one[:12], name="both", force=True)
        self.remove(one)
        self.control.call(f"{V}/RemoveVolume", name="both")

    def tmpfs_and_bind(self) -> None:
        made = self.control.call(f"{V}/CreateVolume", name="memory",
                                 options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0700"}).volume
        host = self.stage.work / "bound"
        host.mkdir()
        self.control.call(f"{V}/CreateVolume", name="host",
                          options={"type": "none", "device": str(host), "o": "bind"})
        volumes = [{"name": "memory", "container_path": "/m"}, {"name": "host", "container_path": "/h"}]
        one, two = self.run(volumes=volumes), self.run(volumes=volumes)
        self.sh(one, "echo x > /m/x; echo y > /h/y")
        assert self.sh(two, "cat /m/x /h/y; df /m | tail -1").startswith("x\ny\ntmpfs")
        assert (host / "y").read_text() == "y\n" and os.path.ismount(made.mountpoint)
        self.remove(one)
        assert os.path.ismount(made.mountpoint)
        self.remove(two)
        assert not os.path.ismount(made.mountpoint), "its tmpfs is still mounted"
        for name in ("memory", "host"):
            self.control.call(f"{V}/RemoveVolume", name=name)
        assert (host / "y").exists()
        self.control.call(f"{V}/CreateVolume", name="away",
                          options={"type": "none", "device": str(host / "none"), "o": "bind"})
        box = self.create(volumes=[{"name": "away", "container_path": "/h"}])
        self.control.refused(f"{S}/StartContainer", "FAILED_PRECONDITION", "device", container=box)
        self.remove(box)
        self.control.call(f"{V}/RemoveVolume", name="away")

    def copied_before_it_runs(self) -> None:
        """docker create, docker cp, docker start: into the root, and into a volume."""
        box = self.create("sh", "-c", "cat /etc/given /v/given; sleep 1000",
                          volumes=[{"name": "before", "container_path": "/v"}])
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            info = tarfile.TarInfo("given")
            info.size = 6
            tar.addfile(info, io.BytesIO(b"given\n"))
        for path in ("/etc", "/v"):
            self.control.write_archive(box, path, data.getvalue())
        assert not self.control.call(f"{S}/ListContainers", containers=[box]).containers[0].started_at
        self.control.call(f"{S}/StartContainer", container=box)
        assert self.sh(box, "cat /etc/given /v/given") == "given\ngiven\n"
        [change] = [c for c in self.control.call(f"{F}/ListChanges", container=box).changes if c.path == "/etc/given"]
        assert change.kind == 1
        self.stop(box)
        assert self.control.read_archive(box, "/v/given")[0].size == 6
        self.remove(box)
        self.control.call(f"{V}/RemoveVolume", name="before")

    def killed_at_every_step(self) -> None:
        """Of what makes, fills, mounts, commits and removes: then it is whole, or gone, and nothing is frozen."""
        def act() -> None:
            box = self.run(image=IMAGE, volumes=[{"name": "killed", "container_path": "/data"}])
            self.control.call(f"{F}/Commit", container=box, reference="registry.test/volumes/killed:1")
            self.remove(box)
            self.control.call(f"{V}/RemoveVolume", name="killed")

        trace = self.stage.work / "trace"
        self.stage.engine.stop()
        self.stage.engine.start(env={"DAVIT_FAULT_TRACE": str(trace)})
        self.reconnect()
        before = len(trace.read_text().splitlines())
        act()
        mine = ("store.volumes.", "engine.commit.")
        steps = [step for step in dict.fromkeys(trace.read_text().splitlines()[before:]) if step.startswith(mine)]
        assert len(steps) >= 8, steps
        for step in steps:
            self.clean()
            self.stage.engine.stop()
            try:
                self.stage.engine.start(env={"DAVIT_FAULT_KILL": step})
                self.reconnect()
                act()
            except (CallFailed, EngineError):
                pass
            wait_for(f"davitd is killed at {step}", lambda: not self.stage.engine.alive(), ENDS_S)
            self.stage.engine.start()
            self.reconnect()
            volumes = self.stage.engine.root / "volumes"
            assert {path.name for path in volumes.iterdir()} == self.names(), (step, list(volumes.iterdir()))
            for volume in self.control.call(f"{V}/ListVolumes").volumes:
                inside = os.listdir(volume.mountpoint)
                assert inside in ([], ["sub"]), (step, inside)
            for box in self.control.call(f"{S}/ListContainers").containers:
                if box.state == 1:
                    assert self.sh(box.id, "echo alive") == "alive\n", step  # not frozen
            assert not (self.stage.engine.root / "commits").exists() or \
                not list((self.stage.engine.root / "commits").iterdir()), step
            self.clean()
            act()
        self.stage.engine.stop()
        self.stage.engine.start()
        self.reconnect()
        self.clean()

    def clean(self) -> None:
        for box in self.control.call(f"{S}/ListContainers").containers:
            self.remove(box.id)
        for name in self.names():
            self.control.call(f"{V}/RemoveVolume", name=name)
        try:
            self.control.call(f"{F}/RemoveImage", image="registry.test/volumes/killed:1")
        except CallFailed:
            pass


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("volumes")
    with reported(report), stage_of("volumes", args) as stage:
        stage.engine.start()
        before = stage.engine.snapshot()
        cases = Cases(stage)
        report.run("an empty volume takes what the image has", cases.copied_up)
        report.run("declared and anonymous volumes", cases.anonymous)
        report.run("shared, in use, parts of one", cases.shared)
        report.run("a tmpfs and a directory of the node", cases.tmpfs_and_bind)
        report.run("files come in before the first run", cases.copied_before_it_runs)
        report.run("SIGKILL at every step", cases.killed_at_every_step)
        report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
