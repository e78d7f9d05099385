#!/usr/bin/env python3
"""Tests of run_commands.py: python3 tests/docs/run_commands_test.py"""

import contextlib
import io
import os
import tempfile
import time
import unittest
from pathlib import Path

import run_commands


class RunCommands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def run_on(self, readme, *arguments, other=None):
        (self.root / "README.md").write_text(readme, encoding="utf-8")
        if other is not None:
            (self.root / "docs" / "deep").mkdir(parents=True)
            (self.root / "docs" / "deep" / "other.md").write_text(other, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = run_commands.main(list(arguments), self.root)
        return status, output.getvalue()

    def made(self, name):
        return (self.root / name).exists()

    def test_sh_blocks_run_in_the_root_and_in_order(self):
        status, output = self.run_on("Text\n```sh\ntouch a\n```\n~~~sh\nmv a b\n~~~\n",
                                     other="```sh\nmv b c\n```\n")
        self.assertEqual(status, 0)
        self.assertTrue(self.made("c"))
        self.assertIn("2 documents, 3 blocks run, 0 failed", output)

    def test_other_blocks_do_not_run(self):
        status, output = self.run_on("```console\n$ touch a\n```\n```\ntouch a\n```\n"
                                     "```shell\ntouch a\n```\n````text\n```sh\ntouch a\n```\n````\n")
        self.assertEqual((status, self.made("a")), (0, False))
        self.assertIn("1 documents, 0 blocks run, 0 failed", output)

    def test_only_a_bare_fence_ends_a_block(self):
        status, _ = self.run_on("```sh\ncat >a <<'END'\n```text\nEND\n```\n")
        self.assertEqual((status, (self.root / "a").read_text(encoding="utf-8")), (0, "```text\n"))

    def test_any_failing_command_fails_and_is_shown(self):
        for commands in ("false\ntouch after", "false | true\ntouch after",
                         "echo $undefined\ntouch after", "no-such-command\ntouch after"):
            status, output = self.run_on(f"\n```sh\necho hello\n{commands}\n```\n")
            self.assertEqual((status, self.made("after")), (1, False), commands)
            self.assertIn("README.md:2: exit status", output)
            self.assertIn("--- output\nhello\n", output)

    def test_a_failure_stops_its_document_but_not_the_next(self):
        status, output = self.run_on("```sh\nfalse\n```\n```sh\ntouch a\n```\n",
                                     other="```sh\ntouch b\n```\n")
        self.assertEqual((status, self.made("a"), self.made("b")), (1, False, True))
        self.assertIn("2 documents, 2 blocks run, 1 failed", output)

    def test_time_limit_ends_children_too(self):
        began = time.monotonic()
        status, output = self.run_on("```sh\n(sleep 30; touch a) | cat\n```\n", "--seconds", "0.3")
        self.assertEqual(status, 1)
        self.assertLess(time.monotonic() - began, 20)  # waiting for the child would take 30
        self.assertIn("README.md:1: not finished after 0.3 s", output)

    def test_commands_have_no_stdin(self):
        readable, writable = os.pipe()
        os.write(writable, b"a line\n")
        os.close(writable)
        before = os.dup(0)
        os.dup2(readable, 0)
        try:
            self.assertEqual(self.run_on("```sh\n! read -r line\n```\n")[0], 0)
        finally:
            os.dup2(before, 0)
            os.close(before)
            os.close(readable)

    def test_skipped_lines(self):
        status, output = self.run_on("```sh\nfalse  \n```\n```sh\ntouch a\nfalse\n```\n",
                                     "--skip-line", "false")
        self.assertEqual((status, self.made("a")), (0, True))
        self.assertIn("README.md:1: left out: false", output)
        self.assertIn("1 blocks run", output)

    def test_broken_documents(self):
        status, output = self.run_on("text\n```sh\ntouch a\n")
        self.assertEqual((status, self.made("a")), (1, False))
        self.assertIn("README.md:2: the block that opens here is not closed", output)
        self.assertEqual(self.run_on("", "missing.md")[0], 1)


if __name__ == "__main__":
    unittest.main()
