#!/usr/bin/env python3
"""SIF files as images: local files, a library with tokens and redirects, fifty containers on one mount, and bad files.

The files are made by mksquashfs and Sylabs' siftool; without siftool they are written by test/support/sif_files.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

import sif_files  # noqa: E402
from oci_image import Artifact, digest_of  # noqa: E402
from sif_library import Library  # noqa: E402

TOKEN = "let-me-in"
SEED = "library://sashayakovtseva/test/test-info"
SEED_ALIAS = "cloud.sylabs.io/sashayakovtseva/test/test-info"


class Cases:
    def __init__(self, stage: Stage, library: Library, files: Path, handlers: list[str]):
        self.stage, self.client, self.library = stage, stage.client(), library
        self.files, self.handlers = files, handlers
        self.siftool = paths.find_tool("siftool")
        self.number = 0

    # What the cases have in common.
    def run(self, report: Report, name: str, case: Callable[[], None]) -> None:
        if not report.run(name, case):
            self.clean()  # so that one failure is not all of them

    def image(self, name: str, mark: str, **how: object) -> Path:
        """A file below the allowed directory."""
        tree = sif_files.make_tree(self.stage.work / f"tree-{name}", mark)
        squashfs = sif_files.pack(tree, self.stage.work / f"{name}.sqfs", str(how.pop("compression", "gzip")))
        shutil.rmtree(tree)
        return sif_files.build(self.files / f"{name}.sif", squashfs, siftool=self.siftool, **how)

    def reference(self, path: Path) -> str:
        return f"local.file{path}"

    def box(self, image: str, *command: str, pod: tuple[str, dict] | None = None, **more: object) -> str:
        self.number += 1
        pod_id, config = pod or self.pod()
        wanted = container_config(f"c{self.number}", image, *command, log_path=f"{self.number}.log", **more)
        ctr = self.client.create(pod_id, wanted, config)
        self.client.start(ctr)
        return ctr

    def pod(self, handler: str = "") -> tuple[str, dict]:
        config = pod_config(f"sif{self.number}", log_directory=str(self.stage.logs("sif")))
        return self.client.run_pod(config, handler), config

    def mark(self, container: str, path: str = "/etc/mark") -> str:
        return self.client.exec_sync(container, "cat", path).strip()

    def log(self) -> str:
        """Of the last container, without times."""
        path = self.stage.logs("sif") / f"{self.number}.log"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return "".join(line.split(" ", 3)[3] for line in lines)

    def said(self, words: str) -> None:
        wait_for(f"{words!r} in the log", lambda: words in self.log(), 20)

    def listed(self, reference: str) -> dict:
        return json.loads(self.client.call("inspecti", reference))["status"]

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [line.split(" ")[4] for line in lines]
        return [point for point in points if point.startswith(f"{self.stage.engine.state}/layers/")]

    def loops(self, path: Path) -> list[str]:
        """The loop devices of a file."""
        found = []
        for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                if Path(backing.read_text().strip()).samefile(path):
                    found.append(backing.parts[3])
            except OSError:
                pass
        return found

    def clean(self) -> None:
        self.client.remove_everything()
        for image in self.client.images():
            if not any("e2e-test-images" in tag for tag in image["repoTags"]):
                self.client.remove_image(image["id"])
        assert self.mounts() == [], self.mounts()

    # Local files.
    def local(self) -> None:
        path = self.image("local", "one")
        before = path.stat()
        reference = self.reference(path)
        self.client.pull(reference)
        status = self.listed(reference)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert status["id"] == f"sha256:{digest}", status
        assert status["repoTags"] == [f"{reference}:latest"] and int(status["size"]) == before.st_size, status
        copied = sum(p.stat().st_blocks * 512 for p in self.stage.engine.root.rglob("*.sif"))
        assert copied == 0, f"{copied} bytes of it were copied"
        ctr = self.box(reference)
        self.said("runscript one")
        assert self.mark(ctr) == "one"
        for link, target in sif_files.LINKS.items():
            assert self.client.exec_sync(ctr, "readlink", f"/{link}").strip() == target
        assert self.client.exec_sync(ctr, "sh", "-c", "/.test").strip() == "tested"
        assert self.client.exec_sync(ctr, "sh", "-c", ". /environment; echo $COMPUTED").strip() == "from a shell"
        self.client.exec_sync(ctr, "sh", "-c", "echo x > /written")
        self.clean()
        assert path.exists(), "the user's file was removed with the image"
        assert path.stat().st_ctime_ns == before.st_ctime_ns, "the file was touched"

    def commands(self) -> None:
        reference = self.reference(self.image("commands", "two"))
        self.client.pull(reference)
        pod = self.pod()
        self.box(reference, "sh", "-c", 'echo "mark $MARK var $MY_CUSTOM_VAR computed $COMPUTED"; sleep 1000', pod=pod)
        self.said("mark two var of the image computed from a shell")
        self.box(reference, pod=pod, args=["a", "b"])
        self.said("runscript two a b")
        self.box(reference, "printenv", "MY_CUSTOM_VAR", pod=pod, envs=[{"key": "OTHER", "value": "x"}])
        self.said("of the image")
        self.clean()

    def from_docker(self) -> None:
        """oci-config.json: what singularity keeps of a Docker image."""
        config = {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["cmd"], "Env": ["A=b"], "WorkingDir": "/tmp",
                  "User": "nobody", "StopSignal": "SIGINT"}
        reference = self.reference(self.image("docker", "three", oci_config=config))
        self.client.pull(reference)
        pod = self.pod()
        self.box(reference, pod=pod)
        self.said("entry cmd")
        self.box(reference, "sh", "-c", "echo $A $(pwd) $(id -un)", pod=pod)
        self.said("b /tmp nobody")
        self.clean()

    def fifty(self) -> None:
        path = self.image("fifty", "fifty")
        reference = self.reference(path)
        self.client.pull(reference)
        pod = self.pod()
        for _ in range(50):
            self.box(reference, "sleep", "1000", pod=pod)
        assert len(self.mounts()) == 1 and len(self.loops(path)) == 1, (self.mounts(), self.loops(path))
        # A removed image stays for its containers.
        self.client.remove_image(reference)
        ctr = next(c["id"] for c in self.client.containers())
        assert self.mark(ctr) == "fifty"
        self.clean()
        wait_for("no loop device of it is left", lambda: not self.loops(path), 10)

    def changed(self) -> None:
        path = self.image("changed", "before")
        reference = self.reference(path)
        self.client.pull(reference)
        pod = self.pod()
        ctr = self.box(reference, "sleep", "1000", pod=pod)
        other = self.image("other", "after")
        os.replace(other, path)
        wanted = self.client.write("c.json", container_config("x", reference))
        said = self.client.refuse("create", "--no-pull", pod[0], wanted, self.client.write("p.json", pod[1]))
        assert "changed" in said and "pull the image again" in said, said
        assert self.mark(ctr) == "before"
        self.client.pull(reference)
        ctr = self.box(reference, "sleep", "1000", pod=pod)
        assert self.mark(ctr) == "after"
        path.unlink()
        said = self.client.refuse("pull", reference)
        assert str(path) in said, said
        self.clean()

    def allowed(self) -> None:
        outside = self.stage.work / "outside.sif"
        shutil.copy(self.image("inside", "x"), outside)
        said = self.client.refuse("pull", self.reference(outside))
        assert "image.sif.allowed_dirs" in said, said
        (self.files / "link.sif").symlink_to(outside)
        said = self.client.refuse("pull", self.reference(self.files / "link.sif"))
        assert "image.sif.allowed_dirs" in said, said
        self.client.pull(self.reference(self.files / "inside.sif"))
        self.clean()

    def bad_files(self) -> None:
        """Refused with a reason, and nothing is left."""
        good = self.image("good", "x").read_bytes()
        dtotal = bytearray(good)
        dtotal[88:96] = (1 << 60).to_bytes(8, "little")
        magic = bytearray(good)
        where = good.index(b"hsqs")
        magic[where:where + 4] = b"XXXX"
        files = {"cut": (good[:len(good) // 2], ""), "text": (b"#!/bin/sh\n" * 100, "no SIF file"), "empty": (b"", ""),
                 "many": (bytes(dtotal), ""), "magic": (bytes(magic), "squashfs")}
        squashfs = self.stage.work / "good.sqfs"
        for name, how, words in (("arm", {"arch": 4}, "arm64"), ("ext3", {"fstype": 2}, "ext3"),
                                 ("two", {"primary": 2}, ""), ("secret", {"fstype": 5}, "encrypted")):
            made = sif_files.build(self.stage.work / f"{name}.sif", squashfs, **how)
            files[name] = (made.read_bytes(), words)
        before = self.held()
        for name, (data, words) in files.items():
            path = self.files / f"bad-{name}.sif"
            path.write_bytes(data)
            said = self.client.refuse("pull", self.reference(path))
            assert words in said, f"{name}: {words!r} is not in {said!r}"
            assert self.held() == before, f"{name} left something: {before} {self.held()}"
            assert not self.loops(path), f"{name} left a loop device"

    def held(self) -> tuple[list[str], list[str]]:
        root = self.stage.engine.root
        return (sorted(p.name for p in (root / "layers").iterdir()), sorted(i["id"] for i in self.client.images()))

    # The node.
    def killed(self) -> None:
        reference = self.reference(self.image("killed", "alive"))
        self.client.pull(reference)
        pod = self.pod()
        ctr = self.box(reference, "sleep", "1000", pod=pod)
        self.stage.engine.kill()
        self.stage.engine.start()
        assert self.mark(ctr) == "alive"
        other = self.box(reference, "sleep", "1000", pod=pod)
        assert self.mark(other) == "alive" and len(self.mounts()) == 1
        # As after a reboot: the mount is gone, the image is not.
        self.client.remove_everything()
        assert self.mounts() == []
        self.stage.engine.kill()
        self.stage.engine.start()
        ctr = self.box(reference, "sleep", "1000")
        assert self.mark(ctr) == "alive"
        self.clean()

    def mixed(self) -> None:
        """A SIF container and an OCI one in a pod, a SIF file as a volume, under every handler."""
        reference = self.reference(self.image("mixed", "sif", compression="zstd"))
        self.client.pull(reference)
        self.client.pull(BUSYBOX)
        for handler in self.handlers:
            pod = self.pod(handler)
            sif = self.box(reference, "sleep", "1000", pod=pod)
            oci = self.box(BUSYBOX, "sleep", "1000", pod=pod,
                           mounts=[{"container_path": "/volume", "image": {"image": reference}, "readonly": True}])
            assert self.mark(sif) == "sif"
            assert self.mark(oci, "/volume/etc/mark") == "sif"
            self.client.refuse("exec", "-s", oci, "touch", "/volume/x")
        assert len(self.mounts()) == 1
        stats = json.loads(self.client.call("imagefsinfo", "-o", "json"))
        assert stats, stats
        self.clean()

    # The library.
    def from_library(self) -> None:
        data = self.image("library", "lib").read_bytes()
        digest = self.library.add("sashayakovtseva/test/test-info:latest", data)
        self.library.token = ""
        for reference in (SEED, SEED_ALIAS):
            self.client.pull(reference)
            status = self.listed(reference)
            assert status["id"] == f"sha256:{digest}" and status["repoTags"] == [f"{SEED_ALIAS}:latest"], status
            ctr = self.box(reference)
            self.said("runscript lib")
            assert self.mark(ctr) == "lib"
            self.clean()
        assert not list((self.stage.engine.root / "layers").glob("*/file/image.sif")), "a removed image's file stays"
        # By its hash; and the second name of a file that is here is no second download.
        self.client.pull(f"{SEED_ALIAS}:sha256.{digest}")
        self.library.requests.clear()
        self.client.pull(SEED)
        assert not [r for r in self.library.requests if "imagefile" in r], self.library.requests
        assert len(self.listed(SEED)["repoTags"]) == 2, self.listed(SEED)
        self.clean()

    def token_and_redirect(self) -> None:
        self.library.token, self.library.redirect = TOKEN, True
        try:
            said = self.client.refuse("pull", SEED)
            assert "401" in said and "token" in said, said
            self.client.refuse("pull", "--creds", "user:wrong", SEED)
            self.library.storage_headers.clear()
            self.client.call("pull", "--creds", f"user:{TOKEN}", SEED)
            assert len(self.library.storage_headers) == 1, self.library.storage_headers
            assert "Authorization" not in self.library.storage_headers[0], "the token went to another host"
            self.clean()
        finally:
            self.library.token, self.library.redirect = "", False

    def lies(self) -> None:
        before = self.held()
        name = "sashayakovtseva/test/test-info:latest"
        self.library.hashes[name] = "sha256." + "0" * 64
        try:
            said = self.client.refuse("pull", SEED)
            assert "0" * 64 in said, said
        finally:
            self.library.hashes.clear()
        assert self.held() == before, (before, self.held())
        said = self.client.refuse("pull", SEED + ":no-such")
        assert "404" in said, said
        # A transfer that breaks off is gone on with, from where it was.
        self.library.cut_after = 300_000
        self.library.requests.clear()
        self.client.pull(SEED)
        assert any("bytes=" in request for request in self.library.requests), self.library.requests
        self.clean()

    # Files that come in other ways.
    def loaded(self) -> None:
        """davit image load: a copy, so that the file may go."""
        path = self.image("loaded", "loaded")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        engine = self.stage.engine
        words = [str(engine.bin_dir / "davit"), "--connect", str(engine.socket), "image", "load", "-i"]
        done = subprocess.run([*words, str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and f"sha256:{digest}" in done.stdout, done
        path.unlink()
        ctr = self.box(f"sha256:{digest}", "sleep", "1000")
        assert self.mark(ctr) == "loaded"
        self.clean()
        before = self.held()
        cut = self.stage.work / "cut.sif"
        cut.write_bytes(self.image("cut", "cut").read_bytes()[:100_000])
        done = subprocess.run([*words, str(cut)], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "cut.sif" in done.stderr, done
        assert self.held() == before, (before, self.held())

    def from_registry(self) -> None:
        """What `oras` and `singularity push oras://` make: an artifact with the file as its layer."""
        data = self.image("pushed", "pushed").read_bytes()
        title = {"org.opencontainers.image.title": "pushed.sif"}
        part = ("application/vnd.sylabs.sif.layer.v1.sif", title, data)
        artifact = Artifact([part], artifact_type="application/vnd.sylabs.sif.config.v1+json")
        self.stage.pusher.push(artifact, "sif/pushed", "1")
        reference = "registry.k8s.io/sif/pushed:1"
        layers = len(self.held()[0])
        for _ in range(2):
            self.client.pull(reference)
            status = self.listed(reference)
            assert status["id"] == f"sha256:{hashlib.sha256(data).hexdigest()}", status
            assert status["repoTags"] == [reference], status
            assert status["repoDigests"] == [f"registry.k8s.io/sif/pushed@{digest_of(artifact.top()[1])}"], status
        assert all(image["repoTags"] for image in self.client.images()), self.client.images()
        assert len(self.held()[0]) == layers + 1, self.held()
        ctr = self.box(status["repoDigests"][0])
        self.said("runscript pushed")
        assert self.mark(ctr) == "pushed"
        self.clean()
        # A file that is none, under that name.
        self.stage.pusher.push(Artifact([(part[0], title, b"nothing")]), "sif/pushed", "2")
        before = self.held()
        self.client.refuse("pull", "registry.k8s.io/sif/pushed:2")
        assert self.held() == before, (before, self.held())

    # The seed's walk-through, with the names of its files.
    def walk(self) -> None:
        work = self.stage.work
        shared = work / "shared"
        shared.mkdir(exist_ok=True)
        (shared / "registry.json").write_text("{}")
        pod = pod_config("test-sandbox", log_directory=str(self.stage.logs("walk")))
        (work / "test-pod.json").write_text(json.dumps(pod))
        mounts = [{"container_path": "/mounted1", "host_path": str(shared), "readonly": True}]
        (work / "info-cont.json").write_text(json.dumps({
            "metadata": {"name": "testcontainer"}, "image": {"image": SEED}, "mounts": mounts, "log_path": "info.log",
            "envs": [{"key": "MY_CUSTOM_VAR", "value": "of the pod"}], "linux": {"security_context": {"no_new_privs": True}},
            "command": ["sh", "-c", "ls -al /; ls /mounted1; echo var $MY_CUSTOM_VAR; grep NoNewPrivs /proc/self/status; "
                                    "touch /mounted1/test-lala; sleep 1000"]}))
        (work / "nginx.json").write_text(json.dumps({"metadata": {"name": "nginx-container"}, "image": {"image": BUSYBOX},
                                                     "command": ["sleep", "1000"], "log_path": "nginx.log", "linux": {}}))
        call = self.client.call
        pod_id = call("runp", f"{work}/test-pod.json").strip()
        assert "test-sandbox" in call("pods") and "Ready" in call("pods")
        call("pull", BUSYBOX)
        call("pull", SEED)
        for name in ("nginx", "info-cont"):
            ctr = call("create", pod_id, f"{work}/{name}.json", f"{work}/test-pod.json").strip()
            assert "Created" in call("ps", "-a")
            call("start", ctr)
        log = self.stage.logs("walk") / "info.log"
        wait_for("the listing", lambda: "Read-only file system" in log.read_text(), 20)
        text = log.read_text()
        for words in (".exec -> .singularity.d/actions/exec", ".run -> .singularity.d/actions/run",
                      ".shell -> .singularity.d/actions/shell", ".test -> .singularity.d/actions/test",
                      "environment -> .singularity.d/env/90-environment.sh", "singularity -> .singularity.d/runscript",
                      "registry.json", "NoNewPrivs:\t1"):
            assert words in text, f"{words!r} is not in {text}"
        call("rmp", "-f", pod_id)
        assert not self.client.containers() and not self.client.pods()
        self.clean()


def main() -> int:
    parser = options(__doc__)
    args = parser.parse_args()
    report = Report("sif")
    library = Library()
    with reported(report):
        if shutil.which("mksquashfs") is None:
            raise paths.Skip("mksquashfs is not installed (squashfs-tools)")
        # Its name has to be one that a reference can have.
        files = Path(os.environ.get("DAVIT_TEST_DIR", "/tmp")) / f"davit-sif-{os.getpid()}"
        files.mkdir()
        extra = (f'[image.sif]\nenabled = true\nallowed_dirs = ["{files}"]\n'
                 f'libraries = ["cloud.sylabs.io={library.url}"]\n')
        with stage_of("sif", args, extra=extra) as stage:
            stage.engine.start()
            before = stage.engine.snapshot()
            handlers = [name for name in ("crun", "runc") if shutil.which(name)]
            cases = Cases(stage, library, files, handlers)
            if not cases.siftool:
                report.add_skip("files of siftool", "siftool is not built (tools/bootstrap, needs Go)")
            cases.run(report, "a local file is an image, without a copy, and stays when the image goes", cases.local)
            cases.run(report, "commands run in the image's environment, arguments go to the runscript", cases.commands)
            cases.run(report, "what was made from a Docker image runs as Docker would", cases.from_docker)
            cases.run(report, "fifty containers share one mount and one loop device", cases.fifty)
            cases.run(report, "a file that changed is noticed, and pulled again", cases.changed)
            cases.run(report, "only files below the allowed directories", cases.allowed)
            cases.run(report, "bad files are refused by what they are", cases.bad_files)
            cases.run(report, "after kill -9 the containers live, and the mount is made again", cases.killed)
            cases.run(report, "SIF, OCI and volumes in one pod, under every handler", cases.mixed)
            cases.run(report, "a library by scheme, by alias and by hash", cases.from_library)
            cases.run(report, "a token that stays with its library", cases.token_and_redirect)
            cases.run(report, "wrong hashes, absent images, transfers that break off", cases.lies)
            cases.run(report, "davit image load takes a copy", cases.loaded)
            cases.run(report, "an artifact of a registry is an image", cases.from_registry)
            cases.run(report, "the walk-through of Singularity-CRI", cases.walk)
            report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
        shutil.rmtree(files)
    library.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
