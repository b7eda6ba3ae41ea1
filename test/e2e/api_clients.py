#!/usr/bin/env python3
"""Further clients of Docker's and Podman's API against davit-api: terminals, compose, dockerode, podman-py, testcontainers.

tools/bootstrap installs them from Debian, PyPI and npm, and builds compose v2 from its Go module; one that is not here
is skipped.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
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
    def __init__(self, stage: Stage, api: Api):
        self.stage, self.api = stage, api
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
            shell.ask_until(b"\x03", rb"\^C")
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
            for words in (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q", "--filter", "type=custom")):
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
        for name in ("docker_terminal", "docker_detach", "podman_terminal", "compose_1", "compose_2", "dockerode",
                     "npm_testcontainers", "pypi_testcontainers", "pypi_podman"):
            yield name.replace("_", " "), getattr(self, name)


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("api_clients")
    with reported(report):
        with stage_of("apic", args) as stage:
            stage.engine.start()
            api = Api(stage)
            try:
                stage.any_client().pull(BUSYBOX)
                for name, step in Walk(stage, api).steps():
                    report.run(name, step)
                report.run("davit-api lives", api.answers)
            finally:
                api.stop()
            stage.engine.end()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
