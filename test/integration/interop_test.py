#!/usr/bin/env python3
"""Images go to and fro between Davit and the engines beside it: podman and buildah load what davit saved, davit loads what
they saved, and takes over what containers-storage and containerd hold on the node. The same image has the same id everywhere.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.engine import Containerd, wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

import images  # noqa: E402
from busybox import busybox  # noqa: E402
from oci_image import Entry, Layer  # noqa: E402

NAME = "registry.test/interop/shell:1"


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == code, f"{' '.join(words)}: exit {done.returncode}: {(done.stderr or done.stdout)[-600:]}"
    return done.stdout


def need(program: str) -> None:
    if not shutil.which(program):
        raise paths.Skip(f"{program} is not installed")


class Interop:
    def __init__(self, stage: Stage):
        self.stage, self.client = stage, stage.any_client()
        self.davit = [str(stage.engine.bin_dir / "davit"), "--connect", str(stage.engine.socket)]
        self.storage = stage.work / "storage"
        self.run_root = stage.work / "storage-run"
        self.archive = stage.work / "saved.tar"
        self.id = ""

    def podman(self, *words: str) -> str:
        need("podman")
        return run("podman", "--root", str(self.storage), "--runroot", str(self.run_root), "--storage-driver", "overlay", *words)

    def buildah(self, *words: str) -> str:
        need("buildah")
        return run("buildah", "--root", str(self.storage), "--runroot", str(self.run_root), "--storage-driver", "overlay", *words)

    def begin(self) -> None:
        """One image of odd layers, pulled by davit."""
        base = Layer.of([*images.base_entries(busybox()), Entry("etc/gone", data=b"x")])
        top = Layer.of([Entry("etc/mark", data=b"interop"), Entry("etc/.wh.gone"), Entry("etc/again", "hardlink", target="etc/mark")])
        self.stage.pusher.push(images.shell_image(base, top), "interop/shell", "1")
        name = f"127.0.0.1:{self.stage.registry.port}/interop/shell:1"
        run(*self.davit, "image", "pull", name)
        self.id = self.ids()[0]
        self.name = name

    def ids(self) -> list[str]:
        return [image["id"] for image in self.client.images()]

    def forget(self) -> None:
        for image in self.client.images():
            self.client.remove_image(image["id"])

    def works(self) -> None:
        """What davit holds now runs, and is what was pulled."""
        assert self.ids() == [self.id], f"{self.ids()} is not {self.id}"
        pod = pod_config("interop", log_directory=str(self.stage.logs("interop")))
        pod_id = self.client.run_pod(pod)
        try:
            box = self.client.create(pod_id, container_config("main", self.id, "sh", "-c", "cat /etc/mark /etc/again; echo; ls /etc/gone; sleep 1000", log_path="main.log"), pod)
            self.client.start(box)
            log = self.stage.logs("interop") / "main.log"
            wait_for("it has said all", lambda: "No such file" in log.read_text() and "interopinterop" in log.read_text(), 20)
        finally:
            self.client.stop_pod(pod_id)
            self.client.remove_pod(pod_id)

    def podman_loads(self) -> None:
        for kind in ("docker-archive", "oci-archive"):
            self.archive.unlink(missing_ok=True)
            run(*self.davit, "image", "save", "-q", "--format", kind, "-o", str(self.archive), self.name)
            self.podman("load", "-q", "-i", str(self.archive))
            found = self.podman("images", "--no-trunc", "--format", "sha256:{{.Id}} {{.Repository}}:{{.Tag}}").split()
            assert found == [self.id, self.name], f"{kind}: {found}"
            self.podman("rmi", "-af")

    def podman_saves(self) -> None:
        for kind in ("docker-archive", "oci-archive"):
            run(*self.davit, "image", "save", "-q", "-o", str(self.stage.work / "first.tar"), self.name)
            self.podman("load", "-q", "-i", str(self.stage.work / "first.tar"))
            self.archive.unlink(missing_ok=True)
            self.podman("save", "-q", "--format", kind, "-o", str(self.archive), self.name)
            self.forget()
            run(*self.davit, "image", "load", "-q", "-i", str(self.archive))
            self.works()
            run(*self.davit, "image", "pull", self.name)
            self.podman("rmi", "-af")
            (self.stage.work / "first.tar").unlink()

    def buildah_builds(self) -> None:
        """An image that buildah makes of davit's and pushes to an archive."""
        run(*self.davit, "image", "save", "-q", "-o", str(self.stage.work / "base.tar"), self.name)
        self.podman("load", "-q", "-i", str(self.stage.work / "base.tar"))
        box = self.buildah("from", "--pull-never", self.name).strip()
        self.buildah("config", "--label", "made.by=buildah", box)
        self.buildah("commit", "-q", box, "registry.test/interop/built:1")
        self.archive.unlink(missing_ok=True)
        self.buildah("push", "-q", "registry.test/interop/built:1", f"oci-archive:{self.archive}:registry.test/interop/built:1")
        loaded = run(*self.davit, "image", "load", "-q", "-i", str(self.archive)).split()
        assert loaded == ["registry.test/interop/built:1"], loaded
        self.client.remove_image("registry.test/interop/built:1")
        self.buildah("rm", "-a")
        self.podman("rmi", "-af")

    def from_containers_storage(self) -> None:
        run(*self.davit, "image", "save", "-q", "-o", str(self.stage.work / "base2.tar"), self.name)
        self.podman("load", "-q", "-i", str(self.stage.work / "base2.tar"))
        self.podman("tag", self.name, NAME)
        self.forget()
        said = json.loads(run(*self.davit, "-o", "json", "image", "import", "--from", "containers-storage", "--store", str(self.storage)))
        assert {image["id"] for image in said} == {self.id}, said
        [held] = self.client.images()
        assert sorted(held["repoTags"]) == sorted([self.name, NAME]), held
        self.works()
        done = subprocess.run([*self.davit, "image", "import", "--from", "containers-storage", "--store", str(self.storage), "registry.test/no/such:1"],
                              capture_output=True, text=True)
        assert done.returncode != 0 and "no/such" in done.stderr, done.stderr
        done = subprocess.run([*self.davit, "image", "import", "--from", "containers-storage", "--store", "/nowhere"], capture_output=True, text=True)
        assert done.returncode != 0 and "/nowhere" in done.stderr, done.stderr
        self.podman("rmi", "-af")

    def from_containerd(self) -> None:
        need("containerd")
        need("ctr")
        run(*self.davit, "image", "save", "-q", "--format", "oci-archive", "-o", str(self.stage.work / "other.tar"), self.id)
        other = Containerd(self.stage.work / "containerd")
        try:
            other.start()
            ctr = ["ctr", "--address", str(other.socket), "--namespace", "k8s.io", "images"]
            run(*ctr, "import", str(self.stage.work / "other.tar"))
            names = [n for n in run(*ctr, "ls", "-q").split() if not n.startswith("sha256:")]
            assert names, "containerd took nothing"
            self.forget()
            said = json.loads(run(*self.davit, "-o", "json", "image", "import", "--from", "containerd", "--store", str(other.socket)))
            assert {image["id"] for image in said} == {self.id}, said
            self.works()
            done = subprocess.run([*self.davit, "image", "import", "--from", "containerd", "--store", "/nowhere.sock"], capture_output=True, text=True)
            assert done.returncode != 0 and "/nowhere.sock" in done.stderr, done.stderr
        finally:
            other.destroy()


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("interop")
    with reported(report), stage_of("interop", args) as stage:
        stage.engine.start()
        interop = Interop(stage)
        if report.run("an image is pulled", interop.begin):
            report.run("podman loads what davit saved", interop.podman_loads)
            report.run("davit loads what podman saved", interop.podman_saves)
            report.run("davit loads what buildah built on it and pushed", interop.buildah_builds)
            report.run("davit takes over containers-storage", interop.from_containers_storage)
            report.run("davit takes over containerd's images", interop.from_containerd)
        subprocess.run(["umount", "-l", str(interop.storage / "overlay")], capture_output=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
