"""A registry that misbehaves on request, for pull_test.cc.

usage: fake_registry.py DIR LOG [CERT KEY]
DIR is an OCI layout's blobs/sha256 plus tags/TAG files that hold a digest. The first component of the
repository chooses the behaviour. Prints its two ports (the registry, and a blob host for redirects) and
ends with its standard input. LOG gets a JSON line for each request.
"""
import base64
import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

directory, log_path = sys.argv[1:3]
tls = sys.argv[3:5]
seen = {}
lock = threading.Lock()
ports = []
BASIC = "Basic " + base64.b64encode(b"user:secret").decode()


def count(key):
    with lock:
        seen[key] = seen.get(key, 0) + 1
        return seen[key]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", headers=None, length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, message, headers=None):
        body = json.dumps({"errors": [{"code": "X", "message": message}]}).encode()
        self.answer(status, body, headers)

    def base(self, port):
        return "%s://localhost:%d" % ("https" if tls else "http", port)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        self.handle_request(body)

    def do_GET(self):
        self.handle_request("")

    def handle_request(self, body):
        auth = self.headers.get("Authorization")
        with lock, open(log_path, "a") as log:
            log.write(json.dumps({"port": self.server.server_port, "path": self.path, "auth": auth, "body": body,
                                  "range": self.headers.get("Range")}) + "\n")
        if self.path.startswith("/token"):
            if self.path.startswith("/token/zero"):
                return self.answer(200, json.dumps({"token": "user\0x"}).encode())
            if self.path.startswith("/token/busy") and count("tokens") <= 2:
                return self.error(503 if count("busytokens") == 1 else 429, "come again", {"Retry-After": "0"})
            if "refresh_token" in body:
                return self.answer(200, json.dumps({"access_token": "fresh"}).encode())
            return self.answer(200, json.dumps({"token": "user" if auth == BASIC else "anonymous"}).encode())
        if self.path.startswith("/evil/"):  # asks for what it was not given, and names itself to bring it to
            challenge = 'Bearer realm="%s/token",service="evil"' % self.base(ports[1])
            if self.path.startswith("/evil/basic"):
                challenge = 'Basic realm="evil"'
            return self.error(401, "bring me your password", {"WWW-Authenticate": challenge})
        if self.path.startswith("/back/"):
            return self.answer(307, headers={"Location": "%s/v2/token/b/%s" % (self.base(ports[0]), self.path[6:])})
        if self.path.startswith("/raw/"):
            return self.blob("plain", self.path[5:])
        parts = self.path.split("/")
        if len(parts) < 6 or parts[1] != "v2":
            return self.error(404, "no such page")
        mode, kind, name = parts[2], parts[-2], parts[-1]
        if mode == "token" and auth not in ("Bearer user", "Bearer fresh", "Bearer given"):
            challenge = 'Bearer realm="%s/token",service="fake",scope="repository:x:pull,push"' % self.base(ports[0])
            return self.error(401, "authentication required", {"WWW-Authenticate": challenge})
        if mode == "tokenbusy" and not (auth or "").startswith("Bearer "):
            return self.error(401, "authentication required",
                              {"WWW-Authenticate": 'Bearer realm="%s/token/busy",service="fake"' % self.base(ports[0])})
        if mode in ("tokenzero", "norealm") and auth != "Bearer user\0x":
            realm = self.base(ports[0]) + "/token/zero" if mode == "tokenzero" else "//nowhere"
            return self.error(401, "authentication required", {"WWW-Authenticate": 'Bearer realm="%s"' % realm})
        if mode == "basic" and auth != BASIC:
            return self.error(401, "authentication required", {"WWW-Authenticate": 'Basic realm="fake"'})
        if mode == "denied":
            return self.error(403, "not for you")
        lures = {"lure": "evil/", "lurebasic": "evil/basic/", "lureback": "back/"}
        if mode in lures and self.server.server_port == ports[0]:
            return self.answer(307, headers={"Location": "%s/%s%s/%s" % (self.base(ports[1]), lures[mode], kind, name)})
        if mode == "lureblob" and kind == "blobs" and self.server.server_port == ports[0]:
            return self.answer(307, headers={"Location": "%s/evil/%s" % (self.base(ports[1]), name)})
        if kind == "manifests":
            return self.manifest(mode, name)
        if kind == "blobs":
            return self.blob(mode, name)
        return self.error(404, "no such page")

    def manifest(self, mode, name):
        if mode == "busy" and count("busy") <= 2:
            return self.error(503, "busy")
        if mode == "limited":
            return self.error(429, "too many", {"Retry-After": "3600"})
        if mode == "huge":
            return self.answer(200, b" " * (5 << 20), {"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
        if mode == "loop":
            return self.answer(302, headers={"Location": self.path + "x"})
        if mode == "downgrade":
            return self.answer(302, headers={"Location": "http://localhost:1/v2/"})
        if not name.startswith("sha256:"):
            tag = os.path.join(directory, "tags", name)
            if not os.path.exists(tag):
                return self.error(404, "manifest unknown")
            with open(tag) as f:
                name = f.read()
        with open(os.path.join(directory, "blobs/sha256", name[7:]), "rb") as f:
            text = f.read()
        return self.answer(200, text, {"Content-Type": json.loads(text)["mediaType"]})

    def blob(self, mode, name):
        path = os.path.join(directory, "blobs/sha256", name[7:])
        if not os.path.exists(path):
            return self.error(404, "blob unknown")
        with open(path, "rb") as f:
            data = f.read()
        config = data.startswith(b'{"architecture"')
        if mode == "redirect" and self.server.server_port == ports[0]:
            return self.answer(307, headers={"Location": "%s/raw/%s" % (self.base(ports[1]), name)})
        if mode == "lie" and not config:
            data = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
        if mode == "liesoon" and not config:  # in the compressed stream: it cannot be inflated to its end
            data = data[:100] + bytes(b ^ 0x55 for b in data[100:164]) + data[164:]
        if mode == "lieconfig" and config:
            data = data.replace(b"www-data", b"no-datas")
        if mode == "long" and not config:
            data += b"x" * 100
        if mode == "short" and not config:
            data = data[:-10]
        if mode == "page" and not config:  # of a proxy that has its own idea of what was asked for
            return self.answer(200, b"<html>please log in</html>")
        if mode == "slow" and not config and count("slow") == 1:
            return self.error(408, "too slow")
        if mode == "promise" and not config:  # all of it, and then less than was promised
            if self.headers.get("Range"):
                return self.error(416, "there is no more")
            self.answer(200, data, length=len(data) + 7)
            self.close_connection = True
            return None
        if mode == "chunks" and not config:  # no length, and no last chunk
            if self.headers.get("Range"):
                return self.error(416, "there is no more")
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.close_connection = True
            return None
        if mode == "wrongrange" and not config:
            if self.headers.get("Range"):
                return self.answer(206, data[1:], {"Content-Range": "bytes 1-%d/%d" % (len(data) - 1, len(data))})
            self.answer(200, data[:len(data) // 2], length=len(data))
            self.close_connection = True
            return None
        if mode == "drip" and not config:  # never silent, and never done
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for at in range(len(data)):
                self.wfile.write(data[at:at + 1])
                self.wfile.flush()
                time.sleep(0.1)
            return None
        if mode in ("cut", "cutnorange", "stall") and not config:
            start = 0
            wanted = self.headers.get("Range")
            if wanted and mode == "cut":
                start = int(wanted[len("bytes="):-1])
            if mode == "stall" or count(mode + name) == 1:
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:len(data) // 2])
                self.wfile.flush()
                if mode == "stall":
                    self.rfile.read(1)  # until the client goes
                self.close_connection = True
                return None
            if start:
                return self.answer(206, data[start:], {"Content-Range": "bytes %d-%d/%d" % (start, len(data) - 1, len(data))})
        return self.answer(200, data)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that go away are what the tests are about


servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
for server in servers:
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    ports.append(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(ports[0], ports[1], flush=True)
sys.stdin.read()
