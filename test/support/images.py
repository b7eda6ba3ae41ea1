#!/usr/bin/env python3
"""The images that the tests and the CRI conformance suite ask for, made here and pushed to a local registry.

They carry the upstream repository paths, so that an engine whose mirrors for the four upstream hosts
point to the local registry pulls them under their upstream names.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from busybox import FixtureError, busybox, run, static_program
from oci_image import DOCKER, Entry, Image, Layer, Pusher, cache_dir, directory, host_file, write_layout

# The hosts that these names belong to upstream: each needs a mirror to the local registry.
HOSTS = ("registry.k8s.io", "gcr.io", "k8s.gcr.io", "public.ecr.aws")

E2E = "e2e-test-images"
CRI = "k8s-staging-cri-tools"
PATH_ENV = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = """root:x:0:
daemon:x:1:
tty:x:5:
www-data:x:33:
nogroup:x:65534:
"""

PAUSE_C = r"""
#include <signal.h>
#include <unistd.h>
#include <sys/wait.h>
static void stop(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) {
  signal(SIGINT, stop);
  signal(SIGTERM, stop);
  signal(SIGCHLD, reap);
  for (;;) pause();
}
"""
NNP_C = r"""
#include <stdio.h>
#include <unistd.h>
int main(void) {
  printf("Effective uid: %d\n", (int)geteuid());
  return 0;
}
"""
NGINX_CONF = """user nobody nogroup;
worker_processes 1;
pid /var/run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  server {
    listen %d;
    location / { root /usr/share/nginx/html; index index.html; }
  }
}
"""
HTTPD_SCRIPT = """#!/bin/sh
echo "httpd: serving /srv on port 80" >&2
exec httpd -f -vv -p 80 -h /srv
"""


@dataclass
class Named:
    repository: str
    tags: tuple[str, ...]
    image: Image


def applets(binary: Path) -> list[str]:
    return run([str(binary), "--list"]).split()


def base_entries(binary: Path, groups: str = GROUP, users: str = PASSWD) -> list[Entry]:
    entries = [directory(d) for d in ("bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "usr/sbin", "sbin",
                                      "var", "var/run", "var/www", "var/log")]
    entries += [directory("root", 0o700), directory("tmp", 0o1777), directory("var/tmp", 0o1777)]
    entries += [Entry("etc/passwd", data=users.encode()), Entry("etc/group", data=groups.encode()),
                Entry("etc/shadow", data=b"root:*:::::::\n", mode=0o600)]
    entries.append(host_file("bin/busybox", binary))
    # Hard links, as the upstream image has them.
    entries += [Entry(f"bin/{name}", "hardlink", target="bin/busybox", mode=0o755)
                for name in sorted(set(applets(binary))) if name != "busybox"]
    return entries


def shell_image(layer: Layer, *more: Layer, **config: object) -> Image:
    return Image([layer, *more], {"Env": [PATH_ENV], "Cmd": ["sh"], **config})


def libraries(*programs: str | Path) -> list[Entry]:
    """What the loader of a container needs to run these programs of the machine's, on top of busybox."""
    found: list[str] = []
    for program in programs:
        for line in run(["ldd", str(program)]).splitlines():
            match = re.search(r"(?:=>\s*)?(/\S+)\s+\(0x", line)
            if match and match.group(1) not in found:
                found.append(match.group(1))
            elif "not found" in line:
                raise FixtureError(f"ldd {program}: {line.strip()}")
    entries: list[Entry] = []
    folders: set[str] = {"bin", "sbin", "usr", "usr/bin", "usr/sbin"}
    # Wherever the machine has them: in the image only the loader's own directories are searched.
    home = next(Path(library).parent for library in found if Path(library).name.startswith("libc.so."))
    for library in found:
        place = library if Path(library).name.startswith("ld-") else str(home / Path(library).name)
        parents = [str(p) for p in Path(place.lstrip("/")).parents][::-1][1:]
        entries += [directory(p) for p in parents if p not in folders]
        folders.update(parents)
        entries.append(host_file(place, library))
    return entries


def nginx_entries(port: int) -> list[Entry]:
    """nginx from Debian's package and the libraries that it is linked with, on top of busybox."""
    unpacked = cache_dir() / "nginx"
    program = unpacked / "usr/sbin/nginx"
    if not program.exists():
        with tempfile.TemporaryDirectory(prefix="davit-nginx-") as work:
            Path(work).chmod(0o755)
            download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=5", "download", "nginx"]
            try:
                run(download, cwd=work)
            except FixtureError:  # no package lists here, or stale ones
                run(["apt-get", "-q", "-o", "Acquire::Retries=5", "update"])
                run(download, cwd=work)
            [package] = Path(work).glob("nginx_*.deb")
            run(["dpkg-deb", "-x", str(package), str(unpacked)])
    entries = [directory(d) for d in ("etc/nginx", "usr/share", "usr/share/nginx", "usr/share/nginx/html", "var/lib",
                                      "var/lib/nginx", "var/log/nginx")]
    entries += libraries(program)
    entries.append(host_file("usr/sbin/nginx", program))
    entries.append(Entry("etc/nginx/nginx.conf", data=(NGINX_CONF % port).encode()))
    entries.append(Entry("usr/share/nginx/html/index.html", data=b"<html><title>Welcome to nginx!</title></html>\n"))
    return entries


def catalogue(log=print) -> list[Named]:
    """Every image, with the repository and tags it is asked for by."""
    binary = busybox(log)
    base = Layer.of(base_entries(binary))
    tag = lambda name: Layer.of([Entry(f"marker-{name}", data=f"{name}\n".encode())])  # noqa: E731
    nginx_cmd = ["nginx", "-g", "daemon off;"]
    images = [
        Named(f"{E2E}/busybox", ("1.29-2",), shell_image(base)),
        Named(f"{E2E}/nginx", ("1.14-2",), shell_image(base, Layer.of(nginx_entries(80)), Cmd=nginx_cmd,
                                                       ExposedPorts={"80/tcp": {}})),
        Named(f"{E2E}/httpd", ("2.4.39-4",), shell_image(
            base, Layer.of([directory("srv"), Entry("srv/index.html", data=b"<html>It works!</html>\n"),
                            Entry("usr/bin/httpd-foreground", data=HTTPD_SCRIPT.encode(), mode=0o755)]),
            Cmd=["httpd-foreground"], ExposedPorts={"80/tcp": {}})),
        Named(f"{E2E}/nonewprivs", ("1.3",), shell_image(
            base, Layer.of([host_file("nnp", static_program("nnp", NNP_C), 0o4755)]), Cmd=None, Entrypoint=["/nnp"])),
        Named("pause", ("3.9", "3.10", "3.6"), Image(
            [Layer.of([host_file("pause", static_program("pause", PAUSE_C))])],
            {"Env": [PATH_ENV], "Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/"}, DOCKER)),
    ]
    hostnet = shell_image(base, Layer.of(nginx_entries(12003)), Cmd=nginx_cmd)
    hostnet.platforms, hostnet.types = ("amd64",), DOCKER
    images.append(Named(f"{CRI}/hostnet-nginx-amd64", ("latest",), hostnet))
    for name in ("1", "2", "3", "latest"):
        images.append(Named(f"{CRI}/test-image-{name}", ("latest",), shell_image(base, tag(name))))
    for name in ("test", "all"):
        images.append(Named(f"{CRI}/test-image-tag", (name,), shell_image(base, tag(f"tag-{name}"))))
    images.append(Named(f"{CRI}/test-image-tags", ("1", "2", "3"), shell_image(base, tag("tags"))))
    by_digest = shell_image(base, tag("digest"))
    by_digest.platforms, by_digest.types = ("amd64",), DOCKER
    images.append(Named(f"{CRI}/test-image-digest", ("latest",), by_digest))
    for name, user in (("uid", "1002"), ("username", "www-data"), ("uid-group", "1003:1004"),
                       ("username-group", "www-data:1004")):
        images.append(Named(f"{CRI}/test-image-user-{name}", ("latest",), shell_image(base, User=user)))
    grouped = Layer.of([
        Entry("etc/passwd", data=(PASSWD + "default-user:x:1000:1000::/home/default-user:/bin/sh\n").encode()),
        Entry("etc/group", data=(GROUP + "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n").encode())])
    images.append(Named(f"{CRI}/test-image-predefined-group", ("latest",), shell_image(base, grouped, User="1000")))
    # The benchmarks' list: one image each, so that a listing counts them apart.
    for name in ("1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"):
        images.append(Named("docker/library/busybox", (name,), shell_image(base, tag(f"bench-{name}"))))
    return images


def debian_busybox() -> Image:
    """A one-layer image from Debian's busybox-static: what the demonstration runs, made in an instant."""
    for path in ("/usr/bin/busybox", "/bin/busybox"):
        if Path(path).exists() and "statically linked" in run(["sh", "-c", f"ldd {path} 2>&1 || true"]).replace(
                "not a dynamic executable", "statically linked"):
            return shell_image(Layer.of(base_entries(Path(path))))
    raise FixtureError("no static busybox here (package busybox-static)")


def push_all(pusher: Pusher, log=print) -> str:
    """Pushes the catalogue; returns the digest of the image that is asked for by digest."""
    by_digest = ""
    for named in catalogue(log):
        digest = pusher.push(named.image, named.repository, *named.tags)
        if named.repository.endswith("/test-image-digest"):
            by_digest = digest
    return by_digest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    push = verbs.add_parser("push", help="make every image and push it")
    push.add_argument("url", help="registry, e.g. http://127.0.0.1:5000")
    push.add_argument("--user", default="")
    push.add_argument("--password", default="")
    push.add_argument("--ca", type=Path)
    listing = verbs.add_parser("list", help="print what would be pushed, as JSON")
    layout = verbs.add_parser("layout", help="write one image as an OCI layout directory")
    layout.add_argument("reference", help="repository:tag from the list")
    layout.add_argument("directory", type=Path)
    demo = verbs.add_parser("demo", help="push an image made of Debian's busybox-static")
    demo.add_argument("url")
    demo.add_argument("repository", help="repository:tag")
    del listing
    args = parser.parse_args()
    note = lambda text: print(text, file=sys.stderr)  # noqa: E731
    try:
        if args.verb == "push":
            print(json.dumps({"digest": push_all(Pusher(args.url, args.user, args.password, args.ca), note)}))
        elif args.verb == "demo":
            repository, _, tag = args.repository.partition(":")
            print(Pusher(args.url).push(debian_busybox(), repository, tag or "latest"))
        elif args.verb == "list":
            print(json.dumps([{"repository": n.repository, "tags": n.tags, "digest": n.image.digest}
                              for n in catalogue(note)], indent=1))
        else:
            repository, _, tag = args.reference.rpartition(":")
            [named] = [n for n in catalogue(note) if n.repository == repository and tag in n.tags]
            write_layout(named.image, args.directory, tag)
    except (FixtureError, subprocess.SubprocessError, OSError, ValueError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
