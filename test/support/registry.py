#!/usr/bin/env python3
"""Debian's docker-registry on a free loopback port, for tests.

As a module: `with Registry(storage) as registry: ... registry.port`.
As a program: `registry.py start --storage DIR [--tls --user NAME --password WORD]` prints one JSON
object and leaves the registry running; `registry.py stop --storage DIR` ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

START_TIMEOUT_S = 20


class RegistryError(RuntimeError):
    """The registry did not start, or a file that it needs could not be made."""


def free_port() -> int:
    """A port that nobody listened on a moment ago. The caller retries when it was taken meanwhile."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(directory: Path) -> tuple[Path, Path, Path]:
    """A throw-away CA and a server certificate for 127.0.0.1 and localhost: (ca, cert, key)."""
    directory.mkdir(parents=True, exist_ok=True)
    ca_key, ca, key, request, cert = (directory / n for n in ("ca.key", "ca.crt", "tls.key", "tls.csr", "tls.crt"))
    if cert.exists():
        return ca, cert, key
    extensions = directory / "san.cnf"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    elliptic = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    steps = [
        ["openssl", "req", "-x509", *elliptic, "-keyout", str(ca_key), "-out", str(ca), "-days", "30",
         "-subj", "/CN=davit test CA"],
        ["openssl", "req", "-new", *elliptic, "-keyout", str(key), "-out", str(request), "-subj", "/CN=localhost"],
        ["openssl", "x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial",
         "-out", str(cert), "-days", "30", "-extfile", str(extensions)],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode != 0:
            raise RegistryError(f"{' '.join(step[:2])}: {done.stderr.strip()}")
    return ca, cert, key


class Registry:
    """One docker-registry process; its files live below `directory` and stay there."""

    def __init__(self, directory: Path | str, *, tls: bool = False, user: str = "", password: str = "",
                 port: int = 0):
        self.directory = Path(directory)
        self.tls = tls
        self.user = user
        self.password = password
        self.port = port
        self.ca: Path | None = None
        self.pid = 0
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def describe(self) -> dict[str, object]:
        return {"pid": self.pid, "port": self.port, "url": self.url, "storage": str(self.directory / "storage"),
                "log": str(self.directory / "registry.log"), "ca": str(self.ca or ""), "user": self.user}

    def start(self) -> "Registry":
        if not _which("docker-registry"):
            raise RegistryError("docker-registry is not installed (tools/bootstrap)")
        self.directory.mkdir(parents=True, exist_ok=True)
        wanted = self.port
        for _ in range(5):
            self.port = wanted or free_port()
            if self._try_start():
                (self.directory / "registry.json").write_text(json.dumps(self.describe()))
                return self
            if wanted:
                break
        tail = (self.directory / "registry.log").read_text(errors="replace")[-2000:]
        raise RegistryError(f"docker-registry did not start on port {self.port}: {tail}")

    def stop(self) -> None:
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child = None

    def __enter__(self) -> "Registry":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _config(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": f"127.0.0.1:{self.port}", "secret": "test only"}
        config: dict[str, object] = {
            "version": "0.1", "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.directory / "storage")}, "delete": {"enabled": True}},
            "http": http,
        }
        if self.tls:
            self.ca, cert, key = make_certificate(self.directory / "tls")
            http["tls"] = {"certificate": str(cert), "key": str(key)}
        if self.user:
            done = subprocess.run(["htpasswd", "-Bbn", self.user, self.password], capture_output=True, text=True)
            if done.returncode != 0:
                raise RegistryError(f"htpasswd: {done.stderr.strip()}")
            (self.directory / "htpasswd").write_text(done.stdout)
            config["auth"] = {"htpasswd": {"realm": "davit-test", "path": str(self.directory / "htpasswd")}}
        return config

    def _try_start(self) -> bool:
        path = self.directory / "config.yml"
        path.write_text(json.dumps(self._config()))  # JSON is YAML
        with open(self.directory / "registry.log", "ab") as log:
            self._child = subprocess.Popen(["docker-registry", "serve", str(path)], stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL, start_new_session=True)
        self.pid = self._child.pid
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if self._child.poll() is not None:
                return False
            if self._answers():
                return True
            time.sleep(0.05)
        self.stop()
        return False

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None
        try:
            with urllib.request.urlopen(f"{self.url}/v2/", timeout=2, context=context) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False


def _which(name: str) -> bool:
    return any(os.access(os.path.join(d, name), os.X_OK) for d in os.environ.get("PATH", "").split(os.pathsep))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="start a registry and print its facts as JSON")
    start.add_argument("--storage", required=True, help="directory for its images, configuration and log")
    start.add_argument("--port", type=int, default=0, help="default: a free one")
    start.add_argument("--tls", action="store_true", help="serve HTTPS with a throw-away CA")
    start.add_argument("--user", default="", help="ask for this user (basic authentication)")
    start.add_argument("--password", default="", help="and this password")
    stop = verbs.add_parser("stop", help="end the registry that serves a directory")
    stop.add_argument("--storage", required=True)
    args = parser.parse_args()
    if args.verb == "stop":
        facts = json.loads((Path(args.storage) / "registry.json").read_text())
        try:
            # The pid may have been reused since: end it only if it is still our registry.
            command = Path(f"/proc/{facts['pid']}/cmdline").read_bytes().split(b"\0")
            if str(Path(args.storage) / "config.yml").encode() in command:
                os.kill(facts["pid"], signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            pass
        return 0
    try:
        registry = Registry(args.storage, tls=args.tls, user=args.user, password=args.password, port=args.port)
        print(json.dumps(registry.start().describe()))
    except RegistryError as error:
        print(f"registry: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
