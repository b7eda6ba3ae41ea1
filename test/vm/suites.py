"""The suites that run in the virtual machine: what each starts, and under which cgroup driver."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suite:
    about: str
    # Below test/, with its arguments. {bin} is the directory of davitd, {logs} where reports are kept.
    command: tuple[str, ...]
    # What the engine is told; empty: it chooses.
    driver: str = ""
    # Takes --focus and --skip; critest also --parallel.
    filters: bool = False
    parallel: bool = False
    selinux: bool = False
    # Boots many times on one disk, alone: see power_loss.py.
    power_loss: bool = False


def critest(handler: str, *more: str) -> tuple[str, ...]:
    return ("e2e/critest.py", "--bin-dir", "{bin}", "--handler", handler, "--timeout", "14400", "--log-dir", "{logs}",
            *more)


SUITES = {
    "facts": Suite("what the machine is: kernel, cgroups, security module", ("vm/facts.py",)),
    "service": Suite("davitd as a service: drivers, slices, scopes, restart, clean-up", ("vm/service_test.py",)),
    "units": Suite("the unit tests that need root, on cgroup v2", ("vm/units.py",)),
    "walk": Suite("a pod's life by crictl, systemd driver", ("e2e/crictl_walk.py", "--bin-dir", "{bin}")),
    "walk-cgroupfs": Suite("the same with the cgroupfs driver", ("e2e/crictl_walk.py", "--bin-dir", "{bin}"),
                           driver="cgroupfs"),
    "critest-crun": Suite("the whole CRI suite, crun, systemd driver", critest("crun"), filters=True, parallel=True),
    "critest-runc": Suite("the whole CRI suite, runc, systemd driver", critest("runc"), filters=True, parallel=True),
    "critest-native": Suite("the whole CRI suite, Davit's own runtime, systemd driver", critest("native"), filters=True,
                            parallel=True),
    "oci-runtime": Suite("davit-oci on its own, on cgroup v2", ("integration/oci_runtime_test.py", "--bin-dir", "{bin}")),
    "walk-native": Suite("a pod's life by crictl with Davit's own runtime, systemd driver",
                         ("e2e/crictl_walk.py", "--bin-dir", "{bin}", "--handler", "native")),
    "critest-cgroupfs": Suite("the whole CRI suite, crun, cgroupfs driver", critest("crun"), driver="cgroupfs",
                              filters=True, parallel=True),
    "conformance": Suite("Davit's own suite over the socket, systemd driver",
                         ("conformance/conformance_test.py", "--bin-dir", "{bin}"), filters=True),
    "crash": Suite("SIGKILL at every step, systemd driver", ("integration/crash_test.py", "--bin-dir", "{bin}")),
    "power-loss": Suite("ten images are pulled and the machine is killed, --rounds times; the store after each boot",
                        ("vm/power_loss_guest.py", "--bin-dir", "{bin}"), power_loss=True),
    "selinux": Suite("critest's SELinux specs", critest("crun", "--focus", "SELinux"), filters=True, parallel=True, selinux=True),
    "critest-selinux": Suite("the whole CRI suite with SELinux", critest("crun"), filters=True, parallel=True, selinux=True),
}

GROUPS = {
    "quick": ["facts", "units", "service", "walk", "walk-cgroupfs"],
    "systemd": ["facts", "service", "walk", "critest-crun", "critest-runc"],
    "cgroupfs": ["facts", "walk-cgroupfs", "critest-cgroupfs"],
    "all": ["facts", "units", "service", "walk", "walk-cgroupfs", "crash", "conformance", "critest-crun", "critest-runc"],
}
