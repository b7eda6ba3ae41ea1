"""A library of SIF images on loopback, as Sylabs' clients expect one: with tokens, redirects and lies on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Library:
    """`add` images, then pull; `requests` has what was asked, `storage_headers` what the redirect's target was sent."""

    def __init__(self, token: str = ""):
        self.token = token
        self.images: dict[str, bytes] = {}  # "entity/collection/container:tag"
        self.hashes: dict[str, str] = {}  # said instead of the true one
        self.redirect = False
        self.cut_after = 0  # bytes; the first download ends there
        self.requests: list[str] = []
        self.storage_headers: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(storage=False))
        self._storage = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(storage=True))
        for server in (self._server, self._storage):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, data: bytes) -> str:
        self.images[name] = data
        return hashlib.sha256(data).hexdigest()

    def close(self) -> None:
        for server in (self._server, self._storage):
            server.shutdown()
            server.server_close()

    def _find(self, name: str) -> bytes | None:
        if match := re.fullmatch(r"(.*):sha256\.([0-9a-f]{64})", name):
            for other, data in self.images.items():
                if other.startswith(match[1] + ":") and hashlib.sha256(data).hexdigest() == match[2]:
                    return data
        return self.images.get(name)

    def _handler(self, storage: bool) -> type[BaseHTTPRequestHandler]:
        library = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def error(self, code: int, message: str) -> None:
                self.answer(code, json.dumps({"error": {"code": code, "message": message}}).encode())

            def file(self, data: bytes) -> None:
                begin = 0
                if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                    begin = int(match[1])
                headers = {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"} if begin else {}
                if library.cut_after:
                    cut, library.cut_after = library.cut_after, 0
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[:cut])
                    self.close_connection = True
                    return
                self.answer(206 if begin else 200, data[begin:], headers)

            def do_GET(self) -> None:  # noqa: N802
                path = urlsplit(self.path).path
                library.requests.append(f"{path} {self.headers.get('Range', '')}".strip())
                if storage:
                    library.storage_headers.append(dict(self.headers))
                    return self.file(library.images[path[1:]])
                if library.token and self.headers.get("Authorization") != f"BEARER {library.token}":
                    return self.error(401, "no token")
                match = re.fullmatch(r"/v1/(images|imagefile)/(.+)", path)
                data = library._find(match[2]) if match else None
                if data is None:
                    return self.error(404, "no such image")
                if match[1] == "images":
                    hashed = library.hashes.get(match[2]) or f"sha256.{hashlib.sha256(data).hexdigest()}"
                    return self.answer(200, json.dumps({"data": {"hash": hashed, "size": len(data)}}).encode())
                if library.redirect:
                    where = f"http://127.0.0.1:{library._storage.server_port}/{match[2]}"
                    return self.answer(302, b"", {"Location": where})
                return self.file(data)

        return Handler
