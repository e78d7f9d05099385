#!/usr/bin/env python3
"""Flags, help and version."""

import json
import os
import subprocess
import unittest

from workplace import SECTIONS, main, program, with_settings, Workplace


class CommandLine(Workplace):
    def test_mistakes(self):
        self.refuse(
            ([], "[command line]", "penstock --help"),
            (["trian"], "no command 'trian'", "did you mean 'train'?"),
            (["train"], "[command line]", "none was given"),
            (["train", "a.toml", "--jsno"], "no flag '--jsno'", "did you mean '--json'?",
             "penstock train --help"),
            (["train", "a.toml", "b.toml"], "[command line]", "b.toml"),
            (["train", "a.toml", "--set"], "[command line]", "--set"))
        self.refuse(*((with_settings(setting), f"[config] --set '{setting}' is not an assignment",
                       "section.key=value") for setting in ("train.steps", "=3", "")))
        self.refuse(
            (["--sett"], "'--sett'"),
            (["tokenize", "text"], "[command line]", "--out"),
            (["version", "extra"], "[command line]", "extra"))

    def test_numbers_that_are_none(self):
        draw = ["schedule", "2bw", "--stages", "4", "--micro-batches", "8"]
        self.refuse(
            (["schedule", "2bw", "--stages", "four"],
             "[command line] --stages is 'four', which is no number that it takes; give a number"),
            ([*draw, "--from", "-1"],
             "[command line] --from is -1, but must be at least 0; give 0 or more"),
            (["schedule", "gpipe", "--stages", "300000", "--micro-batches", "1"],
             "at most 4096 fit a picture"),
            (["simulate", "--schedule", "2bw", "--stages", "4", "--micro-batches", "8",
              "--batches", "100000000000"], "set --batches 52083333"),
            (["train", "a.toml", "--trace", ""], "--trace", "a file's name is empty"))

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_a_full_disk_behind_the_output_is_no_success(self):
        for arguments in (["version"], ["schedule", "2bw", "--stages", "3", "--micro-batches", "4",
                                        "--grid"],
                          ["simulate", "--schedule", "1f1b", "--stages", "3", "--micro-batches",
                           "4", "--json"]):
            with open("/dev/full", "wb") as full:
                result = subprocess.run([program(), *arguments], stdout=full, check=False,
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr.decode(),
                             "cannot write to the standard output: No space left on device\n")

    def test_every_help_has_an_example(self):
        for arguments in ([], ["train"], ["generate"], ["tokenize"], ["schedule"], ["simulate"],
                          ["plan"], ["trace"], ["optimizers"], ["bench"], ["version"]):
            text = self.succeed(*arguments, "--help")
            self.assertRegex(text, r"Example:\s+(\./)?penstock " + "".join(arguments))
            self.assertEqual(self.succeed(*arguments, "-h"), text)

    def test_every_key_is_explained(self):
        text = self.succeed("train", "--help-config")
        self.train()
        with open(self.path("out", "config.toml"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        keys = [line.split(" = ")[0] for line in lines if " = " in line]
        self.assertGreater(len(keys), 35)
        keys += ["tokens", "lambda", "momentum", "nesterov"]
        for key in keys:
            self.assertRegex(text, rf"(?m)^ +{key} = ", key)
        for section in SECTIONS:
            self.assertIn(f"[{section}]", text)

    def test_version(self):
        summary = json.loads(self.succeed("version", "--json").splitlines()[-1])
        for key in ("version", "revision", "libtorch", "features"):
            self.assertIn(key, summary)
        self.assertTrue(summary["libtorch"].startswith("2.11."), summary)
        self.assertIn(summary["libtorch"], self.succeed("version"))


if __name__ == "__main__":
    main()
