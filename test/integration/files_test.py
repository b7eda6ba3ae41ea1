#!/usr/bin/env python3
"""The files of containers over davit.control.v1: looked at, copied out and in, compared, committed; volumes; images as
tools look at them. And what evil containers and archives try: nothing outside a container's root is ever touched.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import sys
import tarfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.control_client import ControlClient  # noqa: E402
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.grpc_client import CallFailed, GrpcClient  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

FILES = "FileService"
IMAGE = "registry.test/files/committed:1"


def tar_of(*entries: tuple[str, object], uid: int = 0) -> bytes:
    """("name", bytes), ("dir/", None) or ("link", "-> target")."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name.rstrip("/") if content is None else name)
            info.uid = info.gid = uid
            info.mtime = 1_600_000_000
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content.removeprefix("-> ")
            else:
                info.size, info.mode = len(content), 0o640
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar.getmembers()}


def content(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.extractfile(name).read()


class Cases:
    def __init__(self, stage: Stage):
        self.stage = stage
        self.cri = GrpcClient(stage.engine.socket)
        self.control = ControlClient(stage.engine.socket)
        self.pods = 0
        self.cri.PullImage(image={"image": BUSYBOX})

    def pod(self) -> tuple[str, dict]:
        self.pods += 1
        config = pod_config(f"files{self.pods}", log_directory=str(self.stage.logs(f"files{self.pods}")))
        return self.cri.RunPodSandbox(config=config).pod_sandbox_id, config

    def container(self, *command: str, start: bool = True, image: str = BUSYBOX, **more: object) -> str:
        pod, config = self.pod()
        wanted = container_config("main", image, *(command or ("sleep", "1000")), log_path="m.log", **more)
        box = self.cri.CreateContainer(pod_sandbox_id=pod, config=wanted, sandbox_config=config).container_id
        if start:
            self.cri.StartContainer(container_id=box)
        return box

    def run(self, box: str, script: str) -> str:
        done = self.cri.ExecSync(container_id=box, cmd=["sh", "-c", script], timeout=30)
        assert done.exit_code == 0, done
        return done.stdout.decode()

    def empty(self) -> None:
        for pod in self.cri.ListPodSandbox().items:
            self.cri.StopPodSandbox(pod_sandbox_id=pod.id)
            self.cri.RemovePodSandbox(pod_sandbox_id=pod.id)

    # ---- Looking and copying ----
    def stat(self) -> None:
        box = self.container()
        self.run(box, "mkdir -p /data/sub; echo hello > /data/file; chmod 4750 /data/file; ln -s /data/file /data/link; "
                      "ln -s /nowhere/x /data/dangling; ln -s ../../../../etc /data/up")
        found = self.control.call(f"{FILES}/StatPath", container=box, path="/data/file")
        assert (found.name, found.size, found.mode) == ("file", 6, stat.S_IFREG | 0o4750), found
        assert abs(found.modified_at / 1e9 - time.time()) < 3600
        link = self.control.call(f"{FILES}/StatPath", container=box, path="/data/link")
        assert stat.S_ISLNK(link.mode) and link.link_target == "/data/file", link
        assert self.control.call(f"{FILES}/StatPath", container=box, path="/data/dangling").link_target == "/nowhere/x"
        assert self.control.call(f"{FILES}/StatPath", container=box, path="/data/up").link_target == "/etc"
        assert self.control.call(f"{FILES}/StatPath", container=box, path="/data/up/passwd").name == "passwd"
        directory = self.control.call(f"{FILES}/StatPath", container=box, path="/data/sub/..")
        assert (directory.name, stat.S_ISDIR(directory.mode)) == ("data", True), directory
        assert self.control.call(f"{FILES}/StatPath", container=box, path="/").name == "/"
        self.control.refused(f"{FILES}/StatPath", "NOT_FOUND", container=box, path="/data/none")
        self.control.refused(f"{FILES}/StatPath", "NOT_FOUND", container="f" * 64, path="/")
        # What is mounted is seen, as the container sees it.
        hosts = self.control.read_archive(box, "/etc/hosts")[1]
        assert content(hosts, "hosts").decode() == self.run(box, "cat /etc/hosts")
        self.empty()

    def out_and_in(self, running: bool) -> None:
        box = self.container()
        self.run(box, "mkdir -p /data/deep/er; echo hello > /data/deep/er/file; ln -s file /data/deep/er/link; "
                      "mkfifo /data/fifo; dd if=/dev/zero of=/data/big bs=1M count=9 2>/dev/null; chown -R 7:8 /data")
        if not running:
            self.cri.StopContainer(container_id=box, timeout=0)
        seen, tar = self.control.read_archive(box, "/data/deep/")
        assert seen.name == "deep" and stat.S_ISDIR(seen.mode)
        assert sorted(members(tar)) == ["deep", "deep/er", "deep/er/file", "deep/er/link"], members(tar)
        assert content(tar, "deep/er/file") == b"hello\n"
        _, data = self.control.read_archive(box, "/data")
        assert members(data)["data/big"].size == 9 << 20 and members(data)["data/fifo"].isfifo()
        assert (members(data)["data/big"].uid, members(data)["data/big"].gid) == (7, 8)
        _, file = self.control.read_archive(box, "/data/deep/er/file")
        assert list(members(file)) == ["file"]
        self.control.refused(f"{FILES}/ReadArchive", "NOT_FOUND", container=box, path="/none")

        archive = tar_of(("in/", None), ("in/a", b"A" * 300_000), ("in/link", "-> a"), ("b", b"B"), uid=9)
        self.control.write_archive(box, "/data", gzip.compress(archive))
        self.control.write_archive(box, "/data/deep", archive, copy_ids=True)
        _, back = self.control.read_archive(box, "/data")
        found = members(back)
        assert content(back, "data/in/a") == b"A" * 300_000
        assert (found["data/in/a"].uid, found["data/deep/in/a"].uid) == (0, 9), "owners"
        assert (found["data/b"].mode, found["data/b"].mtime) == (0o640, 1_600_000_000)
        self.control.refused(f"{FILES}/WriteArchive", "INVALID_ARGUMENT", "overwrite",
                             requests=[{"container": box, "path": "/data", "no_overwrite_dir_non_dir": True},
                                       {"data": tar_of(("deep", b"x"))}])
        self.control.refused(f"{FILES}/WriteArchive", "INVALID_ARGUMENT",
                             requests=[{"container": box, "path": "/data/b"}, {"data": archive}])
        self.control.refused(f"{FILES}/WriteArchive", "NOT_FOUND",
                             requests=[{"container": box, "path": "/none"}, {"data": archive}])
        self.control.refused(f"{FILES}/WriteArchive", "INVALID_ARGUMENT",
                             requests=[{"container": box, "path": "/data"}, {"data": b"no tar at all, but long" * 100}])
        if running:
            assert self.run(box, "cat /data/b; stat -c %u /data/deep/in/a") == "B9\n"
        self.empty()

    def mounts(self, running: bool) -> None:
        """Bind mounts are seen, those that are read-only take nothing; so does a read-only root."""
        host = self.stage.work / f"host{running}"
        for name in ("rw", "ro"):
            (host / name).mkdir(parents=True)
            (host / name / "there").write_text(name)
        box = self.container(mounts=[
            {"container_path": "/mnt/rw", "host_path": str(host / "rw")},
            {"container_path": "/mnt/ro", "host_path": str(host / "ro"), "readonly": True}],
            linux={"security_context": {"readonly_rootfs": True}})
        if not running:
            self.cri.StopContainer(container_id=box, timeout=0)
        assert content(self.control.read_archive(box, "/mnt/ro/there")[1], "there") == b"ro"
        self.control.write_archive(box, "/mnt/rw", tar_of(("new", b"1")))
        assert (host / "rw" / "new").read_bytes() == b"1"
        for path in ("/mnt/ro", "/etc", "/"):
            self.control.refused(f"{FILES}/WriteArchive", "FAILED_PRECONDITION", "read-only",
                                 requests=[{"container": box, "path": path}, {"data": tar_of(("new", b"1"))}])
        assert sorted(os.listdir(host / "ro")) == ["there"]
        self.empty()

    def export(self) -> None:
        box = self.container()
        self.run(box, "echo mine > /mine; rm /etc/group")
        seen, tar = self.control.read_archive(box, "")
        names = members(tar)
        assert seen is None and "./bin/busybox" in names or "bin/busybox" in names, sorted(names)[:20]
        assert not any(name.removeprefix("./") == "etc/group" for name in names)
        assert not any(name.removeprefix("./").startswith(("proc/", "sys/")) for name in names)
        self.empty()

    # ---- Evil ----
    def swapped(self) -> None:
        """CVE-2018-15664: a container that swaps a directory for a link, and what davit copies meanwhile."""
        outside = self.stage.work / "outside"
        outside.mkdir()
        (outside / "secret").write_text("the node's secret")
        box = self.container("sh", "-c", f"""
            mkdir -p /swap /evil{outside}; echo inside > /swap/secret; ln -s {outside} /link; ln -s /../../../.. /up
            while :; do mv -T /swap /kept; ln -s {outside} /swap; rm /swap; ln -s /../../..{outside} /swap
            rm /swap; mv -T /kept /swap; done""")
        deadline = time.monotonic() + 30
        while True:
            try:
                self.control.call(f"{FILES}/StatPath", container=box, path="/up")
                break
            except CallFailed:
                assert time.monotonic() < deadline
        written = read = 0
        for number in range(200):
            try:
                self.control.write_archive(box, "/swap", tar_of((f"f{number % 3}/", None), ("secret", b"overwritten")))
                written += 1
            except CallFailed as error:
                assert error.code in ("NOT_FOUND", "INVALID_ARGUMENT"), error
            try:
                _, tar = self.control.read_archive(box, "/swap")
                read += 1
                assert b"the node's secret" not in tar
            except CallFailed as error:
                assert error.code in ("NOT_FOUND",), error
            assert (outside / "secret").read_text() == "the node's secret"
        assert written > 10 and read > 10, (written, read)
        assert sorted(os.listdir(outside)) == ["secret"]
        self.empty()

    def climbing(self) -> None:
        box = self.container()
        target = f"davit-files-{os.getpid()}"
        archives = {
            "dots": tar_of((f"../../../../../../tmp/{target}", b"x")),
            "link then file": tar_of(("l", "-> /tmp"), (f"l/{target}", b"x")),
            "link of dots": tar_of(("l", "-> ../../../../../tmp"), (f"l/{target}", b"x")),
        }
        for name, archive in archives.items():
            self.run(box, "rm -rf /srv-in; mkdir -p /srv-in")
            self.control.refused(f"{FILES}/WriteArchive", "INVALID_ARGUMENT",
                                 requests=[{"container": box, "path": "/srv-in"}, {"data": archive}])
            assert not Path("/tmp", target).exists(), name
        # An absolute name is below the directory.
        self.control.write_archive(box, "/srv-in", tar_of((f"/tmp/{target}", b"x")))
        assert not Path("/tmp", target).exists()
        assert self.run(box, f"cat /srv-in/tmp/{target}") == "x"
        for path in ("/proc/sys/kernel", "/sys/kernel", "/proc"):
            self.control.refused(f"{FILES}/WriteArchive", "FAILED_PRECONDITION",
                                 requests=[{"container": box, "path": path}, {"data": tar_of(("x", b"1"))}])
        cut = tar_of(("a", b"A" * 100_000))[:50_000]
        try:
            self.control.write_archive(box, "/srv-in", cut)
            raise AssertionError("an archive that is cut was taken")
        except CallFailed as error:
            assert error.code in ("DATA_LOSS", "INVALID_ARGUMENT"), error
        self.empty()

    # ---- Changes and commit ----
    def changes(self) -> None:
        box = self.container()
        self.run(box, "mkdir /added; echo x > /added/file; echo y >> /etc/passwd; rm /etc/group; chmod 700 /home 2>/dev/null;"
                      " true")
        found = self.control.call(f"{FILES}/ListChanges", container=box)
        lines = [f"{'CAD'[change.kind]} {change.path}" for change in found.changes]
        for line in ("A /added", "A /added/file", "C /etc", "C /etc/passwd", "D /etc/group"):
            assert line in lines, lines
        assert not any("hosts" in line or "/proc" in line or "/dev" in line for line in lines), lines
        assert lines == sorted(lines, key=lambda line: line[2:]) and not found.truncated
        self.cri.StopContainer(container_id=box, timeout=0)
        again = self.control.call(f"{FILES}/ListChanges", container=box)
        assert list(again.changes) == list(found.changes)
        self.empty()

    def commit(self) -> None:
        box = self.container("sleep", "1000", envs=[{"key": "GIVEN", "value": b"yes"}])
        self.run(box, "mkdir -p /made; echo text > /made/file; ln /made/file /made/second; rm /etc/group; "
                      "rm -rf /home; mkdir -p /home/new; chown 7:8 /made/file")
        answer = self.control.call(f"{FILES}/Commit", container=box, reference=IMAGE, author="me", message="why",
                                   changes=["ENV MORE=1", "LABEL l=v"], config=json.dumps({"WorkingDir": "/made"}))
        assert answer.image_id.startswith("sha256:")
        [image] = self.control.call(f"{FILES}/ListImages", images=[IMAGE], full=True).images
        config = json.loads(image.config_json)
        assert image.id == answer.image_id and image.tags == [IMAGE], image
        assert len(image.layers) == len(config["rootfs"]["diff_ids"]) == len(image.layer_sizes)
        assert config["author"] == "me" and config["history"][-1]["comment"] == "why"
        assert config["config"]["WorkingDir"] == "/made" and config["config"]["Labels"]["l"] == "v"
        assert {"GIVEN=yes", "MORE=1"} <= set(config["config"]["Env"])
        # It runs at once, with nothing of the mount points in it.
        other = self.container("sleep", "1000", image=IMAGE)
        assert self.run(other, "pwd; cat file; stat -c '%u:%g %h' file; ls -A /home; echo $GIVEN$MORE") == \
            "/made\ntext\n7:8 2\nnew\nyes1\n"
        assert self.run(other, "test -e /etc/group || echo gone") == "gone\n"
        # A layer upon a layer, of one that has ended; and the archive that it makes.
        self.run(other, "echo two > /made/two; rm /made/second")
        self.cri.StopContainer(container_id=other, timeout=0)
        second = self.control.call(f"{FILES}/Commit", container=other).image_id
        third = self.container("sleep", "1000", image=second)
        assert self.run(third, "cat /made/two; ls /made") == "two\nfile\ntwo\n"
        saved = [chunk for chunk in self.control.call("ControlService/SaveImages", images=[IMAGE], docker=True)]
        assert any(chunk.path == "manifest.json" for chunk in saved)
        self.control.refused(f"{FILES}/Commit", "INVALID_ARGUMENT", "RUN", container=box, changes=["RUN x"])
        self.control.refused(f"{FILES}/Commit", "INVALID_ARGUMENT", container=box, config="{")
        self.control.refused(f"{FILES}/Commit", "NOT_FOUND", container="f" * 64)
        assert not list((self.stage.engine.root / "commits").iterdir())
        self.empty()
        for name in (IMAGE, second):
            self.control.call(f"{FILES}/RemoveImage", image=name)

    # ---- Images and volumes ----
    def images(self) -> None:
        [busybox] = self.control.call(f"{FILES}/ListImages", images=[BUSYBOX]).images
        assert busybox.os == "linux" and busybox.size > 0 and not busybox.config_json, busybox
        for name in ("registry.test/a:1", "registry.test/b:2"):
            self.control.call(f"{FILES}/TagImage", image=BUSYBOX, reference=name)
        [tagged] = self.control.call(f"{FILES}/ListImages", images=["registry.test/a:1"], full=True).images
        assert tagged.id == busybox.id and len(tagged.tags) == 3 and tagged.config_json
        self.control.refused(f"{FILES}/TagImage", "INVALID_ARGUMENT", image=BUSYBOX, reference="UPPER:1")
        self.control.refused(f"{FILES}/TagImage", "NOT_FOUND", image="registry.test/none:1", reference="registry.test/c:1")
        self.control.refused(f"{FILES}/RemoveImage", "FAILED_PRECONDITION", "tags", image=busybox.id)
        removed = self.control.call(f"{FILES}/RemoveImage", image="registry.test/a:1")
        assert list(removed.untagged) == ["registry.test/a:1"] and not removed.deleted
        self.control.call(f"{FILES}/RemoveImage", image="registry.test/b:2")
        box = self.container()
        [used] = self.control.call(f"{FILES}/ListImages", images=[BUSYBOX]).images
        assert used.containers == 1
        self.control.refused(f"{FILES}/RemoveImage", "FAILED_PRECONDITION", box[:12], image=BUSYBOX)
        self.control.refused(f"{FILES}/ListImages", "NOT_FOUND", images=["registry.test/none:1"])
        self.control.refused(f"{FILES}/RemoveImage", "NOT_FOUND", image="registry.test/none:1")
        self.empty()
        removed = self.control.call(f"{FILES}/RemoveImage", image=BUSYBOX)
        assert removed.deleted == busybox.id and BUSYBOX in removed.untagged, removed
        self.cri.PullImage(image={"image": BUSYBOX})

    def volumes(self) -> None:
        service = "VolumeService"
        made = self.control.call(f"{service}/CreateVolume", name="data", labels={"a": "b"})
        assert made.created and made.volume.mountpoint.endswith("/volumes/data/_data") and made.volume.needs_copy_up
        assert not self.control.call(f"{service}/CreateVolume", name="data", labels={"a": "b"}).created
        self.control.refused(f"{service}/CreateVolume", "ALREADY_EXISTS", name="data")
        anonymous = self.control.call(f"{service}/CreateVolume", anonymous=True).volume
        assert len(anonymous.name) == 64 and anonymous.anonymous
        for bad in ({"name": "../x"}, {"name": "x", "driver": "nfs"}, {"name": "x", "options": {"type": "nfs"}}):
            self.control.refused(f"{service}/CreateVolume", "INVALID_ARGUMENT", **bad)
        Path(made.volume.mountpoint, "file").write_bytes(b"x" * 100_000)
        [measured] = self.control.call(f"{service}/ListVolumes", names=["data"], sizes=True).volumes
        assert measured.bytes >= 100_000, measured
        self.control.refused(f"{service}/ListVolumes", "NOT_FOUND", names=["none"])
        # They outlive davitd, which may be killed.
        self.stage.engine.kill()
        self.stage.engine.start()
        self.control.reconnect()
        self.cri.reconnect()
        names = {volume.name for volume in self.control.call(f"{service}/ListVolumes").volumes}
        assert names == {"data", anonymous.name}, names
        assert Path(made.volume.mountpoint, "file").exists()
        report = self.control.call("ControlService/DiskUsage")
        deadline = time.monotonic() + 60
        while report.measuring or not report.measured_at:
            assert time.monotonic() < deadline
            report = self.control.call("ControlService/DiskUsage")
        assert any(part.owner == "volume" and part.name == "data" for part in report.parts), report.parts
        for name in names:
            self.control.call(f"{service}/RemoveVolume", name=name)
        self.control.refused(f"{service}/RemoveVolume", "NOT_FOUND", name="data")
        self.control.call(f"{service}/RemoveVolume", name="data", force=True)
        assert not Path(made.volume.mountpoint).exists()


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("files")
    with reported(report), stage_of("files", args) as stage:
        stage.engine.start()
        before = stage.engine.snapshot()
        cases = Cases(stage)
        report.run("paths are looked at, links end in the root", cases.stat)
        for running in (True, False):
            state = "running" if running else "stopped"
            report.run(f"files go out of and into a {state} container", lambda: cases.out_and_in(running))
            report.run(f"mounts and read-only ones of a {state} container", lambda: cases.mounts(running))
        report.run("a whole root", cases.export)
        report.run("a container that swaps a directory for a link", cases.swapped)
        report.run("archives that climb, kernel filesystems, what is cut", cases.climbing)
        report.run("what differs from the image", cases.changes)
        report.run("a commit runs, is committed again and saved", cases.commit)
        report.run("images are tagged, listed and removed as docker does it", cases.images)
        report.run("volumes are made, measured, survive a kill and go", cases.volumes)
        report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
