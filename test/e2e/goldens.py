"""Bodies of answers held against files, with what differs from run to run taken out."""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "goldens"
PATTERNS = ((re.compile(r"[0-9a-f]{64}"), "<id>"), (re.compile(r"\b[0-9a-f]{12}\b"), "<short id>"),
            (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
            (re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}"), "<mac>"), (re.compile(r"\b\d+\.\d+\.\d+\.\d+(/\d+)?\b"), "<address>"),
            (re.compile(r"davit\d+"), "<bridge>"))
# Numbers that are of this run or this machine.
COUNTED = {"Pid", "ConmonPid", "Created", "StartedAt", "ExitedAt", "Size", "VirtualSize", "SharedSize", "host_port", "HostPort",
           "OomScoreAdj", "size"}


def settled(value, work: str):
    if isinstance(value, dict):
        return {settled(key, work): 0 if key in COUNTED and isinstance(item, int) and item != 0 else settled(item, work)
                for key, item in value.items()}
    if isinstance(value, list):
        return [settled(item, work) for item in value]
    if isinstance(value, str):
        value = value.replace(work, "<work>")
        for pattern, name in PATTERNS:
            value = pattern.sub(name, value)
    return value


def check(name: str, body, work: str, update: bool) -> None:
    path = FOLDER / f"{name}.json"
    text = json.dumps(settled(body, work), indent=1, sort_keys=True) + "\n"
    if update:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text)
        return
    assert path.exists(), f"no golden body {path.name}: --update-goldens writes it"
    wanted = path.read_text()
    if text == wanted:
        return
    got, had = text.splitlines(), wanted.splitlines()
    first = next((i for i, (a, b) in enumerate(zip(got, had)) if a != b), min(len(got), len(had)))
    raise AssertionError(f"{name}: line {first + 1}: {got[first:first + 3]} instead of {had[first:first + 3]}")
