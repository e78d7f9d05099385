#!/usr/bin/env python3
"""Runs `penstock plan` as a user would.

Usage: plan_test.py PROGRAM [unittest arguments]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = ""

CLUSTER = """
[ranks]
count = 4
per_node = 4
memory_gib = 8
tflops = 10
efficiency = 0.5
"""

SHAPE = """
[model]
layers = 4
width = 64
heads = 4
ff = 192
vocab = 512
seq = 64
"""

CONFIG = SHAPE + """
[data]
train = "text/*.txt"
val_fraction = 0

[pipeline]
schedule = "1f1b"
micro_batches = 8
micro_batch = 2

[train]
steps = 3
"""


class Plan(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        for name, text in (("c.toml", CLUSTER), ("m.toml", SHAPE), ("a.toml", CONFIG)):
            self.write(name, text)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, *arguments], cwd=self.folder, timeout=120, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def plan(self, *arguments):
        """What a plan prints, and its JSON."""
        result = self.run_program("plan", *arguments, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        *lines, last = result.stdout.splitlines()
        return "\n".join(lines), json.loads(last)

    def refuse(self, message, *arguments):
        result = self.run_program("plan", *arguments)
        self.assertEqual((result.returncode, result.stderr), (2, message + "\n"))

    def test_ranks_and_explains(self):
        text, result = self.plan("--model", "m.toml", "--cluster", "c.toml", "--batch-tokens",
                                 "4096", "--top", "5")
        self.assertEqual(len(result["plans"]), 5)
        steps = [plan["step_seconds"] for plan in result["plans"]]
        self.assertEqual(steps, sorted(steps))
        for plan in result["plans"]:
            batch = (plan["replicas"] * plan["micro_batches"] * plan["micro_batch"]
                     * 64)
            self.assertEqual(batch, 4096)
            self.assertEqual(sum(plan["partition"]), 10)
            self.assertAlmostEqual(plan["tokens_per_s"] * plan["step_seconds"], 4096, places=6)
            self.assertLess(plan["peak_bytes"], 8 * 2**30)
        self.assertEqual({plan["schedule"] for plan in result["best_of_schedule"]},
                         {"gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "pipedream", "2bw",
                          "2bw-ahead", "paci"})
        self.assertIn("All numbers are predictions", text)
        self.assertIn("Assumed", text)

    def test_writes_a_configuration_that_train_reads(self):
        text, result = self.plan("--config", "a.toml", "--cluster", "c.toml", "--stages", "2",
                                 "--train-here", "--schedule", "2bw", "--out", "plan.toml")
        self.assertIn("wrote plan.toml", text)
        written = self.read("plan.toml")
        best = result["plans"][0]
        self.assertIn('schedule = "2bw"', written)
        self.assertIn(f"micro_batches = {best['micro_batches']}\n", written)
        self.assertIn(f"partition = {best['partition']}\n", written)
        # train gets as far as the data, which there is none of.
        trained = self.run_program("train", "plan.toml")
        self.assertIn("text/*.txt", trained.stderr)
        os.mkdir(self.path("text"))
        self.write("text/a.txt", "the quick brown fox jumps over the lazy dog\n" * 400)
        trained = self.run_program("train", "plan.toml", "--json")
        self.assertEqual(trained.returncode, 0, trained.stderr)
        self.assertEqual(json.loads(trained.stdout.splitlines()[-1])["steps"], 3)

    def test_says_what_train_cannot_do(self):
        text, _ = self.plan("--model", "m.toml", "--cluster", "c.toml", "--batch-tokens", "4096",
                            "--stages", "2", "--replicas", "2", "--recompute", "block", "--out",
                            "plan.toml")
        self.assertIn("train has no replicas yet", text)
        self.assertIn("# The plan has 2 replicas", self.read("plan.toml"))
        self.assertIn('recompute = "block"', self.read("plan.toml"))

    def test_compares_by_latency_and_micro_batches(self):
        text, result = self.plan("--model", "m.toml", "--cluster", "c.toml", "--compare",
                                 "--stages", "4", "--latency-us", "0,1000", "--micro-batches",
                                 "4,16")
        for ratios in result["ratios"]["1f1b"]:
            self.assertGreater(ratios[0], ratios[1])
            self.assertGreater(ratios[1], 1)
        self.assertIn("Step time of zb-h1 / step time of 2bw", text)

    def test_plans_a_grid_in_its_shape(self):
        self.write("my.grid", "stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 F1 B1 U\n")
        _, result = self.plan("--model", "m.toml", "--cluster", "c.toml", "--batch-tokens", "256",
                              "--schedule", "./my.grid", "--replicas", "1")
        best = result["plans"][0]
        self.assertEqual((best["schedule"], best["stages"], best["micro_batches"]),
                         ("./my.grid", 2, 2))
        self.write("bad.grid", "stage 0: F0 F1 B0 B1 U\nstage 1: B0 F0 F1 B1 U\n")
        result = self.run_program("plan", "--model", "m.toml", "--cluster", "c.toml",
                                  "--batch-tokens", "256", "--schedule", "./bad.grid")
        self.assertEqual(result.returncode, 2)
        self.assertIn("bad.grid", result.stderr)

    def test_a_warm_up_fits_into_the_length_that_the_plan_is_written_with(self):
        self.plan("--preset", "nano", "--set", "train.warmup=2000", "--cluster", "c.toml",
                  "--batch-tokens", "2097152", "--out", "plan.toml")
        trained = self.run_program("train", "plan.toml")
        self.assertIn("data/*.txt", trained.stderr)  # which there is none of; all else is right

    def test_profile_measures_this_machine(self):
        text, result = self.plan("--config", "a.toml", "--profile", "--train-here")
        self.assertIn("measured on this machine", text)
        self.assertGreater(result["plans"][0]["tokens_per_s"], 0)

    def test_a_thousand_ranks_are_planned_in_seconds(self):
        began = time.monotonic()
        _, result = self.plan("--preset", "smollm2-360m", "--set", "train.precision=bf16",
                              "--cluster", "c.toml", "--cluster-set", "ranks.count=1024",
                              "--batch-tokens", "4194304")
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(result["ranks"], 1024)

    def test_mistakes(self):
        model = ("--model", "m.toml", "--cluster", "c.toml")
        self.refuse("[command line] plan needs one model, 0 were given; use one of --config FILE, "
                    "--preset NAME and --model FILE")
        self.refuse("[command line] plan needs the ranks to plan for; give --cluster FILE (see "
                    "examples/clusters and --help-cluster), or --profile for this machine",
                    "--model", "m.toml")
        self.refuse("[command line] plan needs the tokens of a batch with --preset and --model; "
                    "give --batch-tokens, such as 16384", *model)
        self.refuse("[plan] a batch of 1000 tokens is no whole number of sequences of 64; set "
                    "--batch-tokens 960 or 1024", *model, "--batch-tokens", "1000")
        self.refuse("[config] node.latency_us = -3 (--set) is out of range; give a number >= 0",
                    *model, "--batch-tokens", "1024", "--cluster-set", "node.latency_us=-3")
        self.refuse("[plan] 11 stages, but 4 layers have only 10 units to distribute (embedding, "
                    "attention and MLP of each layer, head); set --stages 10 or fewer", *model,
                    "--batch-tokens", "1024", "--stages", "11")
        result = self.run_program("plan", *model, "--batch-tokens", "1024", "--cluster-set",
                                  "ranks.memory_gib=0.0001")
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, r"\A\[plan\] no plan fits into ranks.memory_gib = 0.0001: "
                         r"the smallest need is [^\n]* set ranks.memory_gib = [^\n]*\n\Z")

    def test_flags_that_would_be_ignored(self):
        model = ("--model", "m.toml", "--cluster", "c.toml")
        hint = "; see penstock plan --help"
        for flag, value in (("--schedule", "2bw"), ("--replicas", "1"), ("--recompute", "none"),
                            ("--out", "plan.toml"), ("--top", "3"), ("--chunks", "2"),
                            ("--batch-tokens", "1024")):
            self.refuse(f"[command line] {flag} excludes --compare{hint}", *model, "--compare",
                        flag, value)
        for flag in ("--train-here", "--bucketed"):
            self.refuse(f"[command line] {flag} excludes --compare{hint}", *model, "--compare",
                        flag)
        for flag in ("--latency-us", "--micro-batches"):
            self.refuse(f"[command line] {flag} requires --compare{hint}", *model, "--batch-tokens",
                        "1024", flag, "8")
        self.refuse(f"[command line] --cluster-set requires --cluster{hint}", "--model", "m.toml",
                    "--profile", "--cluster-set", "ranks.count=2")

    def test_numbers_that_are_too_large(self):
        model = ("--model", "m.toml", "--cluster", "c.toml")
        self.refuse("[plan] no layout is possible: 4 stages of 1073741824 chunks are 4294967296 "
                    "pieces, but the model has 10 units; set --stages and --chunks with a product "
                    "of 10 or less", *model, "--batch-tokens", "4096", "--schedule", "interleaved",
                    "--stages", "4", "--chunks", "1073741824")
        self.refuse("[plan] no layout is possible: 4194304 micro-batches for 1 pieces of the "
                    "model, but their product can be at most 1048576 for a plan; set "
                    "--batch-tokens 268435456 or less", *model, "--batch-tokens", str(2**36))
        self.refuse("[plan] a batch of 1099511627776 tokens has 17179869184 sequences of 64, but "
                    "a plan takes at most 1073741824; set --batch-tokens 68719476736 or less",
                    *model, "--batch-tokens", str(2**40))
        self.refuse("[plan] a batch of -5000 tokens is no whole number of sequences of 64; set "
                    "--batch-tokens 64", *model, "--batch-tokens=-5000")

    def test_help_has_an_example(self):
        self.assertIn("Example: penstock plan", self.run_program("plan", "--help").stdout)
        self.assertIn("latency_us", self.run_program("plan", "--help-cluster").stdout)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
