#!/usr/bin/env python3
"""Where images come from: registries.conf, hosts.toml, certs.d, credentials and names without a registry, each as a row
of a table: the files, the pull, whom it asked and what they said (davit image pull --explain). The servers are real: Debian's
docker-registry, with and without TLS and htpasswd, and nginx as a mirror that wants a client's certificate and a header.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.fake_registry import FakeRegistry, Fault  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

import images  # noqa: E402
from busybox import busybox  # noqa: E402
from oci_image import Entry, Layer, Pusher, cache_dir  # noqa: E402
from registry import Registry, free_port  # noqa: E402

AWAY = "away.invalid"  # resolves nowhere: only who is configured for it can answer


@dataclass
class Row:
    """One pull. Texts have {plain}, {secure}, {mirror}, {fake} (host:port), {digest} and {certs} filled in."""

    name: str
    image: str
    conf: str = ""  # registries.conf
    hosts: dict[str, str] = field(default_factory=dict)  # DIRECTORY -> hosts.toml
    certs: dict[str, str] = field(default_factory=dict)  # DIRECTORY/FILE -> file to copy
    auth: dict[str, str] = field(default_factory=dict)  # auth.json: name -> user:password
    creds: str = ""  # of the pull itself
    asked: list[tuple[str, str]] = field(default_factory=list)  # (part of endpoint, part of verdict) of the manifests
    told: list[str] = field(default_factory=list)  # parts of the whole answer
    error: str = ""  # part of the error; empty: it is pulled


def mirror_of(host: str, more: str = "") -> str:
    return f'[[registry]]\nlocation = "{AWAY}"\n[[registry.mirror]]\nlocation = "{host}"\n{more}\n'


ROWS = [
    Row("registries.conf: a mirror before a registry that is away", f"{AWAY}/src/app:1", conf=mirror_of("{plain}"),
        asked=[("http://{plain}/src/app", "OK")], told=["registries.conf:1"]),
    Row("registries.conf: mirrors in order, the next where one has nothing", f"{AWAY}/src/app:1",
        conf=mirror_of("{plain}/nothing", '[[registry.mirror]]\nlocation = "{plain}"'),
        asked=[("{plain}/nothing/src/app", "404"), ("{plain}/src/app", "OK")]),
    Row("registries.conf: the registry itself where no mirror has it", "{plain}/src/app:1",
        conf='[[registry]]\nlocation = "{plain}"\n[[registry.mirror]]\nlocation = "{plain}/nothing"\n',
        asked=[("{plain}/nothing/src/app", "404"), ("{plain}/src/app", "OK")]),
    Row("registries.conf: a mirror for digests is not asked for a tag", f"{AWAY}/src/app:1",
        conf=mirror_of("{plain}", 'pull-from-mirror = "digest-only"'),
        asked=[(f"https://{AWAY}", "cannot be resolved")], error="lets it serve digests only"),
    Row("registries.conf: and is asked for a digest", f"{AWAY}/src/app@{{digest}}",
        conf=mirror_of("{plain}", 'pull-from-mirror = "digest-only"'), asked=[("{plain}/src/app", "OK")]),
    Row("registries.conf: mirror-by-digest-only", f"{AWAY}/src/app:1",
        conf=f'[[registry]]\nlocation = "{AWAY}"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "{{plain}}"\n',
        asked=[(f"https://{AWAY}", "cannot be resolved")], error="digests only"),
    Row("registries.conf: a namespace that is somewhere else", f"{AWAY}/team/app:1",
        conf=f'[[registry]]\nprefix = "{AWAY}/team"\nlocation = "{{plain}}/src"\n', asked=[("{plain}/src/app", "OK")]),
    Row("registries.conf: a wildcard", f"sub.{AWAY}/app:1",
        conf=f'[[registry]]\nprefix = "*.{AWAY}"\nlocation = "{{plain}}/src"\n', asked=[("{plain}/src/app", "OK")]),
    Row("registries.conf: docker.io", "library/hub:1",
        conf='[[registry]]\nprefix = "docker.io/library"\nlocation = "{plain}/src"\n', asked=[("{plain}/src/hub", "OK")]),
    Row("registries.conf: blocked", "{plain}/src/app:1",
        conf='\n[[registry]]\nlocation = "{plain}"\nblocked = true\n', error="is blocked by"),
    Row("registries.conf: blocked, by one tag", "{plain}/src/app:1",
        conf='[[registry]]\nlocation = "{plain}/src/app:1"\nblocked = true\n', error="is blocked by"),
    Row("registries.conf: blocked, in another spelling", "LOCALHOST:5000/src/app:1",
        conf='[[registry]]\nlocation = "localhost:5000"\nblocked = true\n', error="is blocked by"),
    Row("registries.conf: blocked, by another name of Docker Hub", "registry-1.docker.io/library/app:1",
        conf='[[registry]]\nlocation = "docker.io"\nblocked = true\n', error="is blocked by"),
    Row("registries.conf: only a part is blocked", "{plain}/src/app:1",
        conf='[[registry]]\nlocation = "{plain}/other"\nblocked = true\n', asked=[("{plain}/src/app", "OK")]),
    Row("registries.conf: insecure: no certificate is checked", "{secure}/src/app:1",
        conf='[[registry]]\nlocation = "{secure}"\ninsecure = true\n', creds="user:word",
        asked=[("https://{secure}/src/app", "OK")]),
    Row("registries.conf: insecure: plain HTTP where there is no TLS", f"{AWAY}/src/app:1",
        conf=mirror_of("{plain}", "insecure = true"), asked=[("http://{plain}/src/app", "OK")]),
    Row("registries.conf: a file that is wrong is named with its line", "{plain}/src/app:1",
        conf="\n\n[[registry]]\nblocked = 3\n", error="registries.conf:4: blocked: expected true or false"),
    Row("hosts.toml: hosts in the order of the file, then the registry", f"{AWAY}/src/app:1",
        hosts={AWAY: '[host."http://{plain}/nothing"]\n[host."http://{plain}"]\n'},
        asked=[("{plain}/nothing", "404"), ("{plain}/src/app", "OK")], told=[f"/{AWAY}/hosts.toml:2"]),
    Row("hosts.toml: a host that only pulls is not asked for tags", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."http://{fake}"]\ncapabilities = ["pull"]\n'},
        asked=[("{plain}/src/app", "OK"), ("{fake}/src/app", "404"), ("{plain}/src/app", "OK")]),
    Row("hosts.toml: server", f"{AWAY}/src/app:1", hosts={AWAY: 'server = "http://{plain}"\n'},
        asked=[("http://{plain}/src/app", "OK")]),
    Row("hosts.toml: override_path", f"{AWAY}/app:1",
        hosts={AWAY: '[host."http://{plain}/v2/src"]\noverride_path = true\n'}, asked=[("{plain}", "OK")]),
    Row("hosts.toml: a client's certificate, an authority and a header", f"{AWAY}/src/app:1",
        hosts={AWAY: '[host."https://{mirror}/proxy"]\nca = "{certs}/ca.crt"\nclient = [["{certs}/client.cert", "{certs}/client.key"]]\n'
                     '[host."https://{mirror}/proxy".header]\nx-token = "right"\n'},
        asked=[("https://{mirror}/proxy", "OK")]),
    Row("hosts.toml: without the certificate the mirror refuses", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."https://{mirror}/proxy"]\nca = "{certs}/ca.crt"\n'
                     '[host."https://{mirror}/proxy".header]\nx-token = "right"\n'},
        asked=[("https://{mirror}/proxy", "400"), ("{plain}", "OK")]),
    Row("hosts.toml: without the header the mirror refuses", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."https://{mirror}/proxy"]\nca = "{certs}/ca.crt"\n'
                     'client = [["{certs}/client.cert", "{certs}/client.key"]]\n'},
        asked=[("https://{mirror}/proxy", "403"), ("{plain}", "OK")]),
    Row("hosts.toml: without the authority it is not trusted", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."https://{mirror}/proxy"]\n'},
        asked=[("https://{mirror}/proxy", "not signed by a known authority"), ("{plain}", "OK")]),
    Row("hosts.toml: skip_verify", "{secure}/src/app:1", hosts={"{secure}": "skip_verify = true\n"}, creds="user:word",
        asked=[("https://{secure}/src/app", "OK")]),
    Row("hosts.toml: _default serves any registry", f"{AWAY}/src/app:1", hosts={"_default": '[host."http://{plain}"]\n'},
        asked=[("{plain}/src/app", "OK")], told=["_default/hosts.toml:1"]),
    Row("hosts.toml: the registry's own directory goes before registries.conf", f"{AWAY}/src/app:1",
        conf=mirror_of("{plain}/nothing"), hosts={AWAY: '[host."http://{plain}"]\n'}, asked=[("{plain}/src/app", "OK")]),
    Row("hosts.toml: a file that is wrong is named with its line", f"{AWAY}/src/app:1",
        hosts={AWAY: '[host."http://{plain}"]\ncapabilities = ["fly"]\n'}, error='hosts.toml:2: capabilities: "fly"'),
    Row("certs.d: the authority of a registry", "{secure}/src/app:1", certs={"{secure}/ca.crt": "registry-ca"},
        creds="user:word", asked=[("https://{secure}/src/app", "OK")]),
    Row("certs.d: a client's certificate beside it", "{mirror}/src/app:1",
        certs={"{mirror}/ca.crt": "ca.crt", "{mirror}/client.cert": "client.cert", "{mirror}/client.key": "client.key"},
        asked=[("https://{mirror}/src/app", "OK")]),
    Row("certs.d: a certificate without its key", "{mirror}/src/app:1",
        certs={"{mirror}/ca.crt": "ca.crt", "{mirror}/client.cert": "client.cert"}, error="client.key is not there"),
    Row("credentials: none", "{secure}/src/app:1", certs={"{secure}/ca.crt": "registry-ca"},
        asked=[("{secure}", "wants credentials")], error="wants credentials"),
    Row("credentials: of the pull", "{secure}/src/app:1", certs={"{secure}/ca.crt": "registry-ca"}, creds="user:word",
        asked=[("{secure}", "OK")], told=["the request"]),
    Row("credentials: wrong ones say where they came from", "{secure}/src/app:1",
        certs={"{secure}/ca.crt": "registry-ca"}, auth={"{secure}": "user:wrong"},
        asked=[("{secure}", "check the credentials")], error="auth.json: {secure}"),
    Row("credentials: the node's, of the namespace that the image lies in", "{secure}/src/app:1",
        certs={"{secure}/ca.crt": "registry-ca"}, auth={"{secure}": "user:wrong", "{secure}/src": "user:word"},
        asked=[("{secure}", "OK")], told=["auth.json: {secure}/src"]),
    Row("credentials: those of another namespace are not sent", "{secure}/src/app:1",
        certs={"{secure}/ca.crt": "registry-ca"}, auth={"{secure}/other": "user:word"}, error="wants credentials"),
    Row("credentials: a mirror gets its own", f"{AWAY}/src/app:1", conf=mirror_of("{secure}"),
        certs={"{secure}/ca.crt": "registry-ca"}, auth={"{secure}": "user:word", AWAY: "user:other"},
        asked=[("{secure}", "OK")], told=["auth.json: {secure}"]),
    Row("credentials: those of a pull are not a mirror's", f"{AWAY}/src/app:1", conf=mirror_of("{secure}"),
        certs={"{secure}/ca.crt": "registry-ca"}, creds="user:word",
        asked=[("{secure}", "wants credentials"), (AWAY, "cannot be resolved")], error="cannot be resolved"),
    Row("a blob that one endpoint cuts comes from the next", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."http://{fake}/short"]\n'},
        asked=[("{fake}/short", "OK")]),
    Row("a manifest that is not what its digest says is asked for elsewhere", f"{AWAY}/src/app@{{digest}}",
        hosts={AWAY: 'server = "http://{plain}"\n[host."http://{fake}/garbage"]\n'},
        asked=[("{fake}/garbage", "digest"), ("{plain}", "OK")]),
    Row("a mirror with a layer that is too long", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."http://{fake}/long"]\n'}, asked=[("{fake}/long", "OK")],
        told=["longer than"]),
    Row("a mirror that sends other bytes, as many: the next one has the layer", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."http://{fake}/lies"]\n'}, asked=[("{fake}/lies", "OK")],
        told=["what it sent has another digest"]),
    Row("a mirror that answers 500", f"{AWAY}/src/app:1",
        hosts={AWAY: 'server = "http://{plain}"\n[host."http://{fake}/broken"]\n'},
        asked=[("{fake}/broken", "500"), ("{plain}", "OK")]),
]


class Mirror:
    """nginx in front of the plain registry: TLS, a client's certificate and, below /proxy, a header."""

    def __init__(self, stage: Stage, certs: Path):
        self.port = free_port()
        self.directory = stage.work / "mirror"
        self.directory.mkdir()
        images.nginx_entries(80)  # fetches the package
        program = cache_dir() / "nginx/usr/sbin/nginx"
        upstream = f"http://127.0.0.1:{stage.registry.port}"
        (self.directory / "nginx.conf").write_text(f"""
daemon off; master_process off; user root; pid {self.directory}/pid; error_log {self.directory}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {self.directory}/body; proxy_temp_path {self.directory}/proxy;
  fastcgi_temp_path {self.directory}/f; uwsgi_temp_path {self.directory}/u; scgi_temp_path {self.directory}/s;
  server {{
    listen 127.0.0.1:{self.port} ssl;
    ssl_certificate {certs}/server.crt; ssl_certificate_key {certs}/server.key;
    ssl_client_certificate {certs}/ca.crt; ssl_verify_client on;
    proxy_set_header Host $http_host;
    location /v2/ {{ proxy_pass {upstream}/v2/; }}
    location /proxy/v2/ {{ if ($http_x_token != "right") {{ return 403; }} proxy_pass {upstream}/v2/; }}
  }}
}}
""")
        self._child = subprocess.Popen([str(program), "-c", str(self.directory / "nginx.conf"), "-e", str(self.directory / "e.log")],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(100):
            if (self.directory / "pid").exists() or self._child.poll() is not None:
                break
            time.sleep(0.05)
        assert self._child.poll() is None, self._child.stderr.read().decode()

    def close(self) -> None:
        self._child.terminate()
        self._child.wait()


def make_certificates(certs: Path) -> None:
    """ca.crt; server.crt and server.key for 127.0.0.1; client.cert and client.key."""
    certs.mkdir()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    (certs / "san").write_text("subjectAltName=IP:127.0.0.1\n")

    def openssl(*words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=certs, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30", "-subj", "/CN=davit test mirror CA")
    for name, out, more in (("server", "server.crt", ["-extfile", "san"]), ("client", "client.cert", [])):
        openssl("req", "-new", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                "-out", out, *more)


class Sources:
    def __init__(self, stage: Stage, secure: Registry, mirror: Mirror, fake: FakeRegistry, digest: str):
        self.stage, self.client = stage, stage.any_client()
        self.work = stage.work / "sources"
        self.certs = stage.work / "certs"
        self.registry_ca = secure.ca
        self.names = {"plain": f"127.0.0.1:{stage.registry.port}", "secure": f"127.0.0.1:{secure.port}",
                      "mirror": f"127.0.0.1:{mirror.port}", "fake": fake.url.split("://")[1], "digest": digest,
                      "certs": str(self.certs)}

    def fill(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return text

    def davit(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(self.stage.engine.bin_dir / "davit"), "--connect", str(self.stage.engine.socket), *words],
                              capture_output=True, text=True, timeout=180)

    def write(self, row: Row) -> None:
        """The files of the row and no others."""
        shutil.rmtree(self.work, ignore_errors=True)
        hosts = self.work / "hosts"
        hosts.mkdir(parents=True)
        (self.work / "registries.conf").write_text(self.fill(row.conf))
        for directory, text in row.hosts.items():
            (hosts / self.fill(directory)).mkdir(parents=True)
            (hosts / self.fill(directory) / "hosts.toml").write_text(self.fill(text))
        for path, source in row.certs.items():
            target = hosts / self.fill(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.registry_ca if source == "registry-ca" else self.certs / source, target)
        auths = {self.fill(name): {"auth": base64.b64encode(pair.encode()).decode()} for name, pair in row.auth.items()}
        (self.work / "auth.json").write_text(json.dumps({"auths": auths}))

    def run(self, row: Row) -> None:
        self.write(row)
        for image in self.client.images():
            self.client.remove_image(image["id"])
        credentials = ["--creds", row.creds] if row.creds else []
        done = self.davit("-o", "json", "image", "pull", "--explain", *credentials, self.fill(row.image))
        answer = json.loads(done.stdout)
        manifests = [a for a in answer["attempts"] if a["askedFor"].startswith("manifest")]
        for place, (endpoint, verdict) in enumerate(row.asked):
            assert place < len(manifests), f"{len(manifests)} were asked: {answer}"
            assert self.fill(endpoint) in manifests[place]["endpoint"], f"{place}: {manifests[place]}"
            assert self.fill(verdict) in manifests[place]["verdict"], f"{place}: {manifests[place]}"
        if row.asked:
            assert len(manifests) <= len(row.asked) * 2, f"others were asked: {manifests}"
            expected = {self.fill(endpoint) for endpoint, _ in row.asked}
            assert len({a["endpoint"] for a in manifests}) == len(expected), f"others were asked: {manifests}"
        for part in row.told:
            assert self.fill(part) in json.dumps(answer), f"{part} is not in {answer}"
        if row.error:
            assert done.returncode != 0, f"it was pulled: {answer}"
            assert self.fill(row.error) in done.stderr, f"{self.fill(row.error)!r} is not in {done.stderr!r}"
            assert not self.client.images()
            return
        assert done.returncode == 0, done.stderr
        [image] = self.client.images()
        assert image["id"] == answer["id"]
        assert "word" not in done.stdout + done.stderr, "a password was shown"


def short_names(sources: Sources) -> None:
    """unqualified-search-registries, aliases and short-name-mode are read at the start of davitd."""
    engine, client = sources.stage.engine, sources.client
    plain = sources.names["plain"]

    def begin(conf: str) -> None:
        sources.write(Row("", "", conf=conf))
        engine.stop()
        engine.start()
        for image in client.images():
            client.remove_image(image["id"])

    search = f'unqualified-search-registries = ["{AWAY}", "{plain}"]\n'
    begin(search + f'[aliases]\n"other" = "{plain}/src/app"\n')
    client.pull("src/app:1")
    assert [i["repoTags"] for i in client.images()] == [[f"{plain}/src/app:1"]], client.images()
    status = json.loads(sources.davit("-o", "json", "image", "status", "src/app:1").stdout)
    assert status["image"]["repoTags"] == [f"{plain}/src/app:1"], status
    client.remove_image("src/app:1")
    assert not client.images()
    client.pull("other:1")
    assert [i["repoTags"] for i in client.images()] == [[f"{plain}/src/app:1"]]
    # Who was asked for the names before is told as well, and gets no credentials that may be another's.
    secure = sources.names["secure"]
    begin(f'unqualified-search-registries = ["{secure}", "{plain}"]\n[[registry]]\nlocation = "{secure}"\ninsecure = true\n')
    done = sources.davit("-o", "json", "image", "pull", "--explain", "--creds", "user:word", "src/app:1")
    assert done.returncode == 0, done.stderr
    manifests = [a for a in json.loads(done.stdout)["attempts"] if a["askedFor"].startswith("manifest")]
    asked = [secure in a["endpoint"] for a in manifests]
    assert asked[0] and len(asked) > 1 and not any(asked[1:]), manifests
    assert "wants credentials" in manifests[0]["verdict"] and manifests[0]["credentials"] == "", manifests
    assert [i["repoTags"] for i in client.images()] == [[f"{plain}/src/app:1"]], client.images()
    begin('short-name-mode = "enforcing"\n' + search)
    done = sources.davit("image", "pull", "src/app:1")
    assert done.returncode != 0 and "may be any of" in done.stderr, done.stderr
    begin("")
    done = sources.davit("image", "pull", "src/app:1")
    assert done.returncode != 0 and "docker.io" in done.stderr, done.stderr


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("sources")
    with reported(report):
        work = paths.scratch("sources-files")
        files = work / "sources"
        extra = (f'[image]\nregistries_conf = "{files}/registries.conf"\nhosts_dirs = ["{files}/hosts"]\n'
                 f'auth_file = "{files}/auth.json"\nstall_timeout_seconds = 5\n')
        with stage_of("sources", args, extra=extra) as stage, \
                Registry(stage.work / "secure", tls=True, user="user", password="word") as secure, FakeRegistry() as fake:
            make_certificates(stage.work / "certs")
            mirror = Mirror(stage, stage.work / "certs")
            try:
                image = images.shell_image(Layer.of([*images.base_entries(busybox()), Entry("big", data=bytes(range(256)) * 4096)]))
                digest = stage.pusher.push(image, "src/app", "1")
                stage.pusher.push(image, "src/hub", "1")
                Pusher(secure.url, "user", "word", secure.ca).push(image, "src/app", "1")
                fake.add("/short/v2/src/app", image, Fault.BLOB_SHORT)
                fake.add("/long/v2/src/app", image, Fault.BLOB_LONG)
                fake.add("/lies/v2/src/app", image, Fault.BLOB_LIES)
                fake.add("/garbage/v2/src/app", image, Fault.NOT_JSON)
                fake.add("/broken/v2/src/app", image, Fault.SERVER_ERROR)
                sources = Sources(stage, secure, mirror, fake, digest)
                sources.work = files
                sources.write(Row("", ""))
                stage.engine.start()
                for row in ROWS:
                    report.run(row.name, lambda row=row: sources.run(row))
                report.run("names without a registry", lambda: short_names(sources))
            finally:
                mirror.close()
        shutil.rmtree(work, ignore_errors=True)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
