#!/usr/bin/env python3
"""Kills davitd at every named step of every use case; after a restart nothing may be lost or left.

Each use case runs once with DAVIT_FAULT_TRACE to learn its steps, then once per step with
DAVIT_FAULT_KILL, which makes davitd end as by SIGKILL at that step. After a restart the same request is
made again, as the kubelet would; it must succeed, a container that ran meanwhile must still run, and
after clean-up the node must look as before.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test import paths  # noqa: E402
from davit_test.cri import CallError, Client, container_config, pod_config  # noqa: E402
from davit_test.engine import EngineError  # noqa: E402
from davit_test.node import Snapshot, check_leaks  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

KILL_TIMEOUT_S = 3
UPDATED_SHARES = 333
MARKER = "test-image-1"
MARKER_IMAGE = f"gcr.io/k8s-staging-cri-tools/{MARKER}:latest"


@dataclass
class Scene:
    """What one attempt works on; `prepare` of a use case fills it."""

    stage: Stage
    client: Client
    pod: dict = field(default_factory=dict)
    container: dict = field(default_factory=dict)
    pod_id: str = ""
    container_id: str = ""


@dataclass
class UseCase:
    name: str
    prepare: Callable[[Scene], None]
    act: Callable[[Scene], object]
    # Looks at the state after the repeated request; raises when it is wrong.
    check: Callable[[Scene], None]
    # Looks at the state after the restart, before the request is repeated.
    recovered: Callable[[Scene], None] = lambda scene: None


def make_pod(scene: Scene) -> None:
    scene.pod = pod_config("crash", log_directory=str(scene.stage.logs("crash")),
                           port_mappings=[{"container_port": 80, "host_port": 18080}])
    scene.container = container_config("main", BUSYBOX, "sh", "-c", "echo started; exec sleep 100000",
                                       log_path="main.log")


def with_pod(scene: Scene) -> None:
    make_pod(scene)
    scene.pod_id = scene.client.run_pod(scene.pod)


def with_container(scene: Scene) -> None:
    with_pod(scene)
    scene.container_id = scene.client.create(scene.pod_id, scene.container, scene.pod)


def with_running(scene: Scene) -> None:
    with_container(scene)
    scene.client.start(scene.container_id)


def with_stopped(scene: Scene) -> None:
    with_running(scene)
    scene.client.stop(scene.container_id)


def with_stopped_pod(scene: Scene) -> None:
    with_running(scene)
    scene.client.stop_pod(scene.pod_id)


EXISTS = re.compile(r"exists already with id ([0-9a-f]{64})")


def or_existing(make) -> str:
    """A request that was cut after its last step has been done: asked again, it names what is there."""
    try:
        return make()
    except CallError as error:
        found = EXISTS.search(str(error))
        if not found:
            raise
        return found.group(1)


def run_pod(scene: Scene) -> None:
    scene.pod_id = or_existing(lambda: scene.client.run_pod(scene.pod))


def create(scene: Scene) -> None:
    scene.container_id = or_existing(lambda: scene.client.create(scene.pod_id, scene.container, scene.pod))


def start_again(scene: Scene) -> None:
    """A start that was cut may have happened: the kubelet then sees a running container."""
    if state_of(scene) == "CONTAINER_RUNNING":
        return
    scene.client.start(scene.container_id)


def remove_again(scene: Scene) -> None:
    """crictl asks for the status first and takes a container that is gone for an error."""
    if state_of(scene):
        scene.client.remove(scene.container_id)


def stop_pod_again(scene: Scene) -> None:
    if pod_states(scene):
        scene.client.stop_pod(scene.pod_id)


def remove_pod_again(scene: Scene) -> None:
    if pod_states(scene):
        scene.client.remove_pod(scene.pod_id)


def pod_states(scene: Scene) -> list[str]:
    return [p["state"] for p in scene.client.pods() if p["id"] == scene.pod_id]


def state_of(scene: Scene) -> str:
    states = [c["state"] for c in scene.client.containers() if c["id"] == scene.container_id]
    return states[0] if states else ""


def one_pod(scene: Scene) -> None:
    mine = [p for p in scene.client.pods() if p["metadata"]["name"] == "crash"]
    ready = [p for p in mine if p["state"] == "SANDBOX_READY"]
    assert len(ready) == 1 and len(mine) == 1, f"pods named crash: {[(p['id'][:12], p['state']) for p in mine]}"
    assert ready[0]["id"] == scene.pod_id, f"listed {ready[0]['id'][:12]}, returned {scene.pod_id[:12]}"


def one_container(scene: Scene) -> None:
    mine = [c for c in scene.client.containers() if c["podSandboxId"] == scene.pod_id]
    assert len(mine) == 1, f"containers in the pod: {[(c['id'][:12], c['state']) for c in mine]}"
    assert mine[0]["id"] == scene.container_id, "another container than the call returned"


def running(scene: Scene) -> None:
    one_container(scene)
    assert state_of(scene) == "CONTAINER_RUNNING", f"state {state_of(scene)}"
    out = scene.client.exec_sync(scene.container_id, "echo", "alive")
    assert out.strip() == "alive", f"exec gave {out!r}"


def exited(scene: Scene) -> None:
    assert state_of(scene) == "CONTAINER_EXITED", f"state {state_of(scene)}"


def container_gone(scene: Scene) -> None:
    assert state_of(scene) == "", f"state {state_of(scene)}"


def pod_not_ready(scene: Scene) -> None:
    assert pod_states(scene) == ["SANDBOX_NOTREADY"], f"states {pod_states(scene)}"


def pod_gone(scene: Scene) -> None:
    assert pod_states(scene) == [], f"states {pod_states(scene)}"


def update(scene: Scene) -> None:
    scene.client.call("update", "--cpu-share", str(UPDATED_SHARES), "--cpu-quota", "20000", "--cpu-period", "50000",
                      scene.container_id)


def cpu_limits(scene: Scene) -> tuple[list[str], list[str]]:
    """Shares and quota as the status shows them and as the cgroup has them; kernel defaults where none is set."""
    shown = scene.client.container_status(scene.container_id)["resources"]["linux"]
    status = [str(int(shown.get("cpuShares") or 0) or 1024), str(int(shown.get("cpuQuota") or 0) or -1)]
    for line in Path(f"/proc/{scene.client.container_pid(scene.container_id)}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            directory = Path("/sys/fs/cgroup") / controllers / path.lstrip("/")
            return status, [(directory / name).read_text().strip() for name in ("cpu.shares", "cpu.cfs_quota_us")]
    raise paths.Skip("no cpu controller of cgroup version 1")


def updated(scene: Scene) -> None:
    running(scene)
    status, files = cpu_limits(scene)
    assert status == files == [str(UPDATED_SHARES), "20000"], f"status {status}, cgroup {files}"


def wholly_or_not(scene: Scene) -> None:
    """After the restart, before the request comes again: all old or all new, in the record and in the cgroup."""
    status, files = cpu_limits(scene)
    assert status == files, f"status {status}, cgroup {files}"
    assert files in ([str(UPDATED_SHARES), "20000"], ["1024", "-1"]), f"half of each: {files}"


def no_marker_image(scene: Scene) -> None:
    if any(MARKER_IMAGE in (i.get("repoTags") or []) for i in scene.client.images()):
        scene.client.remove_image(MARKER_IMAGE)


def image_usable(scene: Scene) -> None:
    """The image is listed once and a container made of it has the file of its last layer."""
    found = [i for i in scene.client.images() if MARKER_IMAGE in (i.get("repoTags") or [])]
    assert len(found) == 1, f"listed {len(found)} times"
    make_pod(scene)
    scene.pod_id = scene.client.run_pod(scene.pod)
    scene.container["image"]["image"] = MARKER_IMAGE
    create(scene)
    scene.client.start(scene.container_id)
    out = scene.client.exec_sync(scene.container_id, "cat", "/marker-1")
    assert out.strip() == "1", f"marker file holds {out!r}"


def with_marker_image(scene: Scene) -> None:
    scene.client.pull(MARKER_IMAGE)


def remove_image_again(scene: Scene) -> None:
    no_marker_image(scene)


MAPPING = [{"host_id": 200_000, "container_id": 0, "length": 65_536}]


def make_mapped_pod(scene: Scene) -> None:
    """A pod with a user namespace, and a container with a mapped volume and two image volumes in it."""
    make_pod(scene)
    volume = scene.stage.work / "mapped-volume"
    volume.mkdir(exist_ok=True)
    volume.chmod(0o755)
    options = {"userns_options": {"mode": 0, "uids": MAPPING, "gids": MAPPING}}
    linux = scene.pod.setdefault("linux", {})
    linux.setdefault("security_context", {}).setdefault("namespace_options", {}).update(options)
    scene.container["mounts"] = [
        {"host_path": str(volume), "container_path": "/volume", "uidMappings": MAPPING, "gidMappings": MAPPING},
        {"container_path": "/image", "image": {"image": MARKER_IMAGE}, "readonly": True},
        {"container_path": "/sub", "image": {"image": MARKER_IMAGE}, "image_sub_path": "bin", "readonly": True},
    ]


def with_mapped_pod(scene: Scene) -> None:
    scene.client.pull(MARKER_IMAGE)
    make_mapped_pod(scene)
    scene.pod_id = scene.client.run_pod(scene.pod)


def with_stopped_mapped(scene: Scene) -> None:
    with_mapped_pod(scene)
    scene.container_id = scene.client.create(scene.pod_id, scene.container, scene.pod)
    scene.client.start(scene.container_id)
    scene.client.stop(scene.container_id)


def with_stopped_mapped_pod(scene: Scene) -> None:
    with_stopped_mapped(scene)
    scene.client.stop_pod(scene.pod_id)


def with_mapped(scene: Scene) -> None:
    with_mapped_pod(scene)
    create(scene)


def mapped(scene: Scene) -> None:
    one_container(scene)
    out = scene.client.exec_sync(scene.container_id, "sh", "-c", "cat /image/marker-1; stat -c %u /volume; cat /proc/self/uid_map")
    assert out.split() == ["1", "0", "0", "200000", "65536"], f"the container shows {out!r}"


USE_CASES = [
    UseCase("pull", no_marker_image, lambda s: s.client.pull(MARKER_IMAGE), image_usable),
    UseCase("remove-image", with_marker_image, remove_image_again, lambda s: None),
    UseCase("run-pod", make_pod, run_pod, one_pod),
    UseCase("create", with_pod, create, one_container),
    UseCase("start", with_container, start_again, running),
    UseCase("update", with_running, update, updated, recovered=wholly_or_not),
    UseCase("stop", with_running, lambda s: s.client.stop(s.container_id, 1), exited),
    UseCase("remove", with_stopped, remove_again, container_gone),
    UseCase("stop-pod", with_running, stop_pod_again, pod_not_ready),
    UseCase("remove-pod", with_stopped_pod, remove_pod_again, pod_gone),
    UseCase("run-mapped-pod", make_mapped_pod, run_pod, one_pod),
    UseCase("create-mapped", with_mapped_pod, create, one_container),
    UseCase("start-mapped", with_mapped, start_again, mapped),
    UseCase("remove-mapped", with_stopped_mapped, remove_again, container_gone),
    UseCase("remove-mapped-pod", with_stopped_mapped_pod, remove_pod_again, pod_gone),
]


class CrashTest:
    def __init__(self, stage: Stage, report: Report):
        self.stage = stage
        self.report = report
        self.client = stage.any_client()
        self.watch = stage.engine.watch()
        # Blobs and layers of the image that comes and goes must go with it.
        self.watch.folders += (stage.engine.root / "content", stage.engine.root / "layers")
        self.witness = ""
        self.witness_pid = 0

    def begin(self) -> None:
        """Starts the engine and the container that has to survive everything."""
        self.stage.engine.start()
        self.client.pull(BUSYBOX)
        pod = pod_config("witness", log_directory=str(self.stage.logs("witness")))
        pod_id = self.client.run_pod(pod)
        self.witness = self.client.create(pod_id, container_config("witness", BUSYBOX, "sleep", "100000"), pod)
        self.client.start(self.witness)
        self.witness_pid = self.client.container_pid(self.witness)
        self.baseline = Snapshot.take(self.watch)

    def check_witness(self) -> None:
        states = [c["state"] for c in self.client.containers() if c["id"] == self.witness]
        assert states == ["CONTAINER_RUNNING"], f"the running container is now {states}"
        out = self.client.exec_sync(self.witness, "echo", "alive")
        assert out.strip() == "alive", f"exec in the running container gave {out!r}"
        if self.witness_pid:
            assert self.client.container_pid(self.witness) == self.witness_pid, "the running container has another pid"

    def steps_of(self, case: UseCase) -> list[str]:
        """The fault points that the request itself passes, in order, each once."""
        trace = self.stage.work / f"trace-{case.name}"
        trace.write_text("")
        self.restart({"DAVIT_FAULT_TRACE": str(trace)})
        scene = Scene(self.stage, self.client)
        case.prepare(scene)
        before = len(trace.read_text().splitlines())
        case.act(scene)
        case.check(scene) if case.name != "pull" else None
        names = trace.read_text().splitlines()[before:]
        self.clean()
        return list(dict.fromkeys(names))

    def restart(self, env: dict[str, str] | None = None) -> None:
        self.stage.engine.stop()
        self.stage.engine.start(env=env)

    def clean(self) -> None:
        for pod in self.client.pods():
            if pod["metadata"]["name"] != "witness":
                self.client.stop_pod(pod["id"])
                self.client.remove_pod(pod["id"], force=True)
        no_marker_image(Scene(self.stage, self.client))

    def kill_at(self, case: UseCase, step: str) -> None:
        self.stage.engine.stop()
        self.stage.engine.start()
        scene = Scene(self.stage, self.client)
        case.prepare(scene)
        self.stage.engine.stop()
        killed, failed = self.act_until_killed(case, scene, step)
        if not self.stage.engine.alive():
            self.stage.engine.start()
        elif not failed:
            self.clean()
            raise paths.Skip(f"the step {step} was not reached after a restart")
        else:
            # A helper process passed the step and ended; the daemon has to cope, and a restart too.
            self.stage.engine.kill()
            self.stage.engine.start()
        self.check_witness()
        case.recovered(scene)
        case.act(scene)
        case.check(scene)
        self.check_witness()
        self.clean()
        check_leaks(self.baseline, self.watch, timeout_s=15)

    def act_until_killed(self, case: UseCase, scene: Scene, step: str) -> tuple[bool, bool]:
        """(davitd was killed, the request failed)."""
        engine = self.stage.engine
        try:
            engine.start(env={"DAVIT_FAULT_KILL": step})
        except EngineError:
            return True, True  # the step is part of starting, too
        failed = False
        try:
            case.act(scene)
        except CallError:
            failed = True
        try:
            return engine.wait_killed(KILL_TIMEOUT_S), failed
        except AssertionError:
            return True, failed

    def recover(self) -> None:
        """After a failed case: a fresh start, so that one failure does not fail the rest."""
        self.stage.engine.kill()
        self.stage.engine.start()
        self.clean()
        self.baseline = Snapshot.take(self.watch)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--use-case", action="append", choices=[c.name for c in USE_CASES], help="default: all")
    parser.add_argument("--step", default="", help="only this fault point")
    args = parser.parse_args()
    report = Report("crash")
    cases = [c for c in USE_CASES if not args.use_case or c.name in args.use_case]
    with reported(report), stage_of("crash", args) as stage:
        test = CrashTest(stage, report)
        test.begin()
        for case in cases:
            steps: list[str] = []
            if not report.run(f"{case.name} traced", lambda: steps.extend(test.steps_of(case))):
                test.recover()
                continue
            if not steps:
                report.add_failure(case.name, "no fault point was passed")
            for step in steps:
                if args.step and step != args.step:
                    continue
                if not report.run(f"{case.name} killed at {step}", lambda: test.kill_at(case, step)):
                    test.recover()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
