#!/usr/bin/env python3
"""Does a small model learn in bf16 what it learns in fp32? And does benchmarks/precision notice when
not? python3 tests/benchmarks/precision_test.py PENSTOCK"""

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.dont_write_bytecode = True
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


class Convergence(unittest.TestCase):
    def run_with(self, folder, *arguments):
        config = folder / "small.toml"
        config.write_text(CONFIG.replace("{data}", str(ROOT / "docs" / "*.md")))
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
        self.assertEqual(code, 0, found)
        self.assertTrue(found["within"])
        # It has learned (a uniform guess has log 259 = 5.6), and the two precisions are not one.
        for losses in found["losses"]:
            self.assertLess(losses["fp32"], 3.5)
            self.assertNotEqual(losses["fp32"], losses["bf16"])


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
