#!/usr/bin/env python3
"""Archives of images: what skopeo, docker save and OCI layouts hold is loaded without a registry and runs; what is no
archive, or a damaged one, is refused by name and leaves nothing.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

import images  # noqa: E402
import saved_images  # noqa: E402
from busybox import busybox  # noqa: E402
from oci_image import Entry, Image, Layer, digest_of, write_layout  # noqa: E402

NAME = "registry.test/archives/shell:1"
PINNED = '[image]\npinned = ["kept-shell:*", "registry.test/archives/kept"]\n'


def shell(mark: str) -> Image:
    """Layers below and above, one of which depends on the other."""
    base = Layer.of([*images.base_entries(busybox()), Entry("etc/gone", data=b"x")])
    return images.shell_image(base, Layer.of([Entry("etc/mark", data=mark.encode()), Entry("etc/.wh.gone")]))


class Cases:
    def __init__(self, stage: Stage):
        self.stage, self.client = stage, stage.client()
        self.skopeo = shutil.which("skopeo")

    def davit(self, *words: str, data: bytes | None = None) -> subprocess.CompletedProcess:
        return subprocess.run([str(self.stage.engine.bin_dir / "davit"), "--connect", str(self.stage.engine.socket), *words],
                              input=data, capture_output=True, timeout=120)

    def load(self, path: Path | str, *words: str, data: bytes | None = None) -> list[str]:
        done = self.davit("image", "load", "-q", "-i", str(path), *words, data=data)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split()

    def refused(self, path: Path, *words: str) -> None:
        before = self.held()
        done = self.davit("image", "load", "-i", str(path))
        said = done.stderr.decode()
        assert done.returncode != 0, f"{path} was loaded: {done.stdout.decode()}"
        for word in (path.name, *words):
            assert word in said, f"{word!r} is not in {said!r}"
        assert self.held() == before, f"a refused archive left something: {before} {self.held()}"

    def held(self) -> tuple[list[str], list[str], list[str]]:
        root = self.stage.engine.root
        return (sorted(i["id"] for i in self.client.images()), sorted(p.name for p in (root / "layers").iterdir()),
                sorted(p.name for p in (root / "content").rglob("*") if p.is_file()))

    def runs(self, reference: str, mark: str) -> None:
        pod = pod_config("load", log_directory=str(self.stage.logs("load")))
        pod_id = self.client.run_pod(pod)
        box = self.client.create(pod_id, container_config("main", reference, "sleep", "1000", log_path="m.log"), pod)
        self.client.start(box)
        assert self.client.exec_sync(box, "cat", "/etc/mark").strip() == mark
        assert "gone" not in self.client.exec_sync(box, "ls", "/etc").split()
        self.client.remove_everything()

    def runs_odd(self, reference: str) -> None:
        """An image of saved_images."""
        pod = pod_config("odd", log_directory=str(self.stage.logs("odd")))
        pod_id = self.client.run_pod(pod)
        box = self.client.create(pod_id, container_config("main", reference, "sleep", "1000", log_path="m.log"), pod)
        self.client.start(box)
        shown = self.client.exec_sync(box, "cat", "/odd/again", "/odd/tree").strip()
        self.client.remove_everything()
        assert shown == "seconda file now", shown

    def empty(self) -> None:
        for image in self.client.images():
            self.client.remove_image(image["id"])
        assert self.held() == ([], [], []), self.held()

    def copy(self, target: str) -> Path:
        """By skopeo, out of the registry."""
        if not self.skopeo:
            raise paths.Skip("skopeo is not installed")
        self.stage.pusher.push(shell("skopeo"), "archives/shell", "1")
        source = f"docker://{self.stage.registry.url.removeprefix('http://')}/archives/shell:1"
        subprocess.run([self.skopeo, "copy", "-q", "--src-tls-verify=false", source, target], check=True, timeout=120)
        return Path(target.split(":")[1])

    # What tools write.
    def docker_archive(self) -> None:
        path = self.copy(f"docker-archive:{self.stage.work}/docker.tar:{NAME}")
        assert self.load(path) == [NAME]
        self.runs(NAME, "skopeo")
        # The same again is the same image; compressed, and through a pipe, too.
        held = self.held()
        assert self.load(path) == [NAME] and self.held() == held
        self.empty()
        for packed in (gzip.compress(path.read_bytes()), path.read_bytes()):
            assert self.load("-", data=packed) == [NAME]
            self.runs(NAME, "skopeo")
            self.empty()

    def oci_archive(self) -> None:
        path = self.copy(f"oci-archive:{self.stage.work}/oci.tar:{NAME}")
        assert self.load(path) == [NAME]
        [image] = self.client.images()
        [digest] = image["repoDigests"]
        manifest = json.loads(tarfile.open(path).extractfile("index.json").read())["manifests"][0]
        assert digest == f"registry.test/archives/shell@{manifest['digest']}", digest
        self.runs(NAME, "skopeo")
        self.runs(digest, "skopeo")
        self.empty()

    def layout(self) -> None:
        path = self.stage.work / "layout"
        write_layout(shell("layout"), path, NAME)  # an index of two platforms in it
        assert self.load(path) == [NAME]
        self.runs(NAME, "layout")
        self.empty()

    def pinned(self) -> None:
        """image.pinned counts for what is loaded, also where it says the name without its registry."""
        names = {"docker.io/library/kept-shell:1": True, "registry.test/archives/kept:2": True, "registry.test/archives/free:1": False}
        for number, name in enumerate(names):
            path = self.stage.work / f"pinned-{number}"
            write_layout(shell(name), path, name)
            assert self.load(path) == [name]
        found = {i["repoTags"][0]: bool(i.get("pinned")) for i in self.client.images()}
        assert found == names, found
        self.empty()

    def many(self) -> None:
        """docker save of two images, which share a layer; one has two names, one has none."""
        one, two = shell("one"), shell("two")
        assert one.layers[0].digest == two.layers[0].digest
        manifest, files = [], {}
        for image, tags in ((one, ["docker.io/library/one:1", "one:again"]), (two, None)):
            config = image.config_blob("amd64")
            name = digest_of(config).removeprefix("sha256:")
            files[f"{name}.json"] = config
            layers = []
            for layer in image.layers:
                member = f"{layer.diff_id.removeprefix('sha256:')}/layer.tar"
                files[member] = gzip.decompress(layer.blob)
                layers.append(member)
            manifest.append({"Config": f"{name}.json", "RepoTags": tags, "Layers": layers})
        files["manifest.json"] = json.dumps(manifest).encode()
        path = self.stage.work / "many.tar"
        with tarfile.open(path, "w") as out:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        done = self.davit("image", "load", "-i", str(path))
        id_of_two = digest_of(two.config_blob("amd64"))
        assert done.stdout.decode().splitlines() == ["Loaded image: docker.io/library/one:1",
                                                     "Loaded image: docker.io/library/one:again",
                                                     f"Loaded image ID: {id_of_two}"], done
        self.runs("one:again", "one")
        self.runs(id_of_two, "two")
        listed = json.loads(self.davit("image", "load", "-i", str(path), "-o", "json").stdout)
        assert [len(image["names"]) for image in listed] == [2, 0] and listed[1]["id"] == id_of_two, listed
        self.empty()

    # What is none.
    def evil(self) -> None:
        work = self.stage.work
        whole = self.copy(f"docker-archive:{work}/whole.tar:{NAME}").read_bytes()
        made = {"text": b"hello", "nothing": b"", "zeros": bytes(1 << 20)}
        for name, data in made.items():
            (work / f"{name}.tar").write_bytes(data)
            self.refused(work / f"{name}.tar")
        for size in range(4096, len(whole) - 20480, max(4096, len(whole) // 40 // 4096 * 4096)):
            (work / "cut.tar").write_bytes(whole[:size])
            self.refused(work / "cut.tar")
        # One byte of a layer, of a config: what does not fit its digest is not taken.
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            [said] = json.load(tar.extractfile("manifest.json"))
            members = [tar.getmember(name) for name in (said["Config"], *said["Layers"])]  # the rest is for old readers
            for member in members:
                wrong = bytearray(whole)
                wrong[member.offset_data + member.size // 2] ^= 1
                (work / "flipped.tar").write_bytes(wrong)
                self.refused(work / "flipped.tar")
        for name, text in (("climbs", "../../../etc/passwd"), ("absolute", "/etc/passwd")):
            with tarfile.open(work / f"{name}.tar", "w") as out:
                data = json.dumps([{"Config": text, "RepoTags": ["a/b:1"], "Layers": []}]).encode()
                info = tarfile.TarInfo("manifest.json")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
            self.refused(work / f"{name}.tar", "not in the archive")
        done = self.davit("image", "load", "-i", str(work / "none.tar"))
        assert done.returncode != 0 and "none.tar" in done.stderr.decode(), done
        (work / "bad-name.tar").write_bytes(whole.replace(NAME.encode(), b"registry.test/ARCHIVES/shell:1"))
        self.refused(work / "bad-name.tar", "ARCHIVES")


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("archives")
    with reported(report), stage_of("archives", args, extra=PINNED) as stage:
        stage.engine.start()
        before = stage.engine.snapshot()
        cases = Cases(stage)
        report.run("docker-archive, plain, compressed and from a pipe", cases.docker_archive)
        report.run("oci-archive keeps the manifest's digest", cases.oci_archive)
        report.run("an OCI layout directory, whose index has platforms", cases.layout)
        report.run("image.pinned marks what is loaded", cases.pinned)
        report.run("several images in one file, with shared layers, with two names and with none", cases.many)
        report.run("what is no archive, cut, flipped, climbing or badly named", cases.evil)
        saved_images.run(report, cases)
        report.run("nothing is left behind", lambda: stage.engine.check_leaks(before))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
