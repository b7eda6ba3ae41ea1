"""A registry that lies, cuts, stalls and redirects, on a loopback port.

Behaviour is chosen by repository: `add(repository, image, fault)` serves the image under any tag with the
fault named. `Fault` lists what there is.
"""

from __future__ import annotations

import enum
import http.server
import json
import socketserver
import sys
import threading

from oci_image import Image, digest_of


class Fault(enum.Enum):
    NONE = "serves the truth"
    BLOB_LIES = "layer bytes do not match their digest (same length)"
    MANIFEST_LIES = "the manifest of a list does not match its digest"
    BLOB_SHORT = "the connection closes in the middle of each layer"
    BLOB_LONG = "a layer has more bytes than its descriptor says"
    BLOB_MISSING = "the layer answers 404"
    SIZE_LIES = "the manifest gives a wrong layer size"
    DIFF_ID_LIES = "the configuration gives another diff ID"
    STALL_MANIFEST = "never answers for the manifest"
    STALL_BLOB = "sends half of a layer and then nothing"
    NOT_JSON = "the manifest is not JSON"
    DEEP_JSON = "the manifest is nested 100 000 deep"
    HUGE_MANIFEST = "the manifest never ends"
    SERVER_ERROR = "answers 500"
    REDIRECT_LOOP = "redirects a layer to itself"
    UNAUTHORIZED = "answers 401 whatever comes"


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Who has seen enough of a lie goes away in the middle of it."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakeRegistry:
    """`with FakeRegistry() as fake:` serves on fake.url until the block ends."""

    def __init__(self) -> None:
        self._images: dict[str, tuple[Image, Fault]] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                try:
                    registry._answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "FakeRegistry":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, repository: str, image: Image, fault: Fault = Fault.NONE) -> None:
        self._images[repository] = (image, fault)

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(f"{request.command} {request.path}")
        path = request.path.partition("?")[0]
        if path.rstrip("/") == "/v2":
            return _send(request, 200, b"{}", "application/json")
        parts = path.removeprefix("/v2/").split("/")
        if len(parts) < 3 or "/".join(parts[:-2]) not in self._images:
            return _send(request, 404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json")
        image, fault = self._images["/".join(parts[:-2])]
        if fault is Fault.UNAUTHORIZED:
            return _send(request, 401, b"{}", "application/json",
                         {"WWW-Authenticate": f'Bearer realm="{self.url}/v2/token",service="x"'})
        if fault is Fault.SERVER_ERROR:
            return _send(request, 500, b"internal error", "text/plain")
        if parts[-2] == "manifests":
            return self._manifest(request, image, fault, parts[-1])
        return self._blob(request, image, fault, parts[-1])

    def _manifest(self, request, image: Image, fault: Fault, reference: str) -> None:
        if fault is Fault.STALL_MANIFEST:
            self.closing.wait()
            return
        if fault is Fault.NOT_JSON:
            return _send(request, 200, b"<html>hello</html>", image.types["manifest"])
        if fault is Fault.DEEP_JSON:
            return _send(request, 200, b'{"a":' * 100_000, image.types["manifest"])
        if fault is Fault.HUGE_MANIFEST:
            return self._endless(request, image.types["manifest"])
        manifests = {digest_of(image.manifest(a)): (image.types["manifest"], image.manifest(a))
                     for a in image.platforms}
        top = image.top()
        media_type, body = manifests.get(reference, top)
        if fault is Fault.MANIFEST_LIES and reference in manifests:
            body = body + b" "
        if fault in (Fault.SIZE_LIES, Fault.DIFF_ID_LIES):
            # A consistent chain of digests around one wrong statement.
            media_type, body = image.types["manifest"], self._twisted(image, fault)[0]
        _send(request, 200, body, media_type, {"Docker-Content-Digest": digest_of(body)})

    def _twisted(self, image: Image, fault: Fault) -> tuple[bytes, bytes]:
        config = json.loads(image.config_blob(image.platforms[0]))
        if fault is Fault.DIFF_ID_LIES:
            config["rootfs"]["diff_ids"][-1] = digest_of(b"something else")
        config_blob = json.dumps(config).encode()
        manifest = json.loads(image.manifest(image.platforms[0]))
        manifest["config"].update(digest=digest_of(config_blob), size=len(config_blob))
        if fault is Fault.SIZE_LIES:
            manifest["layers"][-1]["size"] += 1000
        return json.dumps(manifest).encode(), config_blob

    def _blob(self, request, image: Image, fault: Fault, digest: str) -> None:
        blobs = image.blobs()
        if fault is Fault.DIFF_ID_LIES:
            config = self._twisted(image, fault)[1]
            blobs[digest_of(config)] = config
        data = blobs.get(digest)
        is_layer = any(layer.digest == digest for layer in image.layers)
        if data is None or (is_layer and fault is Fault.BLOB_MISSING):
            return _send(request, 404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}', "application/json")
        if is_layer and fault is Fault.REDIRECT_LOOP:
            return _send(request, 307, b"", "text/plain", {"Location": self.url + request.path})
        if is_layer and fault is Fault.BLOB_LIES:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1:]
        if is_layer and fault is Fault.BLOB_LONG:
            data = data + b"\0" * 1000
        if is_layer and fault in (Fault.BLOB_SHORT, Fault.STALL_BLOB):
            _head(request, 200, len(data), "application/octet-stream")
            request.wfile.write(data[:len(data) // 2])
            request.wfile.flush()
            if fault is Fault.STALL_BLOB:
                self.closing.wait()
            request.close_connection = True
            return
        _send(request, 200, data, "application/octet-stream")

    def _endless(self, request, media_type: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", media_type)
        request.end_headers()
        request.close_connection = True
        request.wfile.write(b'{"layers":[')
        # Far beyond any cap, and yet an end.
        for _ in range(1024):
            if self.closing.is_set():
                return
            request.wfile.write(b'{"a":"b"},' * 26_000)


def _head(request, code: int, length: int, media_type: str, headers: dict[str, str] | None = None) -> None:
    request.send_response(code)
    request.send_header("Content-Type", media_type)
    request.send_header("Content-Length", str(length))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()


def _send(request, code: int, body: bytes, media_type: str, headers: dict[str, str] | None = None) -> None:
    _head(request, code, len(body), media_type, headers)
    if request.command != "HEAD":
        request.wfile.write(body)
