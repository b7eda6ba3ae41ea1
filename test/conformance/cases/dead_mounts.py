"""Mounts from a file system that does not answer, as one of a server that is gone."""

import ctypes
import os
from contextlib import contextmanager

from bench import case

MNT_DETACH = 2


@contextmanager
def dead_file_system(t):
    """A FUSE mount without a daemon: who looks into it waits until it is over."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        t.skip(f"no FUSE here: {error}")
    libc = ctypes.CDLL(None, use_errno=True)
    folder = t.folder("dead")
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    mounted = libc.mount(b"dead", str(folder).encode(), b"fuse", 0, options) == 0
    try:
        if not mounted:
            t.skip(f"FUSE cannot be mounted here: {os.strerror(ctypes.get_errno())}")
        yield folder
    finally:
        os.close(device)
        if mounted:
            libc.umount2(str(folder).encode(), MNT_DETACH)


@case("volumes", "a host_path on a file system that does not answer is given up, and its pod can still be stopped")
def dead(t):
    pod = t.pod()
    runs = pod.container("sleep", "1000")
    with dead_file_system(t) as folder:
        pod.refused("DEADLINE_EXCEEDED", "mounts[0].host_path", mounts=[
            {"container_path": "/v", "host_path": str(folder / "volume")}])
        assert runs.exec("echo", "here") == "here"
        pod.stop()
        pod.remove()
