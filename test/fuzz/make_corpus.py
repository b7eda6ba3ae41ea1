#!/usr/bin/env python3
"""Writes the corpora that are not text: tar, SIF, SPDY, WebSocket, DNS and monitor packets.

usage: test/fuzz/make_corpus.py

The output depends on this file (and zlib) alone, so running it again changes nothing. The other corpora are
written by hand, and what fuzzing has found is kept beside both under the name found-*.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"


def write(target: str, name: str, data: bytes) -> None:
    directory = CORPUS / target
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)


# --- tar -----------------------------------------------------------------------------------------------


def checksummed(block: bytes) -> bytes:
    plain = block[:148] + b" " * 8 + block[156:]
    return plain[:148] + b"%06o\0 " % sum(plain) + plain[156:]


def header(name: bytes, kind: bytes = b"0", size: int = 0, *, link: bytes = b"", mode: int = 0o644, uid: int = 0,
           gid: int = 0, mtime: int = 1_000_000_000, major: int = 0, minor: int = 0, prefix: bytes = b"",
           magic: bytes = b"ustar\00000", size_field: bytes | None = None) -> bytes:
    fields = [name.ljust(100, b"\0")[:100], b"%07o\0" % mode, b"%07o\0" % uid, b"%07o\0" % gid,
              size_field if size_field is not None else b"%011o\0" % size, b"%011o\0" % mtime, b" " * 8, kind,
              link.ljust(100, b"\0")[:100], magic, b"root".ljust(32, b"\0"), b"root".ljust(32, b"\0"),
              b"%07o\0" % major, b"%07o\0" % minor, prefix.ljust(155, b"\0"), b"\0" * 12]
    block = b"".join(fields)
    assert len(block) == 512, len(block)
    return checksummed(block)


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 512)


def entry(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields) -> bytes:
    return header(name, kind, len(data), **fields) + padded(data)


def directory(name: bytes, mode: int = 0o755, **fields) -> bytes:
    return entry(name, kind=b"5", mode=mode, **fields)


def link(name: bytes, target: bytes, kind: bytes = b"2") -> bytes:
    return entry(name, kind=kind, link=target, mode=0o777)


def record(key: bytes, value: bytes) -> bytes:
    body = len(key) + len(value) + 3
    length = body + 1
    while len(b"%d" % length) + body != length:
        length = len(b"%d" % length) + body
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    return entry(b"pax", b"".join(record(key, value) for key, value in records), kind)


END = b"\0" * 1024


def gzipped(data: bytes) -> bytes:
    """Without a time stamp or name, and with this module's level: the same bytes everywhere."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\x03" + body + struct.pack("<II", zlib.crc32(data), len(data))


def zstd(data: bytes, content_size: int | None = None) -> bytes:
    """One frame of raw blocks (RFC 8878, 3.1.1): no compressor needed."""
    frame = b"\x28\xb5\x2f\xfd" + b"\xa0" + struct.pack("<I", len(data) if content_size is None else content_size)
    pieces = [data[i:i + 4096] for i in range(0, len(data), 4096)] or [b""]
    for i, piece in enumerate(pieces):
        frame += struct.pack("<I", len(piece) << 3 | (i == len(pieces) - 1))[:3] + piece
    return frame


def zstd_rle(byte: bytes, size: int, blocks: int) -> bytes:
    """Blocks of one repeated byte: a bomb of four bytes a block."""
    frame = b"\x28\xb5\x2f\xfd" + b"\x00\x58"
    for i in range(blocks):
        frame += struct.pack("<I", size << 3 | 1 << 1 | (i == blocks - 1))[:3] + byte
    return frame


def tars() -> None:
    small = directory(b"etc/") + entry(b"etc/hostname", b"davit\n") + link(b"etc/mtab", b"/proc/mounts")
    out = b"/proc/self/fd/200/outside"  # see kBaseFd in tar_fuzz.cc

    def tar(name: str, data: bytes) -> None:
        write("tar", name + ".tar", data)

    tar("small", small + END)
    tar("empty", END)
    tar("v7", entry(b"a", b"text", magic=b"\0" * 8) + entry(b"d/", magic=b"\0" * 8, kind=b"\0") + END)
    tar("gnu-long-names", entry(b"././@LongLink", b"n" * 150 + b"/" + b"m" * 150 + b"\0", b"L")
        + entry(b"././@LongLink", b"t" * 300 + b"\0", b"K") + link(b"short", b"short") + END)
    tar("pax", pax((b"path", b"caf\xc3\xa9/x"), (b"mtime", b"1.25"), (b"uid", b"70000"),
                   (b"SCHILY.xattr.user.note", b"v"), (b"SCHILY.xattr.security.selinux", b"label"))
        + entry(b"x", b"data") + END)
    tar("pax-global", pax((b"path", b"everywhere"), kind=b"g") + entry(b"x", b"data") + END)
    tar("pax-size", pax((b"size", b"3")) + entry(b"x", b"abc") + END)
    tar("pax-negative-time", pax((b"mtime", b"-1.5")) + entry(b"x") + END)
    tar("prefix", entry(b"name", b"1", prefix=b"very/deep") + END)
    tar("nodes", entry(b"null", kind=b"3", major=1, minor=3) + entry(b"sda", kind=b"4", major=8)
        + entry(b"fifo", kind=b"6") + END)
    tar("hard-link", entry(b"a", b"one") + link(b"b", b"a", b"1") + link(b"c", b"./a", b"1") + END)
    tar("whiteouts", directory(b"d/") + entry(b"d/.wh..wh..opq") + entry(b".wh.gone") + entry(b".wh..wh.plnk") + END)
    tar("replace", directory(b"a/") + entry(b"a/b", b"1") + entry(b"a", b"now a file") + directory(b"a/") + END)
    tar("implicit-parents", entry(b"a/b/c/d", b"deep") + END)
    tar("setuid", directory(b"s/", 0o2775, gid=5) + entry(b"s/su", b"#!", mode=0o4755, uid=1, gid=1) + END)
    tar("base-256", header(b"big", size_field=b"\x80" + b"\0" * 10 + b"\x04") + padded(b"four") + END)

    # Ways out of the directory, and into other trouble.
    tar("evil-dotdot", entry(b"../outside/x", b"x") + END)
    tar("evil-dotdot-inside", entry(b"a/../../outside/x", b"x") + END)
    tar("evil-absolute", entry(b"/etc/x", b"x") + END)
    tar("evil-symlink-file", link(b"l", b"../outside/canary") + entry(b"l", b"dead") + END)
    tar("evil-symlink-parent", link(b"l", b"../outside") + entry(b"l/canary", b"dead") + END)
    tar("evil-symlink-absolute", link(b"l", out) + entry(b"l/canary", b"dead") + directory(b"l/new/") + END)
    tar("evil-symlink-chain", link(b"a", b"b") + link(b"b", b"c/..") + link(b"c", out) + entry(b"a/canary", b"x") + END)
    tar("evil-symlink-directory", link(b"l", out) + directory(b"l/", 0o777, uid=1) + END)
    tar("evil-symlink-whiteout", link(b"l", out) + entry(b"l/.wh.canary") + entry(b"l/.wh..wh..opq") + END)
    tar("evil-hard-link-out", link(b"h", b"../outside/canary", b"1") + END)
    tar("evil-hard-link-absolute", link(b"h", out + b"/canary", b"1") + END)
    tar("evil-hard-link-symlink", link(b"l", out + b"/canary") + link(b"h", b"l", b"1")
        + entry(b"h", b"dead", mode=0o777) + END)
    tar("evil-hard-link-through", link(b"l", out) + link(b"h", b"l/canary", b"1") + END)
    tar("evil-link-loop", link(b"a", b"b") + link(b"b", b"a") + entry(b"a/x", b"x") + END)
    tar("evil-replaced-parent", directory(b"d/") + entry(b"d/x", b"1") + link(b"d", out)
        + entry(b"d/canary", b"2") + END)
    tar("evil-overlay-attribute", pax((b"SCHILY.xattr.trusted.overlay.redirect", b"/")) + directory(b"d/") + END)
    tar("evil-whiteout-dots", entry(b".wh...") + END)
    tar("evil-nul-name", pax((b"path", b"a\0b")) + entry(b"x") + END)
    tar("evil-sparse", pax((b"GNU.sparse.map", b"0,1")) + entry(b"x", b"x") + END)
    tar("evil-size", header(b"x", size_field=b"\x80" + b"\xff" * 11) + END)
    tar("evil-size-of-link", header(b"l", b"2", 512, link=b"x") + entry(b"y", b"seen") + END)
    tar("evil-pax-length", entry(b"pax", b"99999999999999999999 path=x\n", b"x") + entry(b"x") + END)
    tar("evil-many-headers", pax((b"uid", b"1")) * 17 + entry(b"x") + END)
    tar("evil-after-end", entry(b"x") + b"\0" * 512 + entry(b"y"))
    tar("evil-cut", entry(b"x", b"y" * 600)[:700])

    write("tar", "small.tar.gz", gzipped(small + END))
    write("tar", "members.tar.gz", gzipped(small) + gzipped(END))
    write("tar", "cut.tar.gz", gzipped(small + END)[:-6])
    write("tar", "bomb.gz", gzipped(b"\0" * 2_000_000))
    write("tar", "small.tar.zst", zstd(small + END))
    write("tar", "skippable.tar.zst", b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstd(small + END))
    write("tar", "wrong-size.tar.zst", zstd(small + END, 10))
    write("tar", "bomb.zst", zstd_rle(b"\0", 100_000, 40))


# --- SPDY ----------------------------------------------------------------------------------------------

NAMES = """options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges
age allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
user-agent vary via warning www-authenticate method get status""".split()
NAMES += ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
DICTIONARY = b"".join(struct.pack(">I", len(name)) + name.encode() for name in NAMES) + (
    b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    b"403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,"
    b"text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    b"charset=utf-8charset=iso-8859-1,utf-,*,enq=0.")
assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2


def control(kind: int, payload: bytes, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(payload)) + payload


def data_frame(stream: int, payload: bytes, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, int(fin) << 24 | len(payload)) + payload


def block(headers: list[tuple[bytes, bytes]], count: int | None = None) -> bytes:
    out = struct.pack(">I", len(headers) if count is None else count)
    for name, value in headers:
        out += struct.pack(">I", len(name)) + name + struct.pack(">I", len(value)) + value
    return out


class Deflater:
    def __init__(self, level: int = 9) -> None:
        self.packer = zlib.compressobj(level, zdict=DICTIONARY)

    def __call__(self, plain: bytes) -> bytes:
        return self.packer.compress(plain) + self.packer.flush(zlib.Z_SYNC_FLUSH)


def syn(stream: int, packed: bytes, flags: int = 0) -> bytes:
    return control(1, struct.pack(">II", stream, 0) + b"\0\0" + packed, flags)


def spdy() -> None:
    def put(name: str, frames: bytes) -> None:
        write("spdy", name, frames)

    def kind(stream: str) -> bytes:
        return block([(b"streamtype", stream.encode())])

    pack = Deflater()
    streams = enumerate(["error", "stdin", "stdout", "stderr", "resize"])
    put("exec-session", b"".join(syn(2 * i + 1, pack(kind(name))) for i, name in streams)
        + data_frame(3, b"echo hi\n") + data_frame(9, b'{"Width":80,"Height":24}') + data_frame(3, b"", True))
    pack = Deflater()
    pair = [block([(b"streamtype", name), (b"port", b"8080"), (b"requestid", b"0")]) for name in (b"error", b"data")]
    put("port-forward", syn(1, pack(pair[0])) + syn(3, pack(pair[1]))
        + data_frame(3, b"GET / HTTP/1.0\r\n\r\n", True))
    put("no-headers", syn(1, Deflater()(block([]))))
    put("reply", control(2, struct.pack(">I", 1) + Deflater()(block([(b":status", b"200")]))))
    put("headers", control(8, struct.pack(">I", 1) + Deflater()(block([(b"a", b"1\x002")])), 1))
    put("unidirectional-fin", syn(1, Deflater()(kind("error")), 3))
    put("ping", control(6, struct.pack(">I", 1)) * 3)
    put("go-away", control(7, struct.pack(">II", 3, 0)))
    put("reset", control(3, struct.pack(">II", 1, 5)))
    put("window-update", control(9, struct.pack(">II", 1, 0x7FFFFFFF)) + control(9, struct.pack(">II", 0, 0xFFFFFFFF)))
    put("settings", control(4, struct.pack(">III", 1, 4, 100)))
    put("unknown-kind", control(99, b"whatever") + control(6, struct.pack(">I", 1)))
    put("empty-data", data_frame(1, b"") + data_frame(1, b"", True))
    put("evil-wrong-dictionary", syn(1, zlib.compress(kind("error"))))
    put("evil-no-zlib", syn(1, b"\xff" * 20))
    put("evil-stream-zero", syn(0, Deflater()(kind("error"))))
    put("evil-data-stream-zero", data_frame(0, b"x"))
    put("evil-version", control(6, struct.pack(">I", 1), version=2))
    put("evil-long-control", struct.pack(">HHI", 0x8003, 1, 0xFFFFFF) + b"\0" * 64)
    put("evil-short-syn", control(1, b"\0" * 9))
    put("evil-header-bomb", syn(1, Deflater()(block([(b"a", b"\0" * 1_000_000)]))))
    put("evil-header-count", syn(1, Deflater()(block([(b"a", b"1")], 0xFFFFFFFF))))
    put("evil-header-length", syn(1, Deflater()(struct.pack(">II", 1, 0xFFFFFFFF) + b"name")))
    put("evil-header-twice", syn(1, Deflater()(block([(b"a", b"1"), (b"A", b"2")]))))
    put("evil-header-no-name", syn(1, Deflater()(block([(b"", b"1")]))))
    put("evil-header-rest", syn(1, Deflater()(block([(b"a", b"1")]) + b"more")))
    ended = zlib.compressobj(9, zdict=DICTIONARY)
    put("evil-ended-zlib", syn(1, ended.compress(kind("error")) + ended.flush(zlib.Z_FINISH)) * 2)
    put("evil-ping-size", control(6, b"\0" * 5))
    put("evil-data-cut", struct.pack(">II", 1, 0xFFFFFF) + b"few")


# --- WebSocket -----------------------------------------------------------------------------------------


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = b"mask", length: int | None = None,
          rsv: int = 0, wide: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    wide = wide if wide is not None else 0 if size < 126 else 2 if size < 65536 else 8
    out = bytes([int(fin) << 7 | rsv << 4 | opcode])
    short = {0: size, 2: 126, 8: 127}[wide]
    out += bytes([(0x80 if mask else 0) | short]) + (size.to_bytes(wide, "big") if wide else b"")
    if mask:
        out += mask
        payload = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
    return out + payload


def websocket() -> None:
    def put(name: str, frames: bytes) -> None:
        write("websocket", name, frames)

    put("text", frame(1, b"hello"))
    put("binary", frame(2, b"\x00stdin\n"))
    put("from-server", frame(2, b"\x01output\n", mask=None))
    put("pieces", frame(2, b"one", fin=False) + frame(0, b"two", fin=False) + frame(0, b"three"))
    put("ping-inside", frame(1, b"a", fin=False) + frame(9, b"ping") + frame(0, b"b"))
    put("pong", frame(10, b""))
    put("close", frame(8, struct.pack(">H", 1000) + b"bye") + frame(1, b"ignored"))
    put("close-empty", frame(8, b""))
    put("close-one-byte", frame(8, b"\x03"))
    put("empty-message", frame(2, b"") + frame(2, b"", fin=False) + frame(0, b""))
    put("sixteen-bit-length", frame(2, b"x" * 300))
    put("long-form-of-short", frame(2, b"x", wide=8) + frame(2, b"y", wide=2))
    put("k8s-resize", frame(2, b'\x04{"Width":80,"Height":24}'))
    put("k8s-close-channel", frame(2, b"\xff\x00"))
    put("key", b"dGhlIHNhbXBsZSBub25jZQ==")
    put("evil-no-mask", frame(1, b"x", mask=None) + frame(1, b"x"))
    put("evil-reserved", frame(1, b"x", rsv=4))
    put("evil-opcode", frame(3, b"x"))
    put("evil-control-opcode", frame(11, b"x"))
    put("evil-long-ping", frame(9, b"x" * 126))
    put("evil-ping-in-pieces", frame(9, b"x", fin=False))
    put("evil-continuation", frame(0, b"x"))
    put("evil-message-in-message", frame(1, b"x", fin=False) + frame(1, b"y"))
    put("evil-negative-length", frame(2, b"x", length=2**64 - 1, wide=8))
    put("evil-huge-length", frame(2, b"x", length=2**63 - 1, wide=8))


# --- monitor -------------------------------------------------------------------------------------------


def message(kind: int, *fields: tuple[int, bytes | int], version: int = 1) -> bytes:
    out = bytes([version, kind])
    for tag, value in fields:
        raw = struct.pack("<q", value) if isinstance(value, int) else value
        out += struct.pack("<BI", tag, len(raw)) + raw
    return out


def monitor() -> None:
    def put(name: str, data: bytes) -> None:
        write("monitor", name, data)

    exited = ((1, 0), (3, 3), (4, 4711), (5, 4710), (6, 10**18), (8, 137), (9, 10**18), (10, 10**18 + 1), (11, 1))
    put("query", message(1))
    put("signal", message(4, (1, 15), (2, 1)))
    put("resize", message(6, (3, 80), (4, 24)))
    put("exec", message(7, (5, b"crun"), (5, b"exec"), (5, b"--detach"), (6, b"PATH=/bin"), (7, b"/run/e.pid"),
                        (8, b"/run/e.sock"), (9, 1), (10, b"/run/e.log"), (11, 1), (12, 1), (13, 1)))
    put("attach", message(8, (11, 1), (12, 1)))
    put("reply-running", message(100, (1, 0), (3, 2), (4, 4711), (5, 4710), (6, 10**18)))
    put("reply-exited", message(100, *exited))
    put("reply-error", message(100, (1, 13), (2, b"create: executable file not found"), (7, b"no such command")))
    put("reply-exec", message(100, (1, 0), (12, 99), (13, 0)))
    options = ((1, b"/run/davit/containers/c"), (2, b"/var/log/pods/p/c/0.log"), (3, 1), (4, 1), (5, 0), (6, b"crun"),
               (6, b"create"), (7, b"crun"), (7, b"start"), (8, b"PATH=/bin"), (9, b"/run/c.pid"), (10, b"/run/c.sock"),
               (11, b"/run/c.log"), (12, b"/sys/fs/cgroup/c/memory.events"), (13, 16384))
    put("options", message(101, *options))
    put("unknown-tag", message(1, (200, b"from a later version")))
    put("evil-version", message(1, version=2))
    put("evil-kind", message(42))
    put("evil-short", b"\x01")
    put("evil-cut-field", message(7, (5, b"crun"))[:-2])
    put("evil-cut-head", message(1) + b"\x05\x01")
    put("evil-length", message(7) + struct.pack("<BI", 5, 0xFFFFFFFF) + b"x")
    put("evil-nul", message(7, (5, b"a\0b")))
    put("evil-nul-path", message(101, (1, b"/run\0/x")))
    put("evil-int-size", message(4, (1, b"\x0f")))
    put("evil-signal", message(4, (1, 2**40 + 9)))
    put("evil-status", message(100, (1, 17)))
    put("evil-phase", message(100, (3, -1)))
    put("evil-line", message(101, (13, 0)))
    put("evil-numbers", message(100, (1, 0), (4, -2**63), (6, 2**63 - 1), (8, 2**62), (12, -1), (13, -5)))
    put("exit-record", b"davit-exit 1\ncode=137\nstarted=1700000000000000000\n"
        b"finished=1700000001000000000\noom=1\nend\n")
    put("exit-later-version", b"davit-exit 1\ncode=0\nstarted=0\nfinished=1\nnew=x\noom=0\nend\n")
    put("exit-cut", b"davit-exit 1\ncode=137\nstarted=17000000")
    put("exit-bad-code", b"davit-exit 1\ncode=256\nfinished=1\nend\n")
    put("exit-twice", b"davit-exit 1\ncode=1\ncode=2\nfinished=1\nfinished=-9223372036854775808\nend\n")


# --- SIF -----------------------------------------------------------------------------------------------


def sif_object(kind: int, number: int, offset: int, size: int, *, name: bytes = b"", extra: bytes = b"",
               link: int = 0) -> bytes:
    return struct.pack("<iBIIIqqqqqqq", kind, 1, number, 0xF0000001, link, offset, size, size, 0, 0, 0, 0) + \
        name.ljust(128, b"\0") + extra.ljust(384, b"\0")


def sif_file(objects: list[tuple[int, bytes, bytes]], *, total: int | None = None, magic: bytes = b"SIF_MAGIC\0",
             slack: int = 0) -> bytes:
    table, data, at = b"", b"", 128 + 585 * len(objects)
    for number, (kind, content, extra) in enumerate(objects, 1):
        table += sif_object(kind, number, at + len(data), len(content) + slack, name=b"object", extra=extra)
        data += content
    head = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0") + magic + b"01\0" + b"02\0" + bytes(range(16))
    return head + struct.pack("<8q", 1, 1, 0, len(objects) if total is None else total, 128, len(table), at,
                              len(data)) + table + data


def squashfs(size: int, compression: int = 1) -> bytes:
    return b"hsqs" + struct.pack("<IIIIHHHHHHQQ", 7, 0, 1 << 17, 1, compression, 17, 0, 1, 4, 0, 0, size) + \
        b"\xff" * 48


def sifs() -> None:
    root = (0x4004, squashfs(96), struct.pack("<ii3s", 1, 2, b"02\0"))
    labels = (0x4003, b'{"data":{"attributes":{"labels":{"a":"b"}}}}', b"")
    signature = (0x4005, b"-----BEGIN PGP SIGNED MESSAGE-----\n", struct.pack("<i20s", 1, b"\xab" * 20))
    write("sif", "whole.sif", sif_file([root, labels, signature, (0x4001, b"Bootstrap: scratch\n", b"")]))
    write("sif", "two-roots.sif", sif_file([root, root]))
    write("sif", "ext3.sif", sif_file([(0x4004, b"x", struct.pack("<ii3s", 2, 2, b"02\0"))]))
    write("sif", "cut.sif", sif_file([root, labels])[:-7])
    write("sif", "evil-total.sif", sif_file([root], total=1 << 60))
    write("sif", "evil-negative.sif", sif_file([root], total=-1))
    write("sif", "evil-past-end.sif", sif_file([root], slack=1 << 40))
    write("sif", "evil-superblock.sif", sif_file([(0x4004, squashfs(1 << 40), root[2])]))
    write("sif", "superblock", squashfs(96, 6))
    write("sif", "labels.json", b'{"a":"b","nested":{"c":"d"}}')
    write("sif", "environment.sh", b'#!/bin/sh\nexport A="${A:-"/bin"}"\nB=\'x\'\nC=$D\nif true; then\nE=1\nfi\n')


# --- DNS -----------------------------------------------------------------------------------------------


def dns_name(name: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in name.split(b".") if label) + b"\0"


def dns_query(name: bytes, kind: int = 1, *, flags: int = 0x0100, counts=(1, 0, 0, 0), extra: bytes = b"") -> bytes:
    return struct.pack(">HHHHHH", 0x1234, flags, *counts) + dns_name(name) + struct.pack(">HH", kind, 1) + extra


def dns() -> None:
    opt = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
    plain = dns_query(b"web.front")
    answer = dns_query(b"web.front", flags=0x8180, counts=(1, 1, 0, 0),
                       extra=struct.pack(">HHHIH", 0xc00c, 1, 1, 5, 4) + bytes([10, 89, 0, 2]))
    write("dns", "a", plain)
    write("dns", "aaaa-edns", dns_query(b"DB", 28, counts=(1, 0, 0, 1), extra=opt))
    write("dns", "ptr", dns_query(b"2.0.89.10.in-addr.arpa", 12))
    write("dns", "ptr6", dns_query(b".".join([b"2"] + [b"0"] * 27 + [b"d", b"f", b"0", b"0"]) + b".ip6.arpa", 12))
    write("dns", "answer", bytes([len(plain)]) + plain + answer)
    write("dns", "truncated", bytes([len(plain)]) + plain + dns_query(b"web.front", flags=0x8380))
    write("dns", "evil-pointer", plain[:12] + b"\xc0\x0c" + plain[-4:])
    write("dns", "evil-counts", dns_query(b"a", counts=(65535, 65535, 65535, 65535)))
    write("dns", "evil-long", dns_query(b".".join([b"a" * 63] * 5)))
    write("dns", "evil-cut", plain[:-5])
    write("dns", "evil-dot", plain[:12] + b"\x03a.b\0" + plain[-4:])
    write("dns", "update", dns_query(b"a", flags=0x2800))
    write("dns", "subnet", b"10.89.0.0/24")
    write("dns", "subnet6", b"fd00:1::/64")
    write("dns", "network.json", (
        b'{"cniVersion":"1.0.0","name":"front","plugins":[{"type":"bridge","bridge":"davit1","ipam":{"type":"host-local",'
        b'"dataDir":"/run/davit/networks","ranges":[[{"subnet":"10.89.0.0/24","gateway":"10.89.0.1"}]],'
        b'"routes":[{"dst":"0.0.0.0/0"}]}}],"davit":{"version":1,"id":"' + b"a" * 64 + b'","name":"front",'
        b'"driver":"bridge","labels":{"a":"b"},"options":{"mtu":"1400"},"subnets":[{"subnet":"10.89.0.0/24",'
        b'"gateway":"10.89.0.1","range_start":"","range_end":""}],"internal":false,"ipv6":false,"dns":true,'
        b'"created_at":1,"interface":"davit1","keep_bridge":false}}\n'))


if __name__ == "__main__":
    dns()
    tars()
    sifs()
    spdy()
    websocket()
    monitor()
