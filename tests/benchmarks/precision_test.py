#!/usr/bin/env python3
"""Does a small model learn in bf16 what it learns in fp32? And does benchmarks/precision notice
when not? python3 tests/benchmarks/precision_test.py PENSTOCK"""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "commands")]
sys.dont_write_bytecode = True

import workplace  # noqa: E402

PROGRAM = ""

CONFIG = """
[model]
layers = 2
width = 64
heads = 2
ff = 192
seq = 64
vocab = 259
tied = true
[data]
train = "{data}"
[pipeline]
stages = 2
schedule = "2bw"
micro_batches = 2
micro_batch = 8
[optimizer]
name = "adamw"
lr = 4e-3
[train]
threads = 1
"""


def load_judge():
    loader = importlib.machinery.SourceFileLoader("precision", str(ROOT / "benchmarks/precision"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("precision", loader))
    loader.exec_module(module)
    return module.judge


class Judge(unittest.TestCase):
    def test_a_difference_within_the_spread(self):
        # fp32 2.0, 2.1, 2.2: standard deviation 0.1; differences 0.06, -0.03, 0.06
        found = load_judge()([(2.0, 2.06), (2.1, 2.07), (2.2, 2.26)])
        self.assertAlmostEqual(found["spread"], 0.1)
        self.assertAlmostEqual(found["difference"], 0.03)
        self.assertAlmostEqual(found["standard_error"], 0.03)
        self.assertTrue(found["within"])

    def test_a_difference_beyond_it_in_either_direction(self):
        for sign in (1, -1):
            losses = [(2.0, 2.0 + sign * 0.2), (2.1, 2.1 + sign * 0.2), (2.2, 2.2 + sign * 0.2)]
            self.assertFalse(load_judge()(losses)["within"])


class Messages(unittest.TestCase):
    def assert_refused(self, message, *arguments):
        done = subprocess.run([sys.executable, "-B", ROOT / "benchmarks" / "precision", "x.toml",
                               *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(message, done.stderr)

    def test_before_anything_runs(self):
        self.assert_refused("--out /nowhere/at/all: there is no such folder",
                            "--out", "/nowhere/at/all")
        self.assert_refused("--set train.precision=fp32: this command sets", "--set",
                            "train.precision=fp32")

    def test_a_run_without_a_loss(self):
        for printed, shown in (('{"val_loss": null}', "None"), ("{}", "None"),
                               ('{"val_loss": NaN}', "nan")):
            with tempfile.TemporaryDirectory() as name:
                program = Path(name) / "program"
                program.write_text(f"#!/bin/sh\necho '{printed}'\n")
                program.chmod(0o755)
                self.assert_refused(f"the validation loss is {shown}", "--penstock", str(program))


class Convergence(unittest.TestCase):
    def run_with(self, folder, *arguments):
        config = folder / "small.toml"
        (folder / "text.txt").write_text(workplace.pseudo_text(1, 40000))
        config.write_text(CONFIG.replace("{data}", str(folder / "text.txt")))
        done = subprocess.run(
            [sys.executable, "-B", ROOT / "benchmarks" / "precision", config, "--steps", "120",
             "--eval-sequences", "64", "--penstock", PROGRAM, "--json",
             "--set", f"data.cache={folder / 'cache'}", "--set", "data.val_fraction=0.1",
             *arguments], capture_output=True, text=True, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode, json.loads(done.stdout.splitlines()[-1])

    def test_bf16_learns_what_fp32_learns(self):
        with tempfile.TemporaryDirectory() as name:
            code, found = self.run_with(Path(name), "--seeds", "3")
        self.assertEqual(code == 0, found["within"])
        # bf16 has 8 bits: a product is off by 2^-8, a loss of 2 nats by far less, as roundings
        # average out. Weights or gradients kept in bf16 would cost tenths.
        self.assertLess(abs(found["difference"]), 0.02, found)
        # It has learned (a uniform guess has log 259 = 5.6), and the two precisions are not one.
        for losses in found["losses"]:
            self.assertLess(losses["fp32"], 3.0)
            self.assertNotEqual(losses["fp32"], losses["bf16"])


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
