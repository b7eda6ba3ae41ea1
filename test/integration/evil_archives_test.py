#!/usr/bin/env python3
"""The corpus of evil layers, pulled from a real registry: each is refused with an error that names it, or is contained.
Nothing outside the layer is touched, davit-pull stays below 64 MiB, and a refused layer leaves the store as it was.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

from oci_image import OCI, Image, Layer, digest_of  # noqa: E402

MIB = 1 << 20
MEMORY = 64 * MIB
# What davitd allows here, so that a bomb needs no minutes to go off.
CAPS = '[image]\nmax_layer_bytes = "128 MiB"\nmax_image_bytes = "256 MiB"\nmax_entries = 20000\npull_path = {wrapper}\n'
ZSTD = {**OCI, "layer": "application/vnd.oci.image.layer.v1.tar+zstd"}
PLAIN = {**OCI, "layer": "application/vnd.oci.image.layer.v1.tar"}
EITHER, REFUSED, TAKEN = "either", "refused", "taken"

# Becomes davit-pull, and leaves somebody behind who notes how much memory it takes at most: it may be killed.
WRAPPER = """#!{python}
import os, sys, time
pull = os.getpid()
if os.fork() == 0:
    os.setsid()
    os.closerange(0, 1024)
    peak = 0
    try:
        while True:
            with open("/proc/%d/status" % pull) as status:
                lines = [line.split() for line in status if line.startswith("VmHWM")]
            if not lines:
                break
            peak = max(peak, int(lines[0][1]))
            time.sleep(0.002)
    except OSError:
        pass
    with open({peak!r}, "a") as out:
        out.write("%d\\n" % (peak * 1024))
    os._exit(0)
os.execv({program!r}, [{program!r}, *sys.argv[1:]])
"""


@dataclass
class Evil:
    name: str
    layer: Layer
    verdict: str = EITHER
    word: str = ""  # in the error
    types: dict[str, str] | None = None


def header(name: bytes, size: int = 0, kind: bytes = b"0", link: bytes = b"", mode: int = 0o755, size_field: bytes = b"") -> bytes:
    """A ustar header that may say what tarfile would not."""
    block = bytearray(512)
    block[0:100] = name[:100].ljust(100, b"\0")
    block[100:108] = b"%07o\0" % mode
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = (size_field or b"%011o\0" % size)
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157:257] = link[:100].ljust(100, b"\0")
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


END = bytes(1024)


def tar(*parts: bytes) -> bytes:
    return b"".join(parts) + END


def entry(name: str, data: bytes = b"", kind: bytes = b"0", link: str = "", mode: int = 0o755) -> bytes:
    return header(name.encode(), len(data), kind, link.encode(), mode) + padded(data)


def pax(records: dict[str, str], kind: bytes = b"x") -> bytes:
    text = b""
    for key, value in records.items():
        body = f" {key}={value}\n".encode()
        length = len(body)
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        text += str(length).encode() + body
    return header(b"pax", len(text), kind) + padded(text)


def layer(data: bytes) -> Layer:
    return Layer(gzip.compress(data, 6, mtime=0), digest_of(data))


def streamed(parts: Iterator[bytes]) -> Layer:
    """A layer whose tar does not fit into memory."""
    total, out = hashlib.sha256(), io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as packed:
        for part in parts:
            total.update(part)
            packed.write(part)
    return Layer(out.getvalue(), "sha256:" + total.hexdigest())


def zeros(name: str, size: int) -> Iterator[bytes]:
    yield header(name.encode(), size)
    for _ in range(size // MIB):
        yield bytes(MIB)
    yield END


def many(count: int, kind: bytes) -> Iterator[bytes]:
    for n in range(count):
        yield header(b"n%07d" % n, 0, kind, b"n0000000" if kind == b"1" and n else b"")
    yield END


def zstd(data: bytes, *flags: str) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", *flags], input=data, stdout=subprocess.PIPE, check=True).stdout


def corpus(outside: Path) -> Iterator[Evil]:
    up, target = "../" * 12, str(outside)
    inside = target.lstrip("/")
    link, hard, folder, char, block, fifo = b"2", b"1", b"5", b"3", b"4", b"6"
    yield Evil("an absolute path", layer(tar(entry(f"{target}/absolute", b"x"))))
    yield Evil("a path that climbs", layer(tar(entry(f"{up}{inside}/x", b"x"))), REFUSED)
    yield Evil("a path that climbs behind a directory", layer(tar(entry("a", kind=folder), entry(f"a/{up}{inside}/x", b"x"))), REFUSED)
    yield Evil("a path of the root itself", layer(tar(entry("/", b"x"))), REFUSED)
    yield Evil("a link to outside, and a file through it", layer(tar(entry("l", kind=link, link=target), entry("l/x", b"x"))))
    yield Evil("a link to a link to outside", layer(tar(entry("a", kind=link, link=target), entry("b", kind=link, link="a"), entry("b/x", b"x"))))
    yield Evil("links in a circle", layer(tar(entry("a", kind=link, link="b"), entry("b", kind=link, link="a"), entry("a/x", b"x"))), REFUSED)
    yield Evil("a directory replaced by a link", layer(tar(entry("d", kind=folder), entry("d/in", b"x"), entry("d", kind=link, link=target), entry("d/x", b"x"))))
    yield Evil("a hard link to outside", layer(tar(entry("h", kind=hard, link=f"{up}{inside}/secret"), entry("h", b"over"))), REFUSED)
    yield Evil("a hard link to an absolute path", layer(tar(entry("h", kind=hard, link=f"{target}/secret"), entry("h", b"over"))))
    yield Evil("a hard link to a link to outside", layer(tar(entry("l", kind=link, link=f"{target}/secret"), entry("h", kind=hard, link="l"), entry("h", b"over"))))
    yield Evil("a hard link through a link", layer(tar(entry("l", kind=link, link=target), entry("h", kind=hard, link="l/secret"))))
    yield Evil("a hard link to a directory", layer(tar(entry("d", kind=folder), entry("h", kind=hard, link="d"))), REFUSED)
    yield Evil("a hard link to itself", layer(tar(entry("h", kind=hard, link="h"))))
    yield Evil("devices and a pipe", layer(tar(entry("c", kind=char), entry("b", kind=block), entry("f", kind=fifo))))
    yield Evil("a device in the place of a directory", layer(tar(entry("d", kind=folder), entry("d/x", b"x"), entry("d", kind=char), entry("d/y", b"y"))), REFUSED)
    yield Evil("setuid with attributes", layer(tar(pax({"SCHILY.xattr.user.a": "b"}), entry("s", b"x", mode=0o6755))), TAKEN)
    for name in ("trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.redirect", "trusted.overlay.metacopy"):
        yield Evil(f"the attribute {name}", layer(tar(pax({f"SCHILY.xattr.{name}": "/x"}), entry("d", kind=folder))), REFUSED)
    yield Evil("a whiteout of the root", layer(tar(entry(".wh.", b""))), REFUSED)
    yield Evil("a whiteout of the parent", layer(tar(entry(".wh...", b""))), REFUSED)
    yield Evil("an opaque root", layer(tar(entry(".wh..wh..opq", b""))), TAKEN)
    yield Evil("a whiteout that climbs", layer(tar(entry(f"{up}{inside}/.wh.secret", b""))), REFUSED)
    yield Evil("a whiteout through a link", layer(tar(entry("l", kind=link, link=target), entry("l/.wh.secret", b""))))
    yield Evil("a file below a whiteout", layer(tar(entry(".wh.a/b", b"x"))), REFUSED)
    yield Evil("a thousand entries of one name", layer(tar(*[entry("same", b"%d" % n) for n in range(1000)])), TAKEN)
    yield Evil("one name as every kind", layer(tar(entry("k", b"x"), entry("k", kind=folder), entry("k/in", b"x"), entry("k", kind=link, link="/"), entry("k", kind=fifo), entry("k", b"end"))), TAKEN)
    yield Evil("a name with a zero byte", layer(tar(pax({"path": "a\0b"}), entry("x", b"x"))), REFUSED)
    yield Evil("an empty name", layer(tar(entry("", b"x"))), REFUSED)
    yield Evil("a name of a megabyte", layer(tar(pax({"path": "n" * MIB}), entry("x", b""))), REFUSED)
    yield Evil("a path of 10,000 directories", layer(tar(pax({"path": "d/" * 10_000 + "x"}), entry("x", b""))), REFUSED)
    yield Evil("a GNU name that says it has 4 GiB", layer(tar(header(b"././@LongLink", kind=b"L", size_field=b"40000000000\0"), bytes(512))), REFUSED)
    yield Evil("a GNU link that says it has 4 GiB", layer(tar(header(b"././@LongLink", kind=b"K", size_field=b"40000000000\0"), bytes(512))), REFUSED)
    yield Evil("PAX records that say they have 8 GiB", layer(tar(header(b"pax", kind=b"x", size_field=b"77777777777\0"), bytes(512))), REFUSED)
    yield Evil("PAX records of 10 MiB", layer(tar(pax({f"key{n}": "v" * 1000 for n in range(10_000)}), entry("x", b""))), REFUSED)
    yield Evil("PAX headers in a row without end", layer(tar(*[pax({"comment": "x"})] * 5000, entry("x", b""))), REFUSED)
    yield Evil("a PAX record whose length lies", layer(tar(header(b"pax", 20, b"x") + padded(b"99999 path=x\n"), entry("x", b""))), REFUSED)
    yield Evil("a PAX size that is negative", layer(tar(pax({"size": "-1"}), entry("x", b"x"))), REFUSED)
    yield Evil("a PAX size of 2^64", layer(tar(pax({"size": str(1 << 64)}), entry("x", b"x"))), REFUSED)
    yield Evil("a file that says it has 8 EiB", layer(tar(header(b"x", size_field=b"\x80\0\0\0\x7f" + b"\xff" * 7))), REFUSED)
    yield Evil("a negative size", layer(tar(header(b"x", size_field=b"\xff" * 12))), REFUSED)
    yield Evil("a sparse file of a terabyte", layer(tar(pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": str(1 << 40)}), entry("x", padded(b"1\n0\n0\n")))))
    yield Evil("a sparse map of a million pieces", layer(tar(pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": str(1 << 30)}), entry("x", padded(b"1000000\n" + b"".join(b"%d\n1\n" % (n * 2) for n in range(300_000)))))), REFUSED)
    yield Evil("a sparse map that climbs backwards", layer(tar(pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "4096"}), entry("x", padded(b"2\n2048\n512\n0\n512\n") + bytes(1024)))), REFUSED)
    yield Evil("a checksum that is wrong", layer(tar(bytearray(entry("x", b"x"))[:148] + b"000000\0 " + entry("x", b"x")[156:])), REFUSED)
    yield Evil("an unknown kind", layer(tar(entry("x", b"", kind=b"Z"))))
    yield Evil("no tar at all", layer(os.urandom(100_000)), REFUSED)
    yield Evil("a gzip bomb", streamed(zeros("bomb", 2048 * MIB)), REFUSED, "")
    yield Evil("a gzip bomb of names", streamed(many(100_000, b"0")), REFUSED)
    yield Evil("a gzip bomb of hard links", streamed(many(100_000, b"1")), REFUSED)
    whole = tar(entry("a", os.urandom(40_000)), entry("b", os.urandom(40_000)), entry("d", kind=folder))
    for cut in range(4096, len(whole), 4096):
        # Between two entries it lacks but its end, which tar has always taken; the diff ID is what holds.
        between = cut % (512 + len(padded(bytes(40_000)))) == 0
        yield Evil(f"a tar that ends after {cut} bytes", layer(whole[:cut]), EITHER if between else REFUSED)
    packed = layer(whole)
    for cut in range(4096, len(packed.blob), 4096):
        yield Evil(f"gzip that ends after {cut} bytes", Layer(packed.blob[:cut], packed.diff_id), REFUSED)
    yield Evil("something behind the gzip stream", Layer(packed.blob + os.urandom(5000), packed.diff_id), REFUSED)
    yield Evil("another diff ID", Layer(packed.blob, digest_of(b"another")), REFUSED)
    yield Evil("gzip that calls itself zstd", packed, types=ZSTD)
    yield Evil("gzip that calls itself uncompressed", packed, types=PLAIN)
    yield Evil("uncompressed that calls itself gzip", Layer(whole, digest_of(whole)))
    zipped = zstd(whole)
    for cut in range(4096, len(zipped), 4096 * 4):
        yield Evil(f"zstd that ends after {cut} bytes", Layer(zipped[:cut], digest_of(whole)), REFUSED, types=ZSTD)
    bomb = b"".join(zeros("bomb", 512 * MIB))
    yield Evil("a zstd bomb", Layer(zstd(bomb, "-19", "-T0"), digest_of(bomb)), REFUSED, types=ZSTD)
    del bomb
    # Its decoder would have to remember 2 GiB, which the frame's head says.
    wide = bytearray(zstd(whole, "--no-check"))
    wide[4:6] = bytes([0x00, 21 << 3])  # frame head: no single segment, window of 2^31
    yield Evil("a zstd window of 2 GiB", Layer(bytes(wide), digest_of(whole)), REFUSED, types=ZSTD)
    long = tar(header(b"long", 100 * MIB), os.urandom(20 * MIB) * 5)
    yield Evil("a zstd window of 128 MiB", Layer(zstd(long, "--long=27"), digest_of(long)), REFUSED, "window of more than", ZSTD)
    yield Evil("a zstd window of 32 MiB", Layer(zstd(long, "--long=25"), digest_of(long)), TAKEN, types=ZSTD)


class Judge:
    def __init__(self, stage: Stage, outside: Path, peaks: Path):
        self.stage, self.outside, self.peaks = stage, outside, peaks
        self.client = stage.any_client()
        self.number = 0

    def store(self) -> list[str]:
        """Layers, content and whatever else is in the root, without the database's own files."""
        root = self.stage.engine.root
        return sorted(str(p.relative_to(root)) for p in [*(root / "layers").glob("*"), *(root / "content").rglob("*"), *(root / "quarantine").glob("*")])

    def around(self) -> list[tuple]:
        found = []
        for path in [self.outside, *sorted(self.outside.rglob("*"))]:
            info = path.lstat()
            found.append((str(path), info.st_mode, info.st_nlink, info.st_mtime_ns, path.read_bytes() if path.is_file() else b""))
        return found

    def judge(self, evil: Evil) -> None:
        self.number += 1
        repository = f"evil/number{self.number}"
        image = Image([evil.layer], {}, evil.types or OCI, ("amd64",))
        self.stage.pusher.push(image, repository, "1")
        name = f"127.0.0.1:{self.stage.registry.port}/{repository}:1"
        store, around = self.store(), self.around()
        self.peaks.write_text("")
        answer = self.client.try_call("pull", name)
        wait_for("what davit-pull took is noted", lambda: self.peaks.read_text().endswith("\n"), 20)
        peak = max(int(line) for line in self.peaks.read_text().split())
        assert peak < MEMORY, f"davit-pull took {peak / MIB:.0f} MiB"
        assert self.around() == around, "something outside was touched"
        if answer.code == 0:
            assert evil.verdict != REFUSED, "it was taken"
            for path in (self.stage.engine.root / "layers").rglob("*"):
                info = path.lstat()
                assert not stat.S_ISBLK(info.st_mode) or path.parent.name == "fs", path
            self.client.remove_image(name)
        else:
            assert evil.verdict != TAKEN, f"it was refused: {answer.text[-400:]}"
            assert repository in answer.text and evil.word in answer.text, f"the error names nothing: {answer.text[-400:]}"
            assert "INTERNAL" not in answer.text and "signal" not in answer.text, f"not a clear error: {answer.text[-400:]}"
        assert self.store() == store, f"the store has changed: {set(self.store()) ^ set(store)}"


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("evil archives")
    with reported(report), stage_of("evil", args) as stage:
        outside = stage.work / "outside"
        outside.mkdir()
        (outside / "secret").write_text("secret")
        wrapper, peaks = stage.work / "pull", stage.work / "peaks"
        wrapper.write_text(WRAPPER.format(python=sys.executable, program=str(stage.engine.bin_dir / "davit-pull"), peak=str(peaks)))
        wrapper.chmod(0o755)
        stage.engine.extra = CAPS.format(wrapper=json.dumps(str(wrapper)))
        stage.engine.start()
        judge = Judge(stage, outside, peaks)
        for evil in corpus(outside):
            report.run(evil.name, lambda evil=evil: judge.judge(evil))

        def alive() -> None:
            image = Image([layer(tar(entry("fine", b"x")))], {}, OCI, ("amd64",))
            stage.pusher.push(image, "evil/fine", "1")
            judge.client.pull(f"127.0.0.1:{stage.registry.port}/evil/fine:1")

        report.run("what is in order is pulled afterwards", alive)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
