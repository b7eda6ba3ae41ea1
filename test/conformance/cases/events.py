"""GetContainerEvents: a life told in order, with the statuses of each moment."""

import os
import signal
import threading
import time

from bench import case
from davit_test.grpc_client import CallFailed, pb

CREATED, STARTED, STOPPED, DELETED = range(4)
NAMES = ("created", "started", "stopped", "deleted")


class Listener:
    """Reads a stream in a thread; `take` waits for the next event of one of the ids."""

    def __init__(self, cri, timeout_s: float = 60):
        self.events: list = []
        self.error: CallFailed | None = None
        self._changed = threading.Condition()
        self._stream = cri.call("GetContainerEvents", timeout_s=timeout_s).ready()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except CallFailed as error:
            self.error = error
        with self._changed:
            self._changed.notify_all()

    def wait(self, condition, timeout_s: float = 20) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.events), timeout_s), \
                f"got {[(e.container_id[:6], NAMES[e.container_event_type]) for e in self.events]} {self.error or ''}"

    def until(self, container_id: str, kind: int):
        self.wait(lambda events: any(e.container_id == container_id and e.container_event_type == kind for e in events))

    def kinds(self, container_id: str) -> list[int]:
        return [e.container_event_type for e in self.events if e.container_id == container_id]

    def close(self) -> None:
        self._stream.cancel()
        self._thread.join(10)


@case("events", "the life of a pod and its container, with both statuses in each event")
def life(t):
    listener = Listener(t.cri)
    pod = t.pod()
    box = pod.create("sh", "-c", "exit 3")
    box.start()
    listener.until(box.id, STOPPED)
    box.remove()
    pod.stop()
    pod.remove()
    listener.until(pod.id, DELETED)
    listener.close()
    told = [(e.container_id, e.container_event_type) for e in listener.events]
    assert told == [(pod.id, CREATED), (pod.id, STARTED), (box.id, CREATED), (box.id, STARTED), (box.id, STOPPED),
                    (box.id, DELETED), (pod.id, STOPPED), (pod.id, DELETED)], told
    times = [e.created_at for e in listener.events]
    assert times == sorted(times) and abs(times[0] / 1e9 - time.time()) < 120
    for event in listener.events:
        assert event.pod_sandbox_status.id == pod.id
        assert event.pod_sandbox_status.metadata == pod.config.metadata  # the kubelet takes the pod from here
    states = [[c.state for c in e.containers_statuses] for e in listener.events]
    assert states == [[], [], [pb.CONTAINER_CREATED], [pb.CONTAINER_RUNNING], [pb.CONTAINER_EXITED], [], [], []], states
    assert listener.events[4].containers_statuses[0].exit_code == 3
    pods = [e.pod_sandbox_status.state for e in listener.events]
    assert pods == [pb.SANDBOX_READY] * 6 + [pb.SANDBOX_NOTREADY] * 2, pods


@case("events", "the list after an event is never older than the event")
def list_after_event(t):
    listener = Listener(t.cri)
    pod = t.pod()
    for _ in range(10):
        box = pod.container("true")
        listener.until(box.id, STOPPED)
        assert box.status().state == pb.CONTAINER_EXITED
        box.remove()
        listener.until(box.id, DELETED)
    listener.close()


@case("events", "an OOM kill says so in the event itself")
def oom(t):
    listener = Listener(t.cri)
    limit = 32 << 20
    box = t.run("sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done",
                resources={"memory_limit_in_bytes": limit, "memory_swap_limit_in_bytes": limit})
    listener.until(box.id, STOPPED)
    listener.close()
    status = next(e for e in listener.events if e.container_id == box.id and e.container_event_type == STOPPED)
    mine = [c for c in status.containers_statuses if c.id == box.id]
    assert mine[0].reason == "OOMKilled" and mine[0].exit_code == 137, mine


@case("events", "exec and a change of limits are no events; a stopped pod ends its containers first")
def others(t):
    listener = Listener(t.cri)
    pod = t.pod()
    box = pod.container()
    box.exec("true")
    t.cri.UpdateContainerResources(container_id=box.id, linux={"cpu_shares": 100})
    pod.stop()
    listener.until(pod.id, STOPPED)
    listener.close()
    told = [(e.container_id, e.container_event_type) for e in listener.events]
    assert told[2:] == [(box.id, CREATED), (box.id, STARTED), (box.id, STOPPED), (pod.id, STOPPED)], told


@case("events", "what could not be made has no events")
def failures(t):
    pod = t.pod()
    listener = Listener(t.cri)
    pod.refused("NOT_FOUND", "no image", image="registry.k8s.io/none:1")
    pod.refused("INVALID_ARGUMENT", "/no/such/program", "/no/such/program")
    t.refused_pod("INVALID_ARGUMENT", "hostname", hostname="not a name")
    box = pod.create("true")
    listener.until(box.id, CREATED)
    listener.close()
    assert {e.container_id for e in listener.events} == {box.id}


@case("events", "several subscribers hear the same; one that leaves does not matter")
def several(t):
    leaving = t.cri.GetContainerEvents().ready()
    listeners = [Listener(t.cri) for _ in range(3)]
    pod = t.pod()
    leaving.cancel()
    box = pod.container("true")
    for listener in listeners:
        listener.until(box.id, STOPPED)
        listener.close()
    told = [[(e.container_id, e.container_event_type) for e in listener.events] for listener in listeners]
    assert told[0] == told[1] == told[2] and len(told[0]) == 5, told


@case("events", "a subscriber that does not read is told how many events it has lost", config="[api]\nevent_queue = 16\n")
def slow(t):
    stream = t.cri.GetContainerEvents(timeout_s=150).ready()
    listener = Listener(t.cri, timeout_s=150)
    pod = t.pod(annotations={"fill": "x" * 100_000})
    # Each event carries the pod's annotations: the transport's window is full soon, then the queue.
    boxes = 0
    try:
        while len(listener.events) < 90:
            box = pod.create("true")
            box.remove()
            boxes += 1
            assert boxes < 60
    finally:
        listener.close()
    got = 0
    try:
        for _ in stream:
            got += 1
        raise AssertionError("the stream ended without a word")
    except CallFailed as error:
        assert error.code == "OUT_OF_RANGE" and "events were lost" in error.details, error
        lost = int(error.details.split(" ")[0])
    assert got + lost == 2 + 3 * boxes, f"{got} read + {lost} lost, {2 + 3 * boxes} happened"


@case("events", "after a restart of davitd the exits that it finds are told to who subscribes", config="log_level = \"debug\"\n")
def restart(t):
    pod = t.pod()
    box = pod.container()
    stays = pod.container()
    pid = box.pid
    t.engine.kill()
    os.kill(pid, signal.SIGKILL)
    t.start_engine()
    listener = Listener(t.cri)
    listener.until(box.id, STOPPED)
    listener.close()
    told = [(e.container_id, e.container_event_type) for e in listener.events]
    assert told == [(box.id, STOPPED)], told
    mine = {c.id: c for c in listener.events[0].containers_statuses}
    assert mine[box.id].exit_code == 137 and mine[stays.id].state == pb.CONTAINER_RUNNING


@case("events", "the end of davitd ends the streams", config="log_level = \"debug\"\n")
def shutdown(t):
    listener = Listener(t.cri)
    assert t.engine.stop() == 0
    t.wait_for("the stream ends", lambda: listener.error is not None, 5)
    assert listener.error.code == "UNAVAILABLE", listener.error
    t.start_engine()
