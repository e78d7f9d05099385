#!/usr/bin/env python3
"""Runs the commands that the documentation shows.

    python3 tests/docs/run_commands.py [--skip-line LINE]... [--seconds N] [DOCUMENT...]

Takes README.md and docs/**/*.md, or the given documents. Every block fenced as ```sh runs in the
repository's root under `bash -euo pipefail`, without stdin, in the order of the document; blocks
fenced in any other way (```console, ```text, ...) are not run. A document stops at its first
failing block, whose output is shown. Lines equal to a --skip-line are left out and named, for
commands that the caller has run already.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( {0,3})(`{3,}|~{3,})\s*(.*?)\s*$")
SHOWN_LINES = 60


@dataclass
class Block:
    document: str
    line: int  # of the opening fence
    commands: str

    @property
    def place(self):
        return f"{self.document}:{self.line}"


def blocks_of(document, text):
    """The document's ```sh blocks. A fence ends at one of its kind that is at least as long."""
    blocks, fence, language, lines, start = [], None, "", [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        match = FENCE.match(line)
        if fence is None:
            if match:
                fence, language, lines, start = match[2], match[3], [], number
            continue
        if match and match[2].startswith(fence) and not match[3]:
            if language == "sh":
                blocks.append(Block(document, start, "\n".join(lines) + "\n"))
            fence = None
        else:
            lines.append(line)
    if fence is not None:
        raise ValueError(f"{document}:{start}: the block that opens here is not closed")
    return blocks


def without_lines(commands, skipped):
    """The commands without the lines in `skipped`, and those of them that were there."""
    lines = commands.splitlines()
    kept = [line for line in lines if line.strip() not in skipped]
    return "\n".join(kept) + "\n", [line.strip() for line in lines if line.strip() in skipped]


def run(block, root, seconds):
    """None where the block succeeds, else what went wrong with the end of its output."""
    process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", block.commands], cwd=root,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    reason = None
    try:
        output, _ = process.communicate(timeout=seconds)
        if process.returncode != 0:
            reason = f"exit status {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        reason = f"not finished after {seconds:g} s"
    if reason is None:
        return None
    shown = output.decode("utf-8", "replace").splitlines()[-SHOWN_LINES:]
    return "\n".join([f"{block.place}: {reason}", block.commands.rstrip(), "--- output", *shown])


def run_document(document, root, skipped, seconds):
    """(blocks run, failures) of one document."""
    try:
        blocks = blocks_of(document, (root / document).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return 0, [str(error)]
    count = 0
    for block in blocks:
        block.commands, left_out = without_lines(block.commands, skipped)
        for line in left_out:
            print(f"{block.place}: left out: {line}", flush=True)
        if not block.commands.strip():
            continue
        count += 1
        began = time.monotonic()
        failure = run(block, root, seconds)
        if failure:
            return count, [failure]
        print(f"{block.place}: ok, {time.monotonic() - began:.1f} s", flush=True)
    return count, []


def main(arguments, root):
    parser = argparse.ArgumentParser(description="Runs the commands that the documentation shows.")
    parser.add_argument("documents", nargs="*", help="default: README.md docs/**/*.md")
    parser.add_argument("--skip-line", action="append", default=[], metavar="LINE")
    parser.add_argument("--seconds", type=float, default=900, help="limit of one block")
    options = parser.parse_args(arguments)
    documents = options.documents or [
        str(path.relative_to(root))
        for path in [root / "README.md", *sorted(root.glob("docs/**/*.md"))]]
    total, failures = 0, []
    for document in documents:
        count, problems = run_document(document, root, set(options.skip_line), options.seconds)
        total += count
        failures += problems
    print("\n".join([*failures, f"{len(documents)} documents, {total} blocks run, "
                                f"{len(failures)} failed"]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[2]))
