#!/usr/bin/env python3
"""Further clients of Docker's and Podman's API against davit-api: terminals, compose, dockerode, podman-py, testcontainers.

tools/bootstrap installs them from Debian, PyPI and npm, and builds compose v2 from its Go module; one that is not here
is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import goldens  # noqa: E402
from api import Api, need  # noqa: E402
from davit_test import paths  # noqa: E402
from davit_test.engine import wait_for  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402
from terminal import Terminal  # noqa: E402

CLIENTS = Path(__file__).resolve().parent / "clients"
COMPOSE = f"""
services:
  db:
    image: {BUSYBOX}
    command: ["sh", "-c", "until test -e /go; do sleep 0.1; done; touch /ready; exec nc -lk -p 7777 -e echo from-db"]
    healthcheck: {{test: ["CMD-SHELL", "touch /go; test -e /ready"], interval: 1s, timeout: 2s, retries: 20}}
    volumes: ["data:/data"]
    environment: {{WHO: db}}
  web:
    image: {BUSYBOX}
    command: ["sh", "-c", "nc db 7777; exec sleep 1000"]
    depends_on: {{db: {{condition: service_healthy}}}}
    ports: ["80"]
    networks: {{default: {{aliases: [site]}}}}
volumes: {{data: {{}}}}
"""


class Walk:
    def __init__(self, stage: Stage, api: Api, update: bool = False):
        self.stage, self.api, self.update = stage, api, update
        self.env = dict(os.environ, DOCKER_HOST=f"unix://{api.socket}", IMAGE=BUSYBOX, TESTCONTAINERS_RYUK_DISABLED="true")

    # ---- terminals ----
    def terminal(self, command: list[str]) -> Terminal:
        return Terminal(command, self.env)

    def shells(self, client: list[str], name: str) -> None:
        """Size, interrupt and exit status of `run -it` and `exec -it`."""
        with self.terminal([*client, "run", "-it", "--rm", "--name", name, BUSYBOX, "sh"]) as shell:
            shell.until(b"# ")
            shell.ask_until(b"stty size\n", b"\n30 100\r")
            shell.resize(41, 77)
            shell.ask_until(b"stty size\n", b"\n41 77\r")
            shell.type(b"echo be'gin'; sleep 1000\n")
            shell.until(b"\nbegin\r")
            shell.ask_until(b"\x03", rb"# ")  # it may come before the program that it is for
            shell.ask_until(b"echo code=$((100+30))\n", b"code=130\r")
            with self.terminal([*client, "exec", "-it", name, "sh"]) as inside:
                inside.until(b"# ")
                inside.ask_until(b"stty size\n", b"\n30 100\r")
                inside.resize(20, 60)
                inside.ask_until(b"stty size\n", b"\n20 60\r")
                inside.type(b"exit 9\n")
                assert inside.end() == 9, inside.seen
            shell.type(b"exit 6\n")
            assert shell.end() == 6, shell.seen

    def docker_terminal(self) -> None:
        need("docker")
        self.shells(["docker"], "tty1")

    def docker_detach(self) -> None:
        """Left by its keys it runs on, with its input open, and is attached to again."""
        need("docker")
        with self.terminal(["docker", "run", "-it", "--rm", "--name", "tty2", BUSYBOX, "sh"]) as shell:
            shell.until(b"# ")
            shell.type(b"\x10\x11")
            assert shell.end() == 0, shell.seen
        assert self.api.docker("ps", "--format", "{{.Names}}") == "tty2\n"
        with self.terminal(["docker", "attach", "--detach-keys", "ctrl-a,x", "tty2"]) as shell:
            shell.ask_until(b"echo $((20+3))\n", b"23\r")
            shell.type(b"\x01x")
            shell.end()
        with self.terminal(["docker", "attach", "tty2"]) as shell:
            shell.ask_until(b"echo $((20+4))\n", b"24\r")
            shell.type(b"exit 5\n")
            assert shell.end() == 5, shell.seen
        wait_for("its removal", lambda: self.api.docker("ps", "-aq") == "", 20)

    def podman_terminal(self) -> None:
        need("podman")
        self.shells(["podman", "--remote", "--url", f"unix://{self.api.socket}"], "tty3")

    # ---- compose ----
    def compose(self, program: str, **env: str) -> None:
        project = self.stage.work / "shop"
        project.mkdir(exist_ok=True)
        (project / "docker-compose.yml").write_text(COMPOSE)
        base = [program, "-f", str(project / "docker-compose.yml")]
        run = lambda *words, **more: self.api.run([*base, *words], env=env, **more)
        try:
            run("up", "-d")
            shown = run("ps")
            assert "healthy" in shown and "->80/tcp" in shown, shown
            wait_for("what the one service says to the other", lambda: "from-db" in run("logs", "--no-color", "web"), 20)
            assert " 0% packet loss" in run("exec", "-T", "web", "ping", "-c1", "-w5", "site")
            before = self.api.docker("ps", "-q", "--no-trunc")
            run("up", "-d")
            assert self.api.docker("ps", "-q", "--no-trunc") == before, "a second `up` made containers anew"
            run("stop", "-t", "1")
            run("start")
            run("down", "-v", "-t", "1")
            for words in (("ps", "-aq", "--filter", "label=com.docker.compose.project"), ("volume", "ls", "-q"), ("network", "ls", "-q", "--filter", "type=custom")):
                assert self.api.docker(*words) == "", words
        finally:
            run("down", "-v", "-t", "0", code=None)

    def compose_1(self) -> None:
        need("docker")
        need("docker-compose")
        # Debian's is written for Debian's Python packages, and not for newer ones beside them.
        self.compose("docker-compose", PYTHONPATH="/usr/lib/python3/dist-packages")

    def compose_2(self) -> None:
        need("docker")
        self.compose(paths.need_tool("docker-compose-v2"))

    # ---- TLS, socket activation ----
    def certificates(self) -> Path:
        """An authority with a server's and a client's certificate, and another authority with its client."""
        need("openssl")
        home = self.stage.work / "pki"
        home.mkdir()
        run = lambda *words: self.api.run(["openssl", *words])
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        (home / "server.ext").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        (home / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
        for authority, peers in (("ca", ("server", "client")), ("other", ("stranger",))):
            run("req", "-x509", *key, "-days", "2", "-subj", f"/CN={authority}", "-keyout", str(home / f"{authority}.key"),
                "-out", str(home / f"{authority}.pem"))
            for peer in peers:
                kind = "server" if peer == "server" else "client"
                run("req", *key, "-subj", f"/CN={peer}", "-keyout", str(home / f"{peer}.key"), "-out", str(home / f"{peer}.csr"))
                run("x509", "-req", "-days", "2", "-in", str(home / f"{peer}.csr"), "-CA", str(home / f"{authority}.pem"),
                    "-CAkey", str(home / f"{authority}.key"), "-CAcreateserial", "-extfile", str(home / f"{kind}.ext"),
                    "-out", str(home / f"{peer}.pem"))
        return home

    def second(self, *flags: str, **spawn: object) -> subprocess.Popen:
        program = paths.find_bin_dir(str(self.stage.engine.bin_dir)) / "davit-api"
        return subprocess.Popen([str(program), "--cri", self.stage.engine.endpoint, "--spool", str(self.stage.work), *flags],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **spawn)

    def tls(self) -> None:
        home = self.certificates()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        unix = str(self.stage.work / "second.sock")
        files = ["--tlscert", str(home / "server.pem"), "--tlskey", str(home / "server.key")]
        for flags in (["--tcp", address], ["--tcp", address, *files]):
            refused = self.second("--listen", unix, *flags)
            out = refused.communicate(timeout=20)[0].decode()
            assert refused.returncode == 1 and "--tlscacert" in out and "certificates" in out, out
        server = self.second("--listen", unix, "--tcp", address, "--tlscacert", str(home / "ca.pem"), *files)
        try:
            curl = ["curl", "-sS", "--cacert", str(home / "ca.pem"), f"https://{address}/_ping"]
            mine = ["--cert", str(home / "client.pem"), "--key", str(home / "client.key")]
            wait_for("the port", lambda: self.api.run([*curl, *mine], code=None).endswith("OK"), 20)
            for words in ([], ["--cert", str(home / "stranger.pem"), "--key", str(home / "stranger.key")]):
                assert "OK" not in self.api.run([*curl, *words], code=None), words
            assert "OK" not in self.api.run(["curl", "-sS", "-m", "5", f"http://{address}/_ping"], code=None)
            if shutil.which("docker"):
                docker = ["docker", "--tlsverify", "-H", f"tcp://{address}", "--tlscacert", str(home / "ca.pem"),
                          "--tlscert", str(home / "client.pem"), "--tlskey", str(home / "client.key")]
                assert self.api.run([*docker, "run", "--rm", BUSYBOX, "echo", "by tls"], env={"DOCKER_HOST": ""}) == "by tls\n"
                typed = self.api.run([*docker, "run", "--rm", "-i", BUSYBOX, "wc", "-c"], stdin="x" * 300000,
                                     env={"DOCKER_HOST": ""})
                assert typed.strip() == "300000", typed
        finally:
            server.terminate()
            server.wait(20)

    def socket_activation(self) -> None:
        """A socket that is passed, as systemd does: LISTEN_PID is the process, so a shell becomes it."""
        path = str(self.stage.work / "passed.sock")
        program = paths.find_bin_dir(str(self.stage.engine.bin_dir)) / "davit-api"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            os.set_inheritable(listener.fileno(), True)
            script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
            server = subprocess.Popen(["sh", "-c", script, str(program), "--cri", self.stage.engine.endpoint],
                                      pass_fds=[listener.fileno()])
            try:
                assert self.api.run(["curl", "-sS", "--unix-socket", path, "http://d/_ping"]) == "OK"
            finally:
                server.terminate()
                server.wait(20)
        assert Path(path).exists(), "a socket that is systemd's was taken away"

    # ---- the published schemas ----
    def schemas(self) -> None:
        published = paths.cache_dir() / "clients" / "docker-v1.44.yaml"
        if not published.exists():
            raise paths.Skip("no schemas of Docker's API (tools/bootstrap takes them from its Go module)")
        try:
            from swagger import Swagger
        except ImportError as missing:
            raise paths.Skip(f"no Python package {missing.name}") from missing
        swagger = Swagger(published)

        def ask(method: str, template: str, status: int = 200, body: dict | None = None, query: str = "", **names: str):
            text = json.dumps(body).encode() if body is not None else b""
            answer = self.api.ask(method, "/v1.44" + template.format(**names) + query, text)
            assert answer.status == status, (method, template, answer.status, answer.body[:300])
            value = answer.json() if answer.body else None
            swagger.check(method, template, status, value)
            return value

        ask("POST", "/networks/create", 201, {"Name": "sch-n"})
        ask("POST", "/volumes/create", 201, {"Name": "sch-v", "Labels": {"a": "b"}})
        made = ask("POST", "/containers/create", 201, {
            "Image": BUSYBOX, "Cmd": ["sh", "-c", "echo a; touch /x; exec sleep 1000"], "Labels": {"a": "b"},
            "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
            "HostConfig": {"Binds": ["sch-v:/v"], "PortBindings": {"80/tcp": [{"HostPort": "0"}]}, "Memory": 67108864},
            "NetworkingConfig": {"EndpointsConfig": {"sch-n": {"Aliases": ["x"]}}}}, query="?name=sch")
        name = {"id": made["Id"]}
        try:
            ask("GET", "/containers/{id}/json", **name)
            ask("POST", "/containers/{id}/start", 204, **name)
            wait_for("a probe", lambda: ask("GET", "/containers/{id}/json", **name)["State"]["Health"]["Status"] == "healthy", 20)
            for path in ("/containers/{id}/json", "/containers/{id}/top", "/containers/{id}/changes"):
                ask("GET", path, **name)
            ask("GET", "/containers/{id}/stats", query="?stream=0", **name)
            ask("GET", "/containers/json", query="?all=1&size=1")
            ran = ask("POST", "/containers/{id}/exec", 201, {"Cmd": ["true"], "AttachStdout": True}, **name)
            ask("GET", "/exec/{id}/json", id=ran["Id"])
            for path in ("/version", "/info", "/system/df", "/volumes", "/networks", "/images/json"):
                ask("GET", path)
            ask("GET", "/volumes/{name}", name="sch-v")
            ask("GET", "/networks/{id}", id="sch-n")
            ask("GET", "/images/{name}/json", name=BUSYBOX)
            ask("GET", "/images/{name}/history", name=BUSYBOX)
            ask("POST", "/containers/{id}/update", body={"RestartPolicy": {"Name": "no"}}, **name)
            ask("POST", "/containers/{id}/kill", 204, **name)
            ask("POST", "/containers/{id}/wait", **name)
            ask("GET", "/containers/{id}/json", **name)
            ask("GET", "/containers/{id}/json", 404, id="nosuch")
            ask("GET", "/images/{name}/json", 404, name="localhost/nosuch")
        finally:
            self.api.ask("DELETE", "/containers/sch?force=1&v=1")
        ask("DELETE", "/networks/{id}", 204, id="sch-n")
        ask("DELETE", "/volumes/{name}", 204, name="sch-v")
        for path in ("/containers/prune", "/volumes/prune", "/networks/prune"):
            ask("POST", path)

    def golden_bodies(self) -> None:
        """Podman publishes no schemas in a package: its bodies are held by files."""
        self.api.ask("POST", "/libpod/pods/create", b'{"name":"gold-pod","labels":{"a":"b"}}')
        self.api.ask("POST", "/libpod/networks/create", b'{"name":"gold-n","labels":{"a":"b"}}')
        self.api.ask("POST", "/libpod/volumes/create", b'{"Name":"gold-v","Label":{"a":"b"}}')
        made = self.api.ask("POST", "/libpod/containers/create", json.dumps({
            "image": BUSYBOX, "command": ["sleep", "1000"], "name": "gold", "hostname": "gold", "env": {"A": "b"},
            "labels": {"a": "b"}, "Networks": {"gold-n": {"aliases": ["x"]}}, "netns": {"nsmode": "bridge"},
            "volumes": [{"Name": "gold-v", "Dest": "/v"}]}).encode())
        assert made.status == 201, made.body
        try:
            for name, path in (("container", "containers/gold/json"), ("pod", "pods/gold-pod/json"),
                               ("network", "networks/gold-n/json"), ("volume", "volumes/gold-v/json"),
                               ("image", f"images/{BUSYBOX}/json"), ("volumes", "volumes/json"),
                               ("containers", "containers/json?all=true&filters=%7B%22name%22%3A%5B%22gold%22%5D%7D"),
                               ("pods", "pods/json"), ("missing", "containers/nosuch/json")):
                body = self.api.ask("GET", f"/v5.0.0/libpod/{path}").json()
                goldens.check(f"libpod-{name}", body, str(self.stage.work), self.update)
        finally:
            for path in ("libpod/pods/gold-pod?force=true", "containers/gold?force=1", "networks/gold-n", "volumes/gold-v"):
                self.api.ask("DELETE", "/" + path)

    # ---- npm, PyPI ----
    def node(self, script: str, package: str) -> None:
        need("node")
        modules = paths.cache_dir() / "clients" / "node_modules"
        if not (modules / package).is_dir():
            raise paths.Skip(f"no npm package {package} (tools/bootstrap installs it)")
        # Modules are looked for beside the script.
        copy = self.stage.work / script
        shutil.copy(CLIENTS / script, copy)
        if not (self.stage.work / "node_modules").exists():
            (self.stage.work / "node_modules").symlink_to(modules)
        self.api.run(["node", str(copy)], env=self.env)

    def python(self, script: str, package: str) -> None:
        program = paths.cache_dir() / "clients" / "python" / "bin" / "python3"
        if not program.exists() or not list(program.parents[1].glob(f"lib/*/site-packages/{package}")):
            raise paths.Skip(f"no Python package {package} (tools/bootstrap installs it)")
        self.api.run([str(program), str(CLIENTS / script)], env=self.env)

    def dockerode(self) -> None:
        self.node("dockerode.js", "dockerode")

    def npm_testcontainers(self) -> None:
        self.node("testcontainers.js", "testcontainers")

    def pypi_testcontainers(self) -> None:
        self.python("testcontainers_walk.py", "testcontainers")

    def pypi_podman(self) -> None:
        self.python("podman_walk.py", "podman")

    def steps(self):
        for name in ("docker_terminal", "docker_detach", "podman_terminal", "compose_1", "compose_2", "tls",
                     "socket_activation", "schemas", "golden_bodies", "dockerode",
                     "npm_testcontainers", "pypi_testcontainers", "pypi_podman"):
            yield name.replace("_", " "), getattr(self, name)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--update-goldens", action="store_true", help="write the golden bodies anew")
    parser.add_argument("--only", default="", help="steps whose names have this text")
    args = parser.parse_args()
    report = Report("api_clients")
    with reported(report):
        with stage_of("apic", args) as stage:
            stage.engine.start()
            api = Api(stage)
            try:
                stage.any_client().pull(BUSYBOX)
                for name, step in Walk(stage, api, args.update_goldens).steps():
                    if args.only in name:
                        report.run(name, step)
                report.run("davit-api lives", api.answers)
            finally:
                api.stop()
            stage.engine.end()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
