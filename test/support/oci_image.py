"""Container images from Python's standard library: layers, manifests, an OCI layout, a registry push.

Everything is deterministic: the same content gives the same digests on every run and machine, but for the
version of zlib.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import ssl
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
UPLOAD_CHUNK = 1 << 20


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


@dataclass
class Entry:
    """One path of a layer. `kind` is file, dir, symlink or hardlink; `target` serves the last two."""

    path: str
    kind: str = "file"
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    target: str = ""

    def tar_info(self) -> tarfile.TarInfo:
        info = tarfile.TarInfo(self.path.lstrip("/"))
        info.type = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE,
                     "hardlink": tarfile.LNKTYPE}[self.kind]
        info.mode, info.uid, info.gid, info.linkname = self.mode, self.uid, self.gid, self.target
        info.size = len(self.data) if self.kind == "file" else 0
        return info


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(path, "dir", mode=mode, uid=uid, gid=gid)


def host_file(path: str, source: str | Path, mode: int = 0o755) -> Entry:
    return Entry(path, data=Path(source).read_bytes(), mode=mode)


@dataclass
class Layer:
    """A gzip layer: the bytes as served, and the digest of the tar inside (its diff ID)."""

    blob: bytes
    diff_id: str

    @staticmethod
    def of(entries: list[Entry]) -> "Layer":
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for entry in entries:
                tar.addfile(entry.tar_info(), io.BytesIO(entry.data) if entry.kind == "file" else None)
        return Layer.of_tar(buffer.getvalue())

    @staticmethod
    def of_tar(tar: bytes) -> "Layer":
        return Layer(gzip.compress(tar, 6, mtime=0), digest_of(tar))

    @property
    def digest(self) -> str:
        return digest_of(self.blob)


@dataclass
class Image:
    """Layers and an image configuration (`config` is the inner object: Cmd, Env, User, ...)."""

    layers: list[Layer]
    config: dict[str, object] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=lambda: OCI)
    # A list of two platforms, as upstream's images have, or the manifest alone.
    platforms: tuple[str, ...] = ("amd64", "arm64")

    def config_blob(self, architecture: str) -> bytes:
        return to_json({"architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
                        "config": self.config,
                        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"} for _ in self.layers],
                        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]}})

    def manifest(self, architecture: str) -> bytes:
        config = self.config_blob(architecture)
        return to_json({
            "schemaVersion": 2, "mediaType": self.types["manifest"],
            "config": {"mediaType": self.types["config"], "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": self.types["layer"], "digest": layer.digest, "size": len(layer.blob)}
                       for layer in self.layers]})

    def top(self) -> tuple[str, bytes]:
        """What a tag points to: (media type, bytes)."""
        if len(self.platforms) == 1:
            return self.types["manifest"], self.manifest(self.platforms[0])
        entries = []
        for architecture in self.platforms:
            manifest = self.manifest(architecture)
            entries.append({"mediaType": self.types["manifest"], "digest": digest_of(manifest), "size": len(manifest),
                            "platform": {"architecture": architecture, "os": "linux"}})
        return self.types["index"], to_json({"schemaVersion": 2, "mediaType": self.types["index"],
                                             "manifests": entries})

    @property
    def digest(self) -> str:
        return digest_of(self.top()[1])

    def blobs(self) -> dict[str, bytes]:
        found = {layer.digest: layer.blob for layer in self.layers}
        for architecture in self.platforms:
            config = self.config_blob(architecture)
            found[digest_of(config)] = config
        return found


@dataclass
class Artifact:
    """An OCI artifact (image-spec 1.1): blobs with a media type, annotations and data, and no image config."""

    parts: list[tuple[str, dict[str, str], bytes]]
    artifact_type: str = "application/vnd.davit.test"
    platforms: tuple[str, ...] = ("any",)
    config: bytes = b"{}"

    def blobs(self) -> dict[str, bytes]:
        return {digest_of(data): data for data in (self.config, *(part[2] for part in self.parts))}

    def top(self) -> tuple[str, bytes]:
        layers = [{"mediaType": kind, "digest": digest_of(data), "size": len(data), "annotations": annotations}
                  for kind, annotations, data in self.parts]
        return OCI["manifest"], to_json({
            "schemaVersion": 2, "mediaType": OCI["manifest"], "artifactType": self.artifact_type,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(self.config),
                       "size": len(self.config)}, "layers": layers})


def write_layout(image: Image, path: Path | str, name: str) -> None:
    """Writes an OCI image layout directory with one image under `name`."""
    root = Path(path)
    (root / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    blobs = image.blobs()
    for architecture in image.platforms:
        manifest = image.manifest(architecture)
        blobs[digest_of(manifest)] = manifest
    media_type, top = image.top()
    blobs[digest_of(top)] = top
    for digest, data in blobs.items():
        (root / "blobs" / digest.replace(":", "/")).write_bytes(data)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (root / "index.json").write_bytes(to_json({"schemaVersion": 2, "manifests": [
        {"mediaType": media_type, "digest": digest_of(top), "size": len(top),
         "annotations": {"org.opencontainers.image.ref.name": name}}]}))


class Pusher:
    """Writes images to a registry through the distribution API."""

    def __init__(self, url: str, user: str = "", password: str = "", ca: Path | None = None):
        self.url = url
        self._context = ssl.create_default_context(cafile=str(ca)) if ca else None
        self._headers = {}
        if user:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def push(self, image: "Image | Artifact", repository: str, *tags: str) -> str:
        """Pushes under each tag and returns the digest that the tags point to."""
        for digest, data in image.blobs().items():
            self._blob(repository, digest, data)
        if len(image.platforms) > 1:
            for architecture in image.platforms:
                manifest = image.manifest(architecture)
                self._put(repository, digest_of(manifest), image.types["manifest"], manifest)
        media_type, top = image.top()
        for tag in tags or (digest_of(top),):
            self._put(repository, tag, media_type, top)
        return digest_of(top)

    def _call(self, method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None):
        request = urllib.request.Request(url, data=data, method=method, headers={**self._headers, **(headers or {})})
        return urllib.request.urlopen(request, timeout=60, context=self._context)

    def _blob(self, repository: str, digest: str, data: bytes) -> None:
        try:
            self._call("HEAD", f"{self.url}/v2/{repository}/blobs/{digest}").close()
            return
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        with self._call("POST", f"{self.url}/v2/{repository}/blobs/uploads/", b"") as answer:
            where = urllib.parse.urljoin(self.url, answer.headers["Location"])
        for start in range(0, len(data), UPLOAD_CHUNK):
            chunk = data[start:start + UPLOAD_CHUNK]
            headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + len(chunk) - 1}"}
            with self._call("PATCH", where, chunk, headers) as answer:
                where = urllib.parse.urljoin(self.url, answer.headers["Location"])
        joint = "&" if "?" in where else "?"
        self._call("PUT", f"{where}{joint}digest={urllib.parse.quote(digest)}", b"").close()

    def _put(self, repository: str, reference: str, media_type: str, data: bytes) -> None:
        self._call("PUT", f"{self.url}/v2/{repository}/manifests/{reference}", data,
                   {"Content-Type": media_type}).close()


def cache_dir() -> Path:
    """Where built fixtures are kept between runs, outside the tree."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "davit"
