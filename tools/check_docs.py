#!/usr/bin/env python3
"""Checks that docs/cri.md has every call and field of the CRI, and that the tests named in the docs exist.

usage: tools/check_docs.py [--rows]

Calls and fields come from proto/runtime/v1/cri.proto, without its Windows part. In docs/cri.md a call is a row that
begins with its name in backticks, a field one that begins with `Message.field`; each names what tests it. Tests are named in backticks:
`area: beginning of the title` (test/conformance), `SuiteTest.Name` (GoogleTest) or a path below test/.
--rows prints an empty row for everything that is missing.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto" / "runtime" / "v1" / "cri.proto"
DOCS = (ROOT / "docs" / "cri.md", ROOT / "docs" / "security.md")


def schema(text: str) -> tuple[list[str], list[str]]:
    """(calls, "Message.field") of the proto, in its order, without what is for Windows."""
    text = re.sub(r"/\*.*?\*/", "", re.sub(r"//[^\n]*", "", text), flags=re.S)
    calls = re.findall(r"\brpc\s+(\w+)", text)
    fields = []
    for message in re.finditer(r"^message\s+(\w+)\s*\{", text, re.M):
        name, depth, end = message.group(1), 1, message.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        body = re.sub(r"\b(enum|message)\s+\w+\s*\{[^}]*\}", "", text[message.end():end - 1])
        for kind, field in re.findall(r"(map\s*<[^>]*>|[\w.]+)\s+(\w+)\s*=\s*\d+", body):
            if not name.startswith("Windows") and "Windows" not in kind:
                fields.append(f"{name}.{field}")
    return calls, fields


def conformance_cases() -> list[str]:
    """"area: title" of every case, from the source."""
    found = []
    for path in sorted((ROOT / "test" / "conformance" / "cases").glob("*.py")):
        tree = ast.parse(path.read_text())
        names = {target.id: node.value.value for node in tree.body if isinstance(node, ast.Assign)
                 and isinstance(node.value, ast.Constant) for target in node.targets if isinstance(target, ast.Name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "case":
                words = [a.value if isinstance(a, ast.Constant) else names.get(getattr(a, "id", "")) for a in node.args]
                if len(words) == 2:
                    found.append(f"{words[0]}: {words[1]}")
    return found


def unit_tests() -> set[str]:
    found = set()
    for path in [*(ROOT / "src").rglob("*.cc"), *(ROOT / "test").rglob("*.cc"), *(ROOT / "src").rglob("*.h")]:
        text = path.read_text(errors="replace")
        found |= {f"{a}.{b}" for a, b in re.findall(r"\bTEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\s*\)", text)}
        found |= {f"{a}.{b}" for a, b in re.findall(r"\b[A-Z]+_TEST\(\s*(\w+),\s*(\w+)\s*[,)]", text)}
    return found


def check_tests(doc: Path, cases: list[str], units: set[str]) -> list[str]:
    wrong = []
    areas = {case.partition(":")[0] for case in cases}
    for number, line in enumerate(doc.read_text().splitlines(), 1):
        for word in re.findall(r"`([^`]+)`", line):
            area = word.partition(": ")[0]
            if re.fullmatch(r"(?:\w*Test)\.\w+", word):
                known = word in units
            elif ": " in word and area in areas:
                known = any(case.startswith(word) for case in cases)
            elif re.fullmatch(r"test/[\w/.-]+", word):
                known = (ROOT / word).exists()
            else:
                continue
            if not known:
                wrong.append(f"{doc.relative_to(ROOT)}:{number}: there is no test {word}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", action="store_true", help="print rows for what is missing")
    args = parser.parse_args()
    calls, fields = schema(PROTO.read_text())
    text = DOCS[0].read_text() if DOCS[0].exists() else ""
    rows = re.findall(r"^\| `([^`]+)` ", text, re.M)
    wrong = []
    for kind, wanted in (("call", calls), ("field", fields)):
        for name in wanted:
            if name not in rows:
                wrong.append(f"docs/cri.md: no row for the {kind} {name}")
                if args.rows:
                    print(f"| `{name}` | | | |")
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if re.match(r"\| `\w+(\.\w+)?` ", line) and not cells[3]:
            wrong.append(f"docs/cri.md: {cells[1]} names no test")
    known = set(calls) | set(fields)
    wrong += [f"docs/cri.md: a row for {row}, which the CRI does not have" for row in rows if row not in known]
    wrong += [f"docs/cri.md: {row} has {rows.count(row)} rows" for row in sorted(set(rows)) if rows.count(row) > 1]
    cases, units = conformance_cases(), unit_tests()
    for doc in DOCS:
        if doc.exists():
            wrong += check_tests(doc, cases, units)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(calls)} calls, {len(fields)} fields, {len(cases)} conformance cases: {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
