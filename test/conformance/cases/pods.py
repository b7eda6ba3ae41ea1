"""Pods: what the containers of a pod see of its configuration, and what the calls say about it."""

from bench import case


@case("pods", "hostname reaches the containers")
def hostname(t):
    box = t.pod(hostname="here-i-am").container()
    assert box.exec("hostname") == "here-i-am"
    assert box.exec("cat", "/etc/hostname") == "here-i-am"
    assert "here-i-am" in box.exec("cat", "/etc/hosts")
