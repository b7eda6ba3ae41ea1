"""What `davit image save` writes is the same image again: by its ids, and by every byte of its layers. For archives_test."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

from davit_test import paths

import images
from busybox import busybox
from oci_image import Entry, Layer, digest_of, write_layout

ONE, TWO = "registry.test/saved/one:1", "registry.test/saved/two:1"


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def odd_tar(form: int) -> bytes:
    """What tars have besides plain files; `form` is tarfile's PAX_FORMAT or GNU_FORMAT."""
    out = io.BytesIO()
    noise = b"".join(hashlib.sha256(bytes([n % 251, n // 251])).digest() for n in range(5000))
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        def add(name: str, data: bytes = b"", **fields: object) -> None:
            tar.addfile(info(name, size=len(data), **fields), io.BytesIO(data))

        add("odd", type=tarfile.DIRTYPE, mode=0o1777, mtime=1234567)
        for size in (0, 1, 511, 512, 513, len(noise)):
            add(f"odd/{size}", noise[:size], mode=0o4755, uid=1000, gid=1000)
        add("odd/hard", type=tarfile.LNKTYPE, linkname="odd/513")
        add("odd/soft", type=tarfile.SYMTYPE, linkname="/odd/513")
        add("odd/below", type=tarfile.LNKTYPE, linkname="bin/busybox")  # which is in the layer below
        add("odd/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("odd/loop", type=tarfile.BLKTYPE, devmajor=7, devminor=0)
        add("odd/pipe", type=tarfile.FIFOTYPE)
        add("odd/" + "n" * 120 + "/" + "m" * 130, b"long")  # whose directory has no entry
        add("odd/" + "n" * 120 + "/link", type=tarfile.SYMTYPE, linkname="t" * 200)
        add("odd/again", b"first")
        add("odd/again", b"second")
        add("odd/tree", type=tarfile.DIRTYPE)
        add("odd/tree/file", b"in what is replaced")
        add("odd/tree", b"a file now")
        add("etc/.wh.gone")
        add("odd/opaque/.wh..wh..opq")
        add("odd/large-id", b"x", uid=3_000_000, gid=3_000_000)
        if form == tarfile.PAX_FORMAT:
            add("odd/xattr", b"x", pax_headers={"SCHILY.xattr.user.davit": "value", "mtime": "1234567890.123456789"})
    return out.getvalue() + bytes(7 * 512)  # more of the end than there has to be


def sparse_tar(work: Path) -> bytes:
    """By GNU tar, with holes."""
    path = work / "sparse"
    with open(path, "wb") as file:
        file.write(b"begin")
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(9 << 20)
    done = subprocess.run(["tar", "-C", str(work), "--sparse", "-cf", "-", "sparse"], check=True, capture_output=True)
    path.unlink()
    return done.stdout


class SaveCases:
    def __init__(self, cases):
        self.cases, self.stage, self.client = cases, cases.stage, cases.client
        self.work = Path(cases.stage.work) / "saved"
        self.tars: list[bytes] = []

    def davit(self, *words: str, **options: object) -> subprocess.CompletedProcess:
        return self.cases.davit(*words, **options)

    def save(self, target: Path, *words: str) -> Path:
        done = self.davit("image", "save", "-o", str(target), *words)
        assert done.returncode == 0, done.stderr.decode()
        assert not done.stdout, done.stdout
        return target

    def given(self) -> dict[str, str]:
        """Two images with shared layers in the engine; their ids by name."""
        self.work.mkdir(exist_ok=True)
        base = Layer.of([*images.base_entries(busybox()), Entry("etc/gone", data=b"x")])
        self.tars = [odd_tar(tarfile.PAX_FORMAT), odd_tar(tarfile.GNU_FORMAT), sparse_tar(self.work)]
        odd = [Layer.of_tar(tar) for tar in self.tars]
        ids = {}
        for name, layers in ((ONE, [base, *odd]), (TWO, [base, odd[0], Layer.of([Entry("etc/two", data=b"2")])])):
            image = images.shell_image(*layers)
            ids[name] = digest_of(image.config_blob("amd64"))
            path = self.work / "layout"
            write_layout(image, path, name)
            assert self.cases.load(path) == [name]
            shutil.rmtree(path)
        self.same(ids)
        return ids

    def same(self, ids: dict[str, str]) -> None:
        have = {tag: image["id"] for image in self.client.images() for tag in image.get("repoTags", [])}
        assert have == ids, f"{have} is not {ids}"

    def check(self, path: Path, ids: dict[str, str], *, gzip: bool = False) -> None:
        """Blobs are what their names say, each is there once, and the layers are the tars of the beginning."""
        blobs: dict[str, bytes] = {}
        if path.is_dir():
            files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
        else:
            with tarfile.open(path) as tar:
                names = tar.getnames()
                assert len(names) == len(set(names)), f"a file is there twice: {sorted(names)}"
                files = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
        for name, data in files.items():
            if name.startswith("blobs/sha256/"):
                blobs[name.removeprefix("blobs/")] = data
                assert hashlib.sha256(data).hexdigest() == name.rsplit("/", 1)[1], name
        for image_id in ids.values():
            assert image_id.replace(":", "/") in blobs, f"no config {image_id}"
        if not gzip:
            for tar in self.tars:
                assert blobs.get("sha256/" + hashlib.sha256(tar).hexdigest()) == tar
        index = json.loads(files["index.json"])
        names = {m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]}
        assert names == set(ids), names

    # The cases.
    def round_trip(self) -> None:
        ids = self.given()
        held = self.cases.held()
        for format, name in (("docker-archive", "d.tar"), ("oci-archive", "o.tar"), ("oci-dir", "dir")):
            path = self.save(self.work / name, "--format", format, ONE, TWO)
            self.check(path, ids)
            self.cases.empty()
            assert sorted(self.cases.load(path)) == [ONE, TWO]
            self.same(ids)
            assert self.cases.held()[1] == held[1], "other layers than before"
            again = self.save(self.work / f"again-{name}", "--format", format, ONE, TWO)
            if path.is_file():
                assert path.read_bytes() == again.read_bytes(), "the second save differs from the first"
                path.unlink()
                again.unlink()
            else:
                shutil.rmtree(path)
                shutil.rmtree(again)
        self.cases.runs_odd(ONE)
        self.cases.empty()

    def compressed(self) -> None:
        ids = self.given()
        plain = self.save(self.work / "plain.tar", ONE)
        path = self.save(self.work / "gzip.tar", "--compress", ONE, TWO)
        assert path.stat().st_size < plain.stat().st_size
        self.check(path, ids, gzip=True)
        self.cases.empty()
        assert sorted(self.cases.load(path)) == [ONE, TWO]
        self.same(ids)
        # And what is loaded so is the same without compression.
        again = self.save(self.work / "again.tar", ONE)
        assert again.read_bytes() == plain.read_bytes()
        self.cases.empty()

    def piped(self) -> None:
        """From one engine into the next, and an image by its id, which then has all of its names."""
        ids = self.given()
        done = self.davit("image", "save", ids[ONE])
        assert done.returncode == 0, done.stderr.decode()
        self.cases.empty()
        assert self.cases.load("-", data=done.stdout) == [ONE]
        self.same({ONE: ids[ONE]})
        self.cases.empty()

    def other_readers(self) -> None:
        if not self.cases.skopeo:
            raise paths.Skip("skopeo is not installed")
        ids = self.given()
        for format, transport in (("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("oci-dir", "oci")):
            for flags in ((), ("--compress",)):
                path = self.save(self.work / "other", "--format", format, *flags, ONE, TWO)
                for name, image_id in ids.items():
                    copy = self.work / "copy"
                    subprocess.run([self.cases.skopeo, "copy", "-q", f"{transport}:{path}:{name}", f"dir:{copy}"],
                                   check=True, timeout=120, capture_output=True)
                    manifest = json.loads((copy / "manifest.json").read_bytes())
                    assert manifest["config"]["digest"] == image_id, f"{format} {flags}: {manifest}"
                    shutil.rmtree(copy)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.cases.empty()

    def refused(self) -> None:
        ids = self.given()
        work = self.work / "refused"
        work.mkdir()
        layers = self.stage.engine.root / "layers"

        def fails(*words: str, because: tuple[str, ...]) -> None:
            done = self.davit("image", "save", *words)
            assert done.returncode != 0, f"{words} was saved"
            for text in because:
                assert text in done.stderr.decode(), f"{text!r} is not in {done.stderr.decode()!r}"
            assert list(work.iterdir()) == [], f"{words} left {list(work.iterdir())}"

        target = str(work / "x")
        fails("-o", target, "registry.test/no/such:1", because=("no/such",))
        fails("-o", target, ONE, "registry.test/no/such:1", because=("no/such",))
        fails("--format", "oci-dir", ONE, because=("-o DIRECTORY",))
        fails("-o", str(work), ONE, because=("is a directory",))
        fails("-o", target, "--format", "zip", ONE, because=("zip",))
        # A file of a layer is not what it was: told by its name, and nothing is written.
        path = next(p for p in layers.glob("*/fs/odd/511"))
        before = path.read_bytes()
        path.write_bytes(before[:-1] + b"!")
        fails("-o", target, ONE, because=("odd/511", "has changed"))
        fails("-o", target, "--format", "oci-dir", ONE, because=("odd/511",))
        fails("-o", target, "--compress", ONE, because=("odd/511",))
        path.write_bytes(before)
        self.save(work / "whole.tar", ONE).unlink()
        # A layer of before there were journals.
        journal = path.parents[2] / "journal"
        journal.rename(journal.with_name("away"))
        fails("-o", target, ONE, because=("no journal", "load it again"))
        journal.write_bytes(journal.with_name("away").read_bytes()[:100])
        fails("-o", target, ONE, because=("journal",))
        journal.with_name("away").rename(journal)
        self.save(work / "whole.tar", ONE).unlink()
        self.same(ids)
        self.cases.empty()

    def interrupted(self) -> None:
        """The reader goes, davitd is killed: neither leaves half an archive, and the engine goes on."""
        ids = self.given()
        davit = [str(self.stage.engine.bin_dir / "davit"), "--connect", str(self.stage.engine.socket)]
        # A client that takes only the beginning holds a layer; when it is gone the image can be removed and saved.
        process = subprocess.Popen([*davit, "image", "save", ONE, TWO], stdout=subprocess.PIPE)
        assert len(process.stdout.read(4096)) == 4096
        process.kill()
        process.wait()
        process.stdout.close()
        self.save(self.work / "after.tar", ONE).unlink()
        # An image that is removed while it is saved is saved whole.
        process = subprocess.Popen([*davit, "image", "save", ONE], stdout=subprocess.PIPE)
        begin = process.stdout.read(4096)
        self.client.remove_image(ids[ONE])
        path = self.work / "removed.tar"
        path.write_bytes(begin + process.stdout.read())
        assert process.wait(60) == 0
        process.stdout.close()
        self.check(path, {ONE: ids[ONE]})
        assert self.cases.load(path) == [ONE]
        # davitd is killed in the middle of it.
        self.stage.engine.stop()
        self.stage.engine.start(env={"DAVIT_FAULT_KILL": "image.save.layer#2"})
        target = self.work / "killed"
        target.mkdir()
        done = self.davit("image", "save", "-o", str(target / "x.tar"), ONE, TWO)
        assert self.stage.engine.wait_killed(), "davitd was not killed"
        assert done.returncode != 0 and list(target.iterdir()) == [], (done, list(target.iterdir()))
        self.stage.engine.start()
        self.same(ids)
        self.check(self.save(self.work / "restarted.tar", ONE, TWO), ids)
        self.cases.empty()

    def full_disk(self) -> None:
        self.given()
        small = self.work / "small"
        small.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
        try:
            for words in ((), ("--format", "oci-dir")):
                done = self.davit("image", "save", "-o", str(small / "x"), *words, ONE)
                assert done.returncode != 0 and b"No space left" in done.stderr, done
                assert list(small.iterdir()) == [], list(small.iterdir())
            with open("/dev/full", "wb") as full:
                done = subprocess.run([str(self.stage.engine.bin_dir / "davit"), "--connect",
                                       str(self.stage.engine.socket), "image", "save", ONE],
                                      stdout=full, stderr=subprocess.PIPE, timeout=60)
            assert done.returncode != 0 and b"No space left" in done.stderr, done
        finally:
            subprocess.run(["umount", str(small)], check=True)
        self.save(self.work / "fits.tar", ONE).unlink()
        self.cases.empty()


def run(report, cases) -> None:
    save = SaveCases(cases)
    report.run("save: ids and every byte of the layers come again, shared layers are there once", save.round_trip)
    report.run("save --compress: other blobs, the same image", save.compressed)
    report.run("save into a pipe, by id", save.piped)
    report.run("save: skopeo takes docker-archive, oci-archive and layout under the same ids", save.other_readers)
    report.run("save: a wrong name, a changed file, a layer without a journal", save.refused)
    report.run("save: the client goes, the image is removed, davitd is killed", save.interrupted)
    report.run("save: a full disk leaves nothing", save.full_disk)
