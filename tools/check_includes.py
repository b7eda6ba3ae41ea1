#!/usr/bin/env python3
"""Holds the arrows between the folders of src/ (docs/ARCHITECTURE.md).

  check_includes.py                     check #include lines and CMake link lists; 1 when one offends
  check_includes.py --graph             print the arrows that the code really has
  check_includes.py --headers BUILD     compile every header on its own (g++ -fsyntax-only); BUILD keeps
                                        which ones passed, so that only changed ones are compiled again
  check_includes.py --root DIR          of another tree (its src/)

An arrow a -> b means that files of src/a include headers of src/b. Tests may in addition use the
folders named in TEST_EXTRA. Only the Python standard library is used.
"""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys

# What each folder may use. base may be used by all and uses nothing.
ALLOWED = {
    "base": set(),
    "sys": set(),
    "oci": set(),
    "sched": {"sys"},
    "http": {"sys", "sched"},
    "config": {"sys"},
    "store": {"sys", "sched", "oci"},
    "sif": {"oci"},
    "runtime": {"sys", "oci"},
    "native": {"sys", "oci"},
    "monitor": {"sys", "sched"},
    "network": {"sys", "sched", "oci"},
    "image": {"store", "sif", "http", "sched", "oci", "sys"},
    "trust": {"image", "http", "oci", "sys"},
    "registries": {"image", "config", "sys"},
    "container": {"store", "runtime", "monitor", "oci", "sys"},
    "pod": {"network", "runtime", "monitor", "store", "oci", "sys"},
    "stream": {"http", "sched", "sys"},
    "engine": {"pod", "container", "trust", "registries", "image", "sif", "stream", "network", "runtime", "monitor", "store", "config", "http",
               "sched", "oci", "sys"},
    # The value types that engine's use cases take and give.
    "cri": {"config", "engine", "pod", "container", "image", "network", "store", "stream", "oci"},
    # What the command line and the HTTP API both need to speak to davitd.
    "client": {"http", "sys"},
    "api": {"client", "http", "oci", "sched", "sys"},
    "cli": {"client", "http", "oci", "sched", "sys"},
}
# Flags and wiring: may use everything.
ANYTHING = {"cmd"}

# Layer of each folder; an arrow goes to a lower layer, or to the same one only where ALLOWED says so.
LAYER = {"base": 0, "sys": 1, "sched": 1, "oci": 1, "http": 2, "config": 2, "store": 2, "sif": 2, "runtime": 2, "native": 2, "monitor": 2,
         "network": 2, "image": 3, "trust": 3, "registries": 3, "container": 3, "pod": 3, "stream": 3, "engine": 4, "cri": 5, "client": 5, "api": 5, "cli": 5,
         "cmd": 6}

# Folders that tests of a folder may use beside what the folder itself may.
TEST_EXTRA = {"sys", "sched"}

# Libraries whose headers cost every includer dearly, or would tie the folders to them. Keys are
# patterns of the included name, values the folders whose headers may use them.
PRIVATE_LIBRARIES = [
    (re.compile(r"^boost/json"), "Boost.JSON", {"oci", "api"}),
    (re.compile(r"^boost/(beast|asio)"), "Boost.Beast", set()),
    (re.compile(r"^nlohmann/"), "nlohmann/json", set()),
    (re.compile(r"^spdlog/"), "spdlog", set()),
    (re.compile(r"^(grpc|grpcpp|grpc\+\+)/"), "gRPC", {"cri", "cli", "client", "api", "cmd"}),
    (re.compile(r"^google/protobuf/"), "protobuf", {"cri", "cli", "client", "api", "cmd"}),
    (re.compile(r"^curl/"), "libcurl", set()),
    (re.compile(r"^sqlite3\.h$"), "SQLite", set()),
    (re.compile(r"^toml\+\+/"), "toml++", {"config"}),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)')
COMMAND = re.compile(r"\b(davit_library|davit_test)\s*\(([^)]*)\)", re.S)
KEYWORDS = {"SOURCES", "DEPS", "LIBS", "DEFINES", "ROOT"}
SOURCE_SUFFIXES = (".h", ".cc", ".inc")


class Offence:
    def __init__(self, path, line, why):
        self.path, self.line, self.why = path, line, why

    def __str__(self):
        return f"{self.path}:{self.line}: {self.why}"


def is_test(name):
    base = os.path.basename(name)
    return base.startswith(("fake_", "test_")) or bool(re.search(r"(_test\.cc|_(fixture|contract|testing)\.h)$", base))


def files_of(root):
    """(folder, path from root) of every source file below src/."""
    src = os.path.join(root, "src")
    for folder in sorted(os.listdir(src)):
        if not os.path.isdir(os.path.join(src, folder)):
            continue
        for directory, subdirectories, names in os.walk(os.path.join(src, folder)):
            subdirectories.sort()
            for name in sorted(names):
                if name.endswith(SOURCE_SUFFIXES) or name == "CMakeLists.txt":
                    yield folder, os.path.relpath(os.path.join(directory, name), root)


def why_not(folder, target, test=False):
    """Why `folder` must not use `target`; None when it may."""
    if folder == target or target == "base" or folder in ANYTHING:
        return None
    if folder not in ALLOWED:
        return f"folder {folder} is not in the table of tools/check_includes.py"
    if target in ALLOWED[folder] or (test and target in TEST_EXTRA):
        return None
    if {folder, target} == {"pod", "container"}:
        return f"{folder} -> {target}: there is no arrow between pod and container, engine composes them"
    if LAYER.get(target, 99) > LAYER[folder]:
        return f"{folder} -> {target} goes upward: news travels up as an event through a callback"
    may = ", ".join(sorted(ALLOWED[folder])) or "nothing"
    return f"{folder} -> {target} is no arrow of the architecture ({folder} may use base and: {may})"


def includes_of(path):
    """(line number, quoted name or None, bracketed name or None) of each #include."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            found = INCLUDE.match(line)
            if found:
                yield number, found.group(1), found.group(2)


def strip_comments(text):
    """CMake text with its comments blanked, so that positions stay."""
    return re.sub(r"#[^\n]*", lambda match: " " * len(match.group()), text)


def link_lists(path):
    """(line, command, name, dependencies) of each davit_library and davit_test."""
    with open(path, encoding="utf-8") as file:
        text = strip_comments(file.read())
    for command in COMMAND.finditer(text):
        words = command.group(2).split()
        if not words:
            continue
        dependencies, keyword = [], None
        for word in words[1:]:
            if word in KEYWORDS:
                keyword = word
            elif keyword == "DEPS":
                dependencies.append(word)
            elif keyword == "LIBS" and word.startswith("davit_"):
                dependencies.append(word[len("davit_"):])
        yield text.count("\n", 0, command.start()) + 1, command.group(1), words[0], dependencies


def check_file(root, folder, path, folders):
    test = is_test(path)
    header = path.endswith(".h")
    for line, quoted, bracketed in includes_of(os.path.join(root, path)):
        name = quoted or bracketed
        if header and not test:
            for pattern, library, may in PRIVATE_LIBRARIES:
                if pattern.match(name) and folder not in may:
                    yield Offence(path, line, f"{library} in a public header: include it in the .cc and hide the type")
        if quoted is None or quoted.endswith(".pb.h"):  # generated from proto/
            continue
        target = quoted.split("/", 1)[0] if "/" in quoted else None
        if target is None:
            if folder not in ANYTHING:  # a program's private headers may lie beside it
                yield Offence(path, line, f'"{quoted}": write the folder too ("{folder}/{quoted}")')
            continue
        if target not in folders:
            continue
        why = why_not(folder, target, test)
        if why:
            yield Offence(path, line, f'"{quoted}": {why}')


def check_cmake(root, folder, path, owner):
    for line, command, name, dependencies in link_lists(os.path.join(root, path)):
        for dependency in dependencies:
            target = owner.get(dependency)
            if target is None:
                continue  # a library outside of src/ (generated code)
            why = why_not(folder, target, test=command == "davit_test" or "fake" in name)
            if why:
                yield Offence(path, line, f"{command}({name}) links {dependency}: {why}")


def arrows(root):
    """{folder: {other: number of includes}} of the code without its tests."""
    found = {}
    files = list(files_of(root))
    folders = {folder for folder, _ in files} | set(LAYER)
    for folder, path in files:
        found.setdefault(folder, {})
        if path.endswith("CMakeLists.txt") or is_test(path):
            continue
        for _, quoted, _ in includes_of(os.path.join(root, path)):
            generated = quoted is None or quoted.endswith(".pb.h")
            target = None if generated or "/" not in quoted else quoted.split("/", 1)[0]
            if target in folders and target != folder:
                found[folder][target] = found[folder].get(target, 0) + 1
    return found


def find_cycle(graph):
    """One cycle as a list of folders with the first one repeated, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for target in sorted(graph.get(node, ())):
            cycle = visit(target)
            if cycle:
                return cycle
        path.pop()
        done.add(node)
        return None

    for start in sorted(graph):
        cycle = visit(start)
        if cycle:
            return cycle
    return None


def check(root):
    offences = []
    files = list(files_of(root))
    folders = {folder for folder, _ in files} | set(LAYER)
    owner = {}  # library -> folder
    for folder, path in files:
        if path.endswith("CMakeLists.txt"):
            for _, command, name, _ in link_lists(os.path.join(root, path)):
                if command == "davit_library":
                    owner[name] = folder
    for folder, path in files:
        if path.endswith("CMakeLists.txt"):
            offences += check_cmake(root, folder, path, owner)
        else:
            offences += check_file(root, folder, path, folders)
    cycle = find_cycle(arrows(root))
    if cycle:
        offences.append(Offence("src", 0, "cycle: " + " -> ".join(cycle)))
    return offences


def print_graph(root):
    graph = arrows(root)
    for folder in sorted(graph, key=lambda name: (LAYER.get(name, 99), name)):
        targets = sorted(graph[folder], key=lambda name: (-LAYER.get(name, 99), name))
        print(f"L{LAYER.get(folder, '?')} {folder:<10} -> {', '.join(targets) if targets else '(nothing)'}")


def include_flags(build):
    """The -I, -isystem and -D of all compilations: generated code and packages outside of /usr/include."""
    flags = {}
    try:
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
            entries = json.load(file)
    except (OSError, ValueError):
        return []
    for entry in entries:
        words = entry.get("command", "").split()
        for i, word in enumerate(words):
            if word.startswith("-I") and len(word) > 2:
                flags[word] = [word]
            elif word == "-isystem" and i + 1 < len(words):
                flags[words[i + 1]] = [word, words[i + 1]]
    return [part for parts in flags.values() for part in parts]


def newest_header(root):
    newest = 0.0
    for _, path in files_of(root):
        if path.endswith(".h"):
            newest = max(newest, os.stat(os.path.join(root, path)).st_mtime)
    return newest


def check_headers(root, build, compiler, jobs):
    """Compiles each header alone. A header that passed is left out until any header changes."""
    stamp_path = os.path.join(build, "check_includes_headers.json")
    newest = newest_header(root)
    try:
        with open(stamp_path, encoding="utf-8") as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        stamp = {}
    passed = set(stamp.get("passed", [])) if stamp.get("newest") == newest else set()
    base = [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-I", os.path.join(root, "src")]
    base += include_flags(build)
    headers = [path for _, path in files_of(root) if path.endswith(".h") and path not in passed]

    def compile_one(path):
        # Included and not compiled itself: "#pragma once in main file" would be a warning. Twice, so
        # that a missing guard shows.
        line = f'#include "{os.path.relpath(path, "src")}"\n'
        run = subprocess.run(base + ["-x", "c++", "-"], input=line * 2, capture_output=True, text=True, check=False)
        return path, run.returncode, run.stderr

    offences = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as pool:
        for path, code, errors in pool.map(compile_one, headers):
            if code == 0:
                passed.add(path)
                continue
            first = next((line for line in errors.splitlines() if "error:" in line), errors.strip()[:300])
            offences.append(Offence(path, 1, f"does not compile on its own: {first.strip()}"))
    os.makedirs(build, exist_ok=True)
    with open(stamp_path, "w", encoding="utf-8") as file:
        json.dump({"newest": newest, "passed": sorted(passed)}, file)
    return offences


def main(arguments):
    parser = argparse.ArgumentParser(description="holds the arrows between the folders of src/")
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser.add_argument("--graph", action="store_true", help="print the arrows that the code has")
    parser.add_argument("--headers", metavar="BUILD", help="compile every header on its own")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.graph:
        print_graph(options.root)
        return 0
    offences = check(options.root)
    if options.headers:
        offences += check_headers(options.root, options.headers, options.compiler, options.jobs)
    for offence in offences:
        print(offence)
    if offences:
        print(f"{len(offences)} offence(s)", file=sys.stderr)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
