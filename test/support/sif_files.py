"""SIF files for tests: a tree as Singularity lays it out, packed by mksquashfs, in a file of Sylabs' siftool.

Where siftool is not built (it needs Go), the container around the squashfs is written here, field by field.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

from busybox import busybox
from images import applets

EXEC = """#!/bin/sh
for script in /.singularity.d/env/*.sh; do
    if [ -f "$script" ]; then . "$script"; fi
done
exec "$@"
"""
RUN = """#!/bin/sh
for script in /.singularity.d/env/*.sh; do
    if [ -f "$script" ]; then . "$script"; fi
done
exec /.singularity.d/runscript "$@"
"""
SHELL = EXEC.replace('exec "$@"', 'exec /bin/sh "$@"')
TEST = EXEC.replace('exec "$@"', 'exec /.singularity.d/test "$@"')
ENVIRONMENT = """#!/bin/sh
export MY_CUSTOM_VAR="of the image"
export COMPUTED="$(echo from a shell)"
"""
LINKS = {".exec": ".singularity.d/actions/exec", ".run": ".singularity.d/actions/run",
         ".shell": ".singularity.d/actions/shell", ".test": ".singularity.d/actions/test",
         "singularity": ".singularity.d/runscript", "environment": ".singularity.d/env/90-environment.sh"}
LABELS = {"org.example.name": "test-info"}


def write(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def make_tree(root: Path, mark: str, runscript: str = 'echo "runscript $MARK $*"\nexec sleep 1000\n') -> Path:
    """A root filesystem with busybox and what Singularity adds; `mark` makes it another image."""
    for name in ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var", "run", "mnt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox(), root / "bin/busybox")
    for name in set(applets(root / "bin/busybox")) - {"busybox"}:
        (root / "bin" / name).symlink_to("busybox")
    write(root / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644)
    write(root / "etc/group", "root:x:0:\nnobody:x:65534:\n", 0o644)
    write(root / "etc/mark", mark, 0o644)
    hidden = root / ".singularity.d"
    for name, text in (("exec", EXEC), ("run", RUN), ("shell", SHELL), ("test", TEST)):
        write(hidden / "actions" / name, text)
    write(hidden / "runscript", "#!/bin/sh\n" + runscript)
    write(hidden / "test", "#!/bin/sh\necho tested\n")
    write(hidden / "env/90-environment.sh", ENVIRONMENT + f"export MARK={mark}\n")
    write(hidden / "labels.json", json.dumps(LABELS), 0o644)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    return root


def pack(root: Path, squashfs: Path, compression: str = "gzip") -> Path:
    squashfs.unlink(missing_ok=True)
    subprocess.run(["mksquashfs", str(root), str(squashfs), "-noappend", "-all-root", "-no-progress", "-quiet",
                    "-comp", compression], check=True, capture_output=True, timeout=120)
    return squashfs


def build(path: Path, squashfs: Path, *, siftool: str | None = None, arch: int = 2, fstype: int = 1,
          primary: int = 1, oci_config: dict | None = None) -> Path:
    """`arch` 2 is amd64, 4 arm64; `primary`: how many primary system partitions."""
    path.unlink(missing_ok=True)
    extra = [] if oci_config is None else [(6, "oci-config.json", json.dumps(oci_config).encode())]
    if siftool and primary == 1:
        subprocess.run([siftool, "new", str(path)], check=True, capture_output=True)
        subprocess.run([siftool, "add", "--datatype", "4", "--parttype", "2", "--partfs", str(fstype), "--partarch",
                        str(arch), str(path), str(squashfs)], check=True, capture_output=True)
        for datatype, name, data in extra:
            object_file = path.with_name(name)
            object_file.write_bytes(data)
            subprocess.run([siftool, "add", "--datatype", str(datatype), "--filename", name, str(path),
                            str(object_file)], check=True, capture_output=True)
        return path
    partition = struct.pack("<ii3s", fstype, 2, f"{arch:02d}\0".encode())
    objects = [(4, "root.squashfs", squashfs.read_bytes(), partition)] * primary
    objects += [(datatype, name, data, b"") for datatype, name, data in extra]
    slots, table, data_at = 48, 4096, 32768
    body, descriptors = bytearray(), bytearray()
    for number, (datatype, name, data, more) in enumerate(objects, 1):
        body += bytes(-len(body) % 4096)
        descriptors += struct.pack("<iBIIIqqqqqqq128s384s", 0x4000 + datatype, 1, number, 0xF0000001, 0,
                                   data_at + len(body), len(data), len(data), 1600000000, 1600000000, 0, 0,
                                   name.encode(), more)
        body += data
    header = struct.pack("<32s10s3s3s16sqqqqqqqq", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC", b"01",
                         f"{arch:02d}\0".encode(), bytes(range(16)), 1600000000, 1600000000, slots - len(objects),
                         slots, table, slots * 585, data_at, len(body))
    file = bytearray(data_at)
    file[:128] = header
    file[table:table + len(descriptors)] = descriptors
    path.write_bytes(bytes(file + body))
    return path
