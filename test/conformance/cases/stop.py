"""StopContainer: who decides how long a container may take."""

import threading

from bench import case
from davit_test.grpc_client import pb

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
