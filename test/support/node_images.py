"""The images that Kubernetes' node conformance specs ask for, of busybox, Debian's packages and the module's agnhost.

Versions are those of test/utils/image/manifest.go in the pinned Kubernetes (kubernetes_build.VERSION).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from busybox import FixtureError, busybox, static_program
from images import (DOCKER, E2E, GROUP, NNP_C, PASSWD, PATH_ENV, PAUSE_C, Named, base_entries, libraries, nginx_entries,
                    shell_image)
from kubernetes_build import CACHE, module_dir
from oci_image import Entry, Image, Layer, digest_of, directory, host_file

AGNHOST = "2.63.0"
AGNHOST_BEFORE = "2.55"  # an update from one to the other is a spec


def program(name: str) -> Path:
    path = shutil.which(name)
    if not path:
        raise FixtureError(f"{name} is not installed (tools/bootstrap)")
    return Path(path)


def registry_entries(name: str, tag: str, image: Image, top: str = "var/registry") -> list[Entry]:
    """An image as agnhost's own registry serves it (its fakeregistryserver/prepare_registry.sh)."""
    media_type, manifest = image.top()
    files = {f"manifests/{tag}": digest_of(manifest).encode() + b"\n"}

    def add(kind: str, data: bytes) -> None:
        algorithm, _, digits = digest_of(data).partition(":")
        files[f"{kind}/{algorithm}/{digits[:2]}/{digits}/data"] = data

    add("manifests", manifest)
    for architecture in image.platforms:
        add("manifests", image.manifest(architecture))
    for blob in image.blobs().values():
        add("blobs", blob)
    entries: list[Entry] = []
    folders: set[str] = set()
    for path, data in files.items():
        whole = f"{top}/{name}/{path}"
        parents = [str(p) for p in Path(whole).parents][::-1][1:]
        entries += [directory(p) for p in parents if p not in folders and p != "var"]
        folders.update(parents)
        entries.append(Entry(whole, data=data))
    return entries


def agnhost_layers(pause: Image) -> list[Layer]:
    """What its Dockerfile adds to a base image, as far as node specs use it."""
    certificates = module_dir() / "test/images/agnhost/porter"
    users = PASSWD + "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"
    groups = GROUP + "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
    curl, bash = program("curl"), program("bash")
    tools = [host_file("agnhost", CACHE / "agnhost"), Entry("agnhost-2", "symlink", target="agnhost", mode=0o777)]
    rest = [Entry("etc/passwd", data=users.encode()), Entry("etc/group", data=groups.encode()), directory("uploads"),
            host_file("localhost.crt", certificates / "localhost.crt", 0o644),
            host_file("localhost.key", certificates / "localhost.key", 0o644)]
    return [Layer.of(tools), Layer.of(libraries(curl, bash) + [host_file("usr/bin/curl", curl),
                                                              host_file("bin/bash", bash)]),
            Layer.of(rest + registry_entries("pause", "testing", pause))]


def pause_image() -> Image:
    layer = Layer.of([host_file("pause", static_program("pause", PAUSE_C))])
    return Image([layer], {"Env": [PATH_ENV], "Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/"}, DOCKER)


def catalogue(log=print) -> list[Named]:
    base = Layer.of(base_entries(busybox(log)))
    mark = lambda name: Layer.of([Entry(f"marker-{name}", data=f"{name}\n".encode())])  # noqa: E731
    # One spec looks with `sh -c env` for variables whose names are no identifiers (data-1), which Debian's ash drops;
    # another one knows what ash says as /bin/sh of a file that it cannot write.
    bash = program("bash")
    shell = Layer.of(libraries(bash) + [host_file("bin/bash", bash),
                                        Entry("usr/bin/sh", "symlink", target="/bin/bash", mode=0o777)])
    agnhost = agnhost_layers(pause_image())
    ports = {f"{port}/tcp": {} for port in (80, 8080, 8081, 9376, 5000)}
    start = {"Entrypoint": ["/agnhost"], "Cmd": ["pause"], "ExposedPorts": ports}
    nginx = Layer.of(nginx_entries(80))
    nnp = host_file("usr/local/bin/nnp", static_program("nnp", NNP_C), 0o6755)
    glibc = program("hostname")  # with the C library's resolver, which is what that spec looks at
    images = [
        Named(f"{E2E}/agnhost", (AGNHOST,), shell_image(base, *agnhost, **start)),
        Named(f"{E2E}/agnhost", (AGNHOST_BEFORE,), shell_image(base, *agnhost, mark("before"), **start)),
        Named(f"{E2E}/busybox", ("1.37.0-1",), shell_image(base, shell)),
        Named(f"{E2E}/ipc-utils", ("1.4",), shell_image(base, mark("ipc-utils"))),
        Named(f"{E2E}/nonroot", ("1.5",), shell_image(base, User="1234")),
        Named(f"{E2E}/nonewprivs", ("1.4",), shell_image(
            base, Layer.of([directory("usr/local"), directory("usr/local/bin"), nnp]), Cmd=["nnp"])),
        Named(f"{E2E}/glibc-dns-testing", ("2.0.0",), shell_image(
            base, Layer.of(libraries(glibc) + [host_file("bin/hostname", glibc)]))),
        Named("pause", ("3.10.2",), pause_image()),
    ]
    images += [Named(f"{E2E}/nginx", (tag,), shell_image(base, nginx, mark(tag), Cmd=["nginx", "-g", "daemon off;"],
                                                         ExposedPorts={"80/tcp": {}})) for tag in ("1.15-4", "1.27-0")]
    return images
