"""A stage for suites: a registry with the images, an engine, a client, and everything gone afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import paths
from .cri import Client, DavitClient
from .engine import Containerd, Davitd, Engine, remove_scratch

import images
from oci_image import Pusher
from registry import Registry

BUSYBOX = "registry.k8s.io/e2e-test-images/busybox:1.29-2"


class Stage:
    """`with Stage("name") as stage:` gives stage.engine (not started), stage.registry and stage.client()."""

    def __init__(self, name: str, *, bin_dir: str = "", engine: str = "davit", handler: str = "crun",
                 extra_mirrors: dict[str, str] | None = None, extra: str = ""):
        paths.need_root()
        self.work = paths.scratch(name)
        self._bin_dir = bin_dir
        self._engine_name = engine
        self._handler = handler
        self._extra_mirrors = dict(extra_mirrors or {})
        self._extra = extra
        self.registry = Registry(self.work / "registry")
        self.engine: Engine

    def __enter__(self) -> "Stage":
        try:
            subprocess.run([str(paths.SUPPORT / "cgroups")], check=False, stdout=subprocess.DEVNULL)
            self.registry.start()
            mirrors = {host: self.registry.url for host in images.HOSTS} | self._extra_mirrors
            options = {"mirrors": mirrors, "handler": self._handler}
            if self._engine_name == "containerd":
                self.engine = Containerd(self.work, **options)
            else:
                self.engine = Davitd(self.work, paths.find_bin_dir(self._bin_dir), extra=self._extra, **options)
            self.pusher = Pusher(self.registry.url)
            images.push_all(self.pusher)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "engine"):
            self.engine.destroy()
        self.registry.stop()
        remove_scratch(self.work)

    def client(self, timeout_s: int = 60) -> Client:
        """crictl, which suites that look at its output need."""
        return Client(self.engine.endpoint, timeout_s)

    def any_client(self, timeout_s: int = 60) -> Client:
        """crictl, or the davit command where there is none."""
        if paths.find_tool("crictl") or not isinstance(self.engine, Davitd):
            return self.client(timeout_s)
        return DavitClient(self.engine.endpoint, self.engine.bin_dir, timeout_s)

    def logs(self, pod: str) -> Path:
        directory = self.work / "logs" / pod
        directory.mkdir(parents=True, exist_ok=True)
        return directory
