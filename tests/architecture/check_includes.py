#!/usr/bin/env python3
"""Checks every #include in src/ against dependencies.txt.

    python3 tests/architecture/check_includes.py [REPOSITORY]

Prints one line per include that breaks a rule, "file:line: reason", and exits with 1 if there is
one. Wrong tables are errors too: unknown folders, cycles, a pure folder that may include another.
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
TORCH = ("torch", "ATen", "c10", "caffe2")
SOURCES = (".cpp", ".h", ".hpp", ".cu", ".cuh", ".inc")
ALL = "*"


class Table:
    """allowed: folder -> folders it may include; pure: folders without LibTorch."""

    def __init__(self, text):
        self.allowed = {}
        self.pure = set()
        for number, line in enumerate(text.splitlines(), start=1):
            line = line.partition("#")[0].strip()
            if not line:
                continue
            name, colon, others = line.partition(":")
            if not colon:
                raise ValueError(f"line {number}: expected 'folder: other folders', got '{line}'")
            if name == "pure":
                self.pure = set(others.split())
            elif name in self.allowed:
                raise ValueError(f"line {number}: {name} has two lines")
            else:
                self.allowed[name] = set(others.split())
        self._check()

    def _check(self):
        known = set(self.allowed) | {"generated", ALL}
        for folder, others in [*self.allowed.items(), ("pure", self.pure)]:
            for other in sorted(others - known):
                raise ValueError(f"{folder} names {other}, which has no line")
        for folder in sorted(self.pure):
            for other in sorted(self.allowed[folder] - self.pure - {"generated"}):
                raise ValueError(f"{folder} is pure but may include {other}, which is not")
        for folder in self.allowed:
            self._refuse_cycle(folder, [])

    def _refuse_cycle(self, folder, path):
        if folder in path:
            cycle = " -> ".join([*path[path.index(folder):], folder])
            raise ValueError(f"the folders form a cycle: {cycle}")
        for other in sorted(self.allowed.get(folder, set()) - {ALL}):
            self._refuse_cycle(other, [*path, folder])

    def objection(self, folder, quoted, header):
        """Why a file of `folder` may not include `header`, or None."""
        first, slash, _ = header.partition("/")
        if folder in self.pure and first in TORCH:
            return f"{folder} compiles without LibTorch, so it may not include {header}"
        if not quoted or (first in TORCH and first not in self.allowed):
            return None
        if not slash:
            return f'"{header}" must be written from src/, as "{folder}/{header}"'
        if first == folder or ALL in self.allowed[folder] or first in self.allowed[folder]:
            return None
        if first not in self.allowed:
            return f'"{header}" is not in a folder of dependencies.txt'
        return f"{folder} may not include {first} ({header})"


def check_file(table, source_root, path):
    relative = path.relative_to(source_root)
    folder = relative.parts[0]
    if len(relative.parts) == 1 or folder not in table.allowed:
        yield f"src/{relative}:1: not in a folder of dependencies.txt"
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = INCLUDE.match(line)
        if not match:
            continue
        reason = table.objection(folder, match[1] == '"', match[2])
        if reason:
            yield f"src/{relative}:{number}: {reason}"


def main(repository):
    source_root = repository / "src"
    try:
        table_file = repository / "tests" / "architecture" / "dependencies.txt"
        table = Table(table_file.read_text(encoding="utf-8"))
    except ValueError as error:
        print(f"tests/architecture/dependencies.txt: {error}")
        return 1
    files = sorted(path for path in source_root.rglob("*") if path.suffix in SOURCES)
    problems = [problem for path in files for problem in check_file(table, source_root, path)]
    print("\n".join([*problems, f"{len(files)} files checked, {len(problems)} problems"]))
    return 1 if problems or not files else 0


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[2]
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else here))
