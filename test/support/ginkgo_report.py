"""Reads the JSON report of a ginkgo suite: what each spec came to, and why; prints it as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STATES = ("passed", "failed", "lacking", "skipped")
MAX_REASON = 1000


@dataclass
class Spec:
    name: str
    area: str  # its outermost container
    state: str  # one of STATES; lacking: it failed for want of something that the machine has not
    seconds: float = 0
    reason: str = ""
    place: str = ""


def read(report: Path, missing: Callable[[str], str] = lambda name: "") -> list[Spec]:
    """The specs that ran, by name. `missing` says for a failed one what the machine lacks for it, or nothing."""
    specs = []
    for suite in json.loads(report.read_text()):
        for found in suite.get("SpecReports") or ():
            containers = found.get("ContainerHierarchyTexts") or []
            name = " ".join([*containers, found.get("LeafNodeText") or ""]).strip()
            kind, state, failure = found["LeafNodeType"], found["State"], found.get("Failure") or {}
            reason = " ".join((failure.get("Message") or "").split())[:MAX_REASON]
            if state == "pending" or (state == "skipped" and not reason):
                continue  # left out by a filter; one that skips itself says why
            if kind != "It" and state in ("passed", "skipped"):
                continue
            spec = Spec(name or kind, containers[0] if containers else "the suite itself", state,
                        round(found.get("RunTime", 0) / 1e9, 1), reason)
            if state not in ("passed", "skipped"):
                where = failure.get("Location") or {}
                spec.place = f"{Path(where.get('FileName', '')).name}:{where.get('LineNumber', '')}"
                want = missing(name)
                spec.state = "lacking" if want else "failed"
                note = "" if state == "failed" else f"{state}: "
                spec.reason = f"no {want}: {reason}" if want else note + reason
            specs.append(spec)
    return sorted(specs, key=lambda spec: spec.name)


def table(specs: list[Spec]) -> str:
    areas: dict[str, dict[str, int]] = {}
    for spec in specs:
        for key in (spec.area, "all"):
            areas.setdefault(key, dict.fromkeys(STATES, 0))[spec.state] += 1
    lines = ["| area | " + " | ".join(STATES) + " |", "|---|" + "---:|" * len(STATES)]
    for area in sorted(areas, key=lambda key: (key == "all", key)):
        lines.append(f"| {area} | " + " | ".join(str(areas[area][state]) for state in STATES) + " |")
    for state in STATES[1:]:
        chosen = [spec for spec in specs if spec.state == state]
        lines += ["", f"{state}:", ""] if chosen else []
        lines += [f"- {spec.name}: {spec.reason} {spec.place}".rstrip() for spec in chosen]
    return "\n".join(lines) + "\n"
