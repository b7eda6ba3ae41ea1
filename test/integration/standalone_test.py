#!/usr/bin/env python3
"""Standalone pods and containers: made, started again, restarted by policy, checked, paused, kept over davitd's death."""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from davit_test.engine import wait_for  # noqa: E402
from davit_test.grpc_client import GrpcClient, control, pb  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import BUSYBOX, Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

ENDS_S = 30
standalone = control("standalone")
CREATED, RUNNING, PAUSED, RESTARTING, _REMOVING, EXITED, _DEAD = range(7)


class Desk:
    """What a client of StandaloneService does, each step with its effect."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.call = GrpcClient(stage.engine.socket, messages=standalone)
        self.cri = GrpcClient(stage.engine.socket)
        self.cri.PullImage(image={"image": BUSYBOX})

    def reconnect(self) -> None:
        self.call.reconnect()
        self.cri.reconnect()

    def create(self, *command: str, name: str = "", pod: str = "", host_network: bool = True, config: dict | None = None,
               **more) -> str:
        """A container of its own pod, on the node's network unless it is about networks."""
        namespaces = {"pid": "CONTAINER", **({"network": "NODE"} if host_network else {})}
        request = {
            "config": {"image": {"image": BUSYBOX}, "command": list(command),
                       "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}}, **(config or {})},
            "options": {"name": name or f"c{uuid.uuid4().hex[:10]}", **more},
        }
        if pod:
            request["pod"] = pod
        else:
            request["pod_config"] = {"linux": {"security_context": {"namespace_options": namespaces}}}
        return self.call.CreateContainer(**request).container_id

    def run(self, *command: str, **more) -> str:
        made = self.create(*command, **more)
        assert self.call.StartContainer(container=made).started
        return made

    def show(self, container: str):
        return self.call.ListContainers(containers=[container], full=True).containers[0]

    def reaches(self, container: str, state: int):
        wait_for(f"state {state} of {container[:12]}", lambda: self.show(container).state == state, ENDS_S)
        return self.show(container)

    def log(self, container: str) -> str:
        text = Path(self.show(container).log_path).read_text()
        return "".join(line.split(" ", 3)[3] for line in text.splitlines(keepends=True))

    def wait(self, container: str, condition: int = 0) -> int:
        answers = list(self.call.WaitContainer(container=container, condition=condition))
        assert answers[-1].done, answers
        return answers[-1].exit_code

    def gone(self, container: str) -> bool:
        return container not in [c.id for c in self.call.ListContainers().containers]


def runs_again_with_its_files(desk: Desk) -> None:
    box = desk.create("sh", "-c", "echo x >> /count; wc -l < /count; exit 3")
    shown = desk.show(box)
    assert shown.state == CREATED and shown.started_at == 0 and shown.finished_at == 0, shown
    for run in (1, 2, 3):
        assert desk.call.StartContainer(container=box).started
        assert desk.wait(box, 4) == 3
        shown = desk.reaches(box, EXITED)
        assert shown.exit_code == 3 and shown.pid == 0
        assert desk.log(box).split() == [str(n) for n in range(1, run + 1)], desk.log(box)
    desk.call.RemoveContainer(container=box)
    assert desk.gone(box) and not Path(shown.log_path).exists()


def kubelet_does_not_see_it(desk: Desk) -> None:
    before = len(desk.cri.ListPodSandbox().items)
    events = desk.cri.call("GetContainerEvents", timeout_s=60)
    with events.ready():
        box = desk.run("sleep", "1000")
        assert not [c for c in desk.cri.ListContainers().containers if c.id == box]
        assert len(desk.cri.ListPodSandbox().items) == before
        assert not [s for s in desk.cri.ListContainerStats().stats if s.attributes.id == box]
        image = desk.cri.ImageStatus(image={"image": BUSYBOX}).image
        assert image.pinned, "the kubelet's garbage collection would take it"
        # By its id it can be asked for all the same: that is how clients exec and read statistics.
        assert desk.cri.ContainerStatus(container_id=box).status.state == pb.CONTAINER_RUNNING
        assert desk.cri.ExecSync(container_id=box, cmd=["echo", "hi"], timeout=10).stdout == b"hi\n"
        desk.call.RemoveContainer(container=box, force=True)
        # The next thing that CRI hears of is the next pod of its own.
        pod = desk.cri.RunPodSandbox(config={"metadata": {"name": "p", "namespace": "n", "uid": uuid.uuid4().hex},
                                             "linux": {"security_context": {"namespace_options": {"network": "NODE"}}}})
        assert next(events).container_id == pod.pod_sandbox_id
        desk.call.refused("RemovePod", "PERMISSION_DENIED", "kubelet", pod=pod.pod_sandbox_id)
        desk.cri.RemovePodSandbox(pod_sandbox_id=pod.pod_sandbox_id)
    assert not desk.cri.ImageStatus(image={"image": BUSYBOX}).image.pinned


def names(desk: Desk) -> None:
    box = desk.run("sleep", "1000", name="one")
    desk.call.refused("CreateContainer", "ALREADY_EXISTS", "one", box, config={"image": {"image": BUSYBOX}},
                      options={"name": "one"}, pod_config={})
    desk.call.refused("CreateContainer", "INVALID_ARGUMENT", "a b", config={"image": {"image": BUSYBOX}},
                      options={"name": "a b"}, pod_config={})
    desk.call.RenameContainer(container="one", name="two")
    assert desk.show("two").id == box and desk.show(box[:8]).name == "two"
    desk.call.refused("StopContainer", "NOT_FOUND", "one", container="one")
    other = desk.create("true", name="one")
    desk.call.refused("RenameContainer", "ALREADY_EXISTS", "two", container="one", name="two")
    for made in (box, other):
        desk.call.RemoveContainer(container=made, force=True)


def image_missing(desk: Desk) -> None:
    desk.call.refused("CreateContainer", "NOT_FOUND", "no-such", config={"image": {"image": "localhost/no-such:1"}},
                      options={"name": "x"}, pod_config={})
    assert not [p for p in desk.call.ListPods().pods if p.standalone], "a pod was left"


def stop_and_kill(desk: Desk) -> None:
    box = desk.run("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.1; done")
    desk.call.refused("RemoveContainer", "FAILED_PRECONDITION", "running", container=box)
    time.sleep(0.3)  # until the shell has set its trap
    assert desk.call.StopContainer(container=box).stopped
    assert desk.show(box).exit_code == 7
    assert not desk.call.StopContainer(container=box).stopped
    desk.call.refused("KillContainer", "FAILED_PRECONDITION", "not running", container=box)
    desk.call.StartContainer(container=box)
    assert not desk.call.StartContainer(container=box).started
    desk.call.refused("KillContainer", "INVALID_ARGUMENT", "SIGNONE", container=box, signal="SIGNONE")
    desk.call.KillContainer(container=box, signal="KILL")
    assert desk.wait(box) == 137
    desk.call.RemoveContainer(container=box)


def its_pod_goes_with_the_run(desk: Desk) -> None:
    """Between two runs nothing of the node is held: neither namespaces nor mounts nor a cgroup."""
    before = desk.stage.engine.snapshot()
    box = desk.create("true")
    desk.call.StartContainer(container=box)
    desk.wait(box, 4)
    wait_for("the pod's end", lambda: not desk.call.ListPods().pods[0].ready, ENDS_S)
    desk.call.RemoveContainer(container=box)
    assert not desk.call.ListPods().pods
    desk.stage.engine.check_leaks(before)


def cannot_start(desk: Desk) -> None:
    box = desk.create("/no/such/program")
    error = desk.call.refused("StartContainer", "FAILED_PRECONDITION", "no/such/program", container=box)
    shown = desk.show(box)
    assert shown.state == CREATED and shown.exit_code == 127 and "no/such/program" in shown.error, (shown, error)
    desk.call.RemoveContainer(container=box)
    box = desk.create("/no/such/program", auto_remove=True)
    desk.call.refused("StartContainer", "FAILED_PRECONDITION", container=box)
    wait_for("its automatic removal", lambda: desk.gone(box), ENDS_S)


def auto_remove(desk: Desk) -> None:
    box = desk.create("sh", "-c", "exit 5", auto_remove=True)
    waiting = desk.call.WaitContainer(container=box, condition=2)
    assert not next(waiting).done  # the wait has begun
    desk.call.StartContainer(container=box)
    last = next(waiting)
    assert last.done and last.exit_code == 5 and desk.gone(box)
    assert desk.wait(box) == 5, "the exit code is kept for a while"
    wait_for("the pod's removal", lambda: not desk.call.ListPods().pods, ENDS_S)


def policies(desk: Desk) -> None:
    box = desk.run("sh", "-c", "exit 1", restart={"name": "on-failure", "maximum_retries": 2})
    assert desk.wait(box, 4) == 1
    shown = desk.reaches(box, EXITED)
    assert shown.restart_count == 2, shown
    always = desk.run("sh", "-c", "echo run; sleep 0.1", restart={"name": "always"})
    wait_for("three runs", lambda: desk.log(always).count("run") >= 3, ENDS_S)
    desk.call.StopContainer(container=always, timeout_seconds=0)
    runs = desk.log(always).count("run")
    shown = desk.reaches(always, EXITED)
    time.sleep(1)
    assert desk.log(always).count("run") == runs, "stopped, and started again"
    killed = desk.run("sleep", "1000", restart={"name": "unless-stopped"})
    pid = desk.show(killed).pid
    os.kill(pid, signal.SIGKILL)  # not by a client: the policy counts
    wait_for("its next run", lambda: desk.show(killed).pid not in (0, pid), ENDS_S)
    for made in (box, always, killed):
        desk.call.RemoveContainer(container=made, force=True)


def pause(desk: Desk) -> None:
    box = desk.run("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    wait_for("output", lambda: desk.log(box), ENDS_S)
    desk.call.PauseContainer(container=box)
    assert desk.show(box).state == PAUSED
    desk.call.refused("PauseContainer", "FAILED_PRECONDITION", "paused", container=box)
    desk.call.refused("Exec", "FAILED_PRECONDITION", "paused", container=box, command=["true"], stdout=True)
    stands = desk.log(box)
    time.sleep(0.5)
    assert desk.log(box) == stands
    desk.call.UnpauseContainer(container=box)
    wait_for("more output", lambda: len(desk.log(box)) > len(stands), ENDS_S)
    desk.call.PauseContainer(container=box)
    assert desk.call.StopContainer(container=box, timeout_seconds=1).stopped, "a paused one can be stopped"
    desk.call.RemoveContainer(container=box)


def prepared(desk: Desk) -> None:
    """Attach before the start misses nothing; a stop of what only waits takes it down."""
    box = desk.create("echo", "first words", host_network=True)
    desk.call.PrepareContainer(container=box)
    assert desk.show(box).state == CREATED
    assert desk.cri.Attach(container_id=box, stdout=True).url
    desk.call.StartContainer(container=box)
    desk.wait(box, 4)
    assert desk.log(box) == "first words\n"
    desk.call.PrepareContainer(container=box)
    desk.call.StopContainer(container=box)
    desk.call.RemoveContainer(container=box)


def health(desk: Desk) -> None:
    box = desk.run("sleep", "1000", health={"test": ["CMD-SHELL", "test -e /healthy"], "interval": 50_000_000,
                                            "retries": 2})
    assert desk.show(box).health.status in ("starting", "unhealthy")
    wait_for("unhealthy", lambda: desk.show(box).health.status == "unhealthy", ENDS_S)
    waiting = desk.call.WaitContainer(container=box, condition=5)
    next(waiting)
    desk.cri.ExecSync(container_id=box, cmd=["touch", "/healthy"], timeout=10)
    assert next(waiting).done and desk.show(box).health.status == "healthy"
    assert desk.call.CheckHealth(container=box).health.log[-1].exit_code == 0
    desk.call.RemoveContainer(container=box, force=True)
    ends = desk.run("sleep", "1000", health={"test": ["CMD", "false"], "interval": 50_000_000, "retries": 1,
                                             "on_failure": "kill"})
    desk.wait(ends, 4)
    desk.call.RemoveContainer(container=ends, force=True)


def pods(desk: Desk) -> None:
    pod = desk.call.CreatePod(config={"metadata": {"name": "team"},
                                      "linux": {"security_context": {"namespace_options": {"network": "NODE",
                                                                                           "pid": "CONTAINER"}}}}).pod_id
    shown = desk.call.ListPods(pods=["team"]).pods[0]
    assert shown.id == pod and not shown.ready and not shown.started_once and not shown.implicit
    desk.call.refused("CreatePod", "ALREADY_EXISTS", "team", config={"metadata": {"name": "team"}})
    one = desk.create("sleep", "1000", pod="team")
    two = desk.create("sleep", "1000", pod="team")
    assert desk.call.StartPod(pod="team").started and not desk.call.StartPod(pod="team").started
    for made in (one, two):
        desk.call.StartContainer(container=made)
    desk.call.refused("RemovePod", "FAILED_PRECONDITION", "running", pod="team")
    assert desk.call.StopPod(pod="team", timeout_seconds=0).stopped
    assert [desk.show(made).state for made in (one, two)] == [EXITED, EXITED]
    assert not desk.call.ListPods(pods=["team"]).pods[0].ready
    desk.call.StartContainer(container=one)  # and the pod with it
    assert desk.call.ListPods(pods=["team"]).pods[0].ready
    removed = desk.call.RemovePod(pod="team", force=True).removed_containers
    assert sorted(removed) == sorted([one, two]) and desk.gone(one) and desk.gone(two)


def update(desk: Desk) -> None:
    box = desk.create("sleep", "1000")
    desk.call.UpdateContainer(container=box, resources={"memory_limit_in_bytes": 64 << 20}, restart={"name": "always"})
    shown = desk.show(box)
    assert shown.config.linux.resources.memory_limit_in_bytes == 64 << 20
    assert shown.options.restart.name == "always"
    desk.call.StartContainer(container=box)
    desk.call.UpdateContainer(container=box, resources={"memory_limit_in_bytes": 128 << 20})
    assert desk.show(box).config.linux.resources.memory_limit_in_bytes == 128 << 20
    desk.call.refused("UpdateContainer", "INVALID_ARGUMENT", "sometimes", container=box, restart={"name": "sometimes"})
    desk.call.RemoveContainer(container=box, force=True)


def exec_as(desk: Desk) -> None:
    box = desk.run("sleep", "1000")
    for bad, word in (({"user": "nobody-knows"}, ""), ({"working_dir": "relative"}, ""), ({"envs": ["NONAME"]}, "")):
        assert desk.call.Exec(container=box, command=["true"], stdout=True, **bad).url  # told when it is run
    desk.call.refused("Exec", "INVALID_ARGUMENT", "cmd", container=box, stdout=True)
    assert desk.call.ListProcesses(container=box).pids == [desk.show(box).pid]
    desk.call.RemoveContainer(container=box, force=True)


def events(desk: Desk) -> None:
    begin = time.time_ns()
    box = desk.run("sh", "-c", "exit 4", config={"labels": {"team": "blue"}})
    desk.wait(box, 4)
    desk.call.RemoveContainer(container=box)
    told = [e for e in desk.call.Events(since=begin, no_follow=True) if e.id == box]
    assert [e.action for e in told] == ["create", "start", "die", "destroy"], told
    assert told[2].attributes["exitCode"] == "4" and told[0].attributes["team"] == "blue" and told[0].standalone


def survives_davitd(desk: Desk) -> None:
    engine = desk.stage.engine
    keeps = desk.run("sleep", "1000", name="keeps")
    pid = desk.show(keeps).pid
    once = desk.run("sleep", "1000", auto_remove=True)
    again = desk.run("sh", "-c", "echo run; sleep 1000", restart={"name": "always"}, name="again")
    ending = [desk.show(once).pid, desk.show(again).pid]
    fresh = desk.create("echo", "later")
    engine.kill()
    for one in ending:
        os.kill(one, signal.SIGKILL)  # they end while no davitd is there
    engine.start()
    desk.reconnect()
    shown = desk.show("keeps")
    assert shown.state == RUNNING and shown.pid == pid, shown
    wait_for("the automatic removal that was owed", lambda: desk.gone(once), ENDS_S)
    wait_for("a further run", lambda: desk.log(again).count("run") >= 2, ENDS_S)
    assert desk.show(fresh).state == CREATED
    desk.call.StartContainer(container=fresh)
    desk.wait(fresh, 4)
    assert desk.log(fresh) == "later\n"
    for made in (keeps, again, fresh):
        desk.call.RemoveContainer(container=made, force=True)


def killed_at_every_step(desk: Desk) -> None:
    """SIGKILL of davitd between two steps of a start: the container is there, startable, and nothing is left of it."""
    engine = desk.stage.engine
    before = engine.snapshot()
    points = ["standalone.pod.defined", "standalone.container.defined", "pod.run.intent", "pod.run.namespaces",
              "pod.run.shm", "pod.run.ready", "container.create.intent", "container.create.rootfs",
              "container.create.monitor", "container.create.created", "container.start.begin",
              "container.start.monitor", "container.start.running", "container.exit.recorded",
              "container.remove.intent", "container.destroy.unmount", "container.remove.destroyed",
              "standalone.container.removed", "pod.remove.destroyed"]
    for number, point in enumerate(points):
        name = f"step{number}"
        assert engine.stop() == 0
        engine.start(env={"DAVIT_FAULT_KILL": point})
        desk.reconnect()
        try:
            box = desk.create("true", name=name)
            desk.call.call("StartContainer", timeout_s=20, container=name)
            desk.wait(box, 4)
            desk.call.call("RemoveContainer", timeout_s=20, container=name, force=True)
        except AssertionError:
            pass
        assert engine.wait_killed(), f"davitd did not come by {point}"
        engine.start()
        desk.reconnect()
        left = [c.id for c in desk.call.ListContainers().containers if c.name == name]
        if left:
            if desk.show(name).state in (CREATED, EXITED):
                desk.call.StartContainer(container=name)
            assert desk.wait(name, 4) == 0, point
            desk.call.RemoveContainer(container=name, force=True)
        wait_for(f"no pod left, {point}", lambda: not desk.call.ListPods().pods, ENDS_S)
    engine.check_leaks(before)


CASES = [runs_again_with_its_files, kubelet_does_not_see_it, names, image_missing, stop_and_kill,
         its_pod_goes_with_the_run, cannot_start, auto_remove, policies, pause, prepared, health, pods, update, exec_as,
         events, survives_davitd, killed_at_every_step]


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--focus", default="", help="only the cases with this in their names")
    args = parser.parse_args()
    report = Report("standalone")
    with reported(report), stage_of("standalone", args) as stage:
        stage.engine.start()
        desk = Desk(stage)
        for case in CASES:
            if args.focus in case.__name__:
                report.run(case.__name__.replace("_", " "), lambda case=case: case(desk))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
