#!/usr/bin/env python3
"""Flags, help and version."""

import json

from workplace import SECTIONS, main, with_settings, Workplace


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

    def test_every_help_has_an_example(self):
        for arguments in ([], ["train"], ["generate"], ["tokenize"], ["schedule"], ["simulate"],
                          ["plan"], ["trace"], ["version"]):
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
