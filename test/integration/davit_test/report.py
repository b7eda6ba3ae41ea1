"""Counting and telling results: the same sum for every suite written in Python."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from . import paths


class Report:
    """Results of one suite. Prints each as it comes; `finish` prints the sum and gives the exit code."""

    def __init__(self, suite: str):
        self.suite = suite
        self.passed = 0  # some suites only count theirs
        self.passed_names: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []

    def add_pass(self, name: str, note: str = "") -> None:
        self.passed += 1
        self.passed_names.append(name)
        print(f"{self.suite}: passed {name}{': ' + note if note else ''}", flush=True)

    def add_failure(self, name: str, reason: str) -> None:
        self.failed.append((name, reason))
        print(f"{self.suite}: FAILED {name}: {reason}", flush=True)

    def add_skip(self, name: str, reason: str) -> None:
        self.skipped.append((name, reason))
        print(f"{self.suite}: skipped {name}: {reason}", flush=True)

    def run(self, name: str, case: Callable[[], object]) -> bool:
        """Runs one case; an assertion or any other exception is its failure. True unless it failed."""
        begin = time.monotonic()
        try:
            case()
        except paths.Skip as reason:
            self.add_skip(name, str(reason))
        except AssertionError as error:
            self.add_failure(name, str(error) or traceback.format_exc(limit=-2).strip())
            return False
        except Exception as error:  # noqa: BLE001: one broken case must not hide the others
            place = traceback.extract_tb(error.__traceback__)[-1]
            self.add_failure(name, f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")
            return False
        else:
            self.add_pass(name, f"{time.monotonic() - begin:.1f} s")
        return True

    def finish(self) -> int:
        """Writes the machine-readable report where tools/test asked for it, prints the sum."""
        directory, test = os.environ.get("DAVIT_TEST_REPORT_DIR"), os.environ.get("DAVIT_TEST_NAME")
        if directory and test:
            Path(directory, f"{test}.json").write_text(json.dumps(
                {"suite": self.suite, "passed": self.passed, "passed_names": self.passed_names,
                 "failed": self.failed, "skipped": self.skipped}))
        print(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped", flush=True)
        if self.failed:
            return 1
        return paths.SKIP if self.skipped and not self.passed else 0
