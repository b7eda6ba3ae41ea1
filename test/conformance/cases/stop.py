"""StopContainer: who decides how long a container may take."""

import os
import signal
import threading

from bench import case
from davit_test.grpc_client import CallFailed, pb

DEAF = "trap 'echo term' TERM; echo deaf; while :; do sleep 0.1; done"


def stop_in_thread(box, grace_s: int) -> threading.Thread:
    thread = threading.Thread(target=box.stop, args=(grace_s,))
    thread.start()
    return thread


@case("stop", "a later request with a shorter grace shortens the stop that is under way")
def shortened(t):
    box = t.run("sh", "-c", DEAF)
    t.wait_for("it is deaf", lambda: "deaf" in box.log())
    first = stop_in_thread(box, 300)
    t.wait_for("it was asked to end", lambda: "term" in box.log())
    second = stop_in_thread(box, 200)  # shorter, and still too long
    second.join(1)
    assert first.is_alive() and second.is_alive() and box.status().state == pb.CONTAINER_RUNNING
    box.stop(0)
    first.join(10)
    second.join(10)
    assert not first.is_alive() and not second.is_alive()
    assert box.status().exit_code == 137


@case("stop", "a later request with a longer grace does not lengthen it")
def not_lengthened(t):
    box = t.run("sh", "-c", DEAF)
    t.wait_for("it is deaf", lambda: "deaf" in box.log())
    first = stop_in_thread(box, 2)
    t.wait_for("it was asked to end", lambda: "term" in box.log())
    second = stop_in_thread(box, 300)
    first.join(20)
    second.join(20)
    assert not first.is_alive() and not second.is_alive()
    assert box.status().exit_code == 137


@case("stop", "a monitor that was stopped (SIGSTOP) keeps nobody: stop and both removals work without it", config="log_level = \"debug\"\n")
def silent_monitor(t):
    boxes = [t.run("sleep", "100000") for _ in range(2)]
    pids = [box.pid for box in boxes]
    for box in boxes:
        os.kill(int(box.proc_status("PPid")), signal.SIGSTOP)
    t.engine.kill()
    t.start_engine()

    def running() -> bool:
        try:
            return all(box.status().state == pb.CONTAINER_RUNNING for box in boxes)
        except CallFailed:  # the client has yet to notice that its connection is gone
            return False
    t.wait_for("silence is no exit", running)
    stopping = stop_in_thread(boxes[0], 1)
    t.cri.RemovePodSandbox(pod_sandbox_id=boxes[1].pod.id)  # kills what runs in it
    stopping.join(90)
    assert not stopping.is_alive()
    status = boxes[0].status()
    assert (status.state, status.exit_code) == (pb.CONTAINER_EXITED, 137), status
    boxes[0].remove()
    for pid in pids:
        t.wait_for("the processes end", lambda: not os.path.exists(f"/proc/{pid}"))


@case("stop", "a pod whose init was killed is not ready, and is removed as any other")
def dead_init(t):
    pod = t.pod(namespaces={"pid": "POD"})
    box = pod.container("sleep", "100000")
    os.kill(int(pod.info()["initPid"]), signal.SIGKILL)
    t.wait_for("the pod is not ready", lambda: t.cri.PodSandboxStatus(
        pod_sandbox_id=pod.id).status.state == pb.SANDBOX_NOTREADY)
    assert box.status().state == pb.CONTAINER_EXITED and box.status().exit_code == 137, box.status()
    t.cri.RemovePodSandbox(pod_sandbox_id=pod.id)
