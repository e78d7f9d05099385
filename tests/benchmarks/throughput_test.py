#!/usr/bin/env python3
"""Tests of what benchmarks/run computes from its samples, of the models' arithmetic, and of its
messages: python3 tests/benchmarks/throughput_test.py"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]
sys.dont_write_bytecode = True

import measuring  # noqa: E402
import ratios  # noqa: E402
import shapes  # noqa: E402


class Ratios(unittest.TestCase):
    # Round 2 is half as fast for everybody: ratios of medians would mix rounds.
    RATES = {"penstock-2bw": {1: 300.0, 2: 140.0, 3: 330.0},
             "torch-2": {1: 200.0, 2: 100.0, 3: 150.0},
             "torch-1f1b-m2": {1: 100.0, 2: 100.0, 3: 100.0},
             "torch-zb-m8": {1: 150.0, 2: 70.0, 3: 165.0}}

    def entries(self, precision="fp32"):
        return {entry["what"]: entry for entry in ratios.compare_all(precision, self.RATES)}

    def test_a_ratio_is_the_median_over_rounds(self):
        entry = self.entries()["2 stages 2bw : PyTorch eager, two threads"]
        self.assertEqual((entry["ratio"], entry["min"], entry["max"]), (1.5, 1.4, 2.2))
        self.assertTrue(entry["met"])  # 1.5 >= 1.45

    def test_targets_differ_by_precision(self):
        self.assertFalse(self.entries("bf16")["2 stages 2bw : PyTorch eager, two threads"]["met"])

    def test_the_fastest_of_several_rows_counts(self):
        entry = next(e for what, e in self.entries().items() if "best torch" in what)
        self.assertEqual((entry["other"], entry["ratio"]), ("torch-zb-m8", 2.0))

    def test_rounds_of_one_row_only_are_left_out(self):
        self.assertEqual(ratios.paired_ratios({1: 4.0, 2: 9.0}, {2: 3.0, 3: 1.0}), [3.0])

    def test_rows_not_measured_are_not_compared(self):
        self.assertEqual(len(self.entries()), 2)

    def test_table(self):
        entries = [*self.entries().values(), *self.entries("bf16").values()]
        lines = ratios.table(entries, ["fp32", "bf16"]).splitlines()
        self.assertEqual(lines[0], "| what | fp32 | target | | bf16 | target | |")
        self.assertEqual(lines[-1], "| 2 stages 2bw : PyTorch eager, two threads "
                         "| 1.50 (1.40 .. 2.20) | >= 1.45 | met "
                         "| 1.50 (1.40 .. 2.20) | >= 1.90 | missed |")
        self.assertTrue(all(line.count("|") == lines[0].count("|") for line in lines))

    def test_a_precision_that_is_missing(self):
        lines = ratios.table(self.entries().values(), ["fp32", "bf16"]).splitlines()
        self.assertTrue(lines[-1].endswith("| met | not measured | | |"))
        self.assertEqual(lines[-1].count("|"), lines[0].count("|"))


class Arithmetic(unittest.TestCase):
    def test_parameters_follow_from_the_products(self):
        for name, shape in shapes.SHAPES.items():
            matrices = sum(weight.elements for weight in shapes.weights(shape))
            embedding, norms = shape.vocab * shape.width, (2 * shape.layers + 1) * shape.width
            self.assertEqual(matrices + embedding + norms, shapes.PARAMETERS[name])

    def test_token_flops_of_bench_10m(self):
        # 6 * (8 * (512 + 256 + 1536 + 768) * 256 + 8192 * 256), and 6 * 256 * 256 * 8
        shape = shapes.SHAPES["bench-10m"]
        self.assertEqual(shapes.product_flops(shape), 50331648)
        self.assertEqual(shapes.attention_flops(shape), 3145728)

    def test_cuts(self):
        self.assertEqual(shapes.parse_cut("5,3", 8, 2), [(0, 5), (5, 8)])
        self.assertEqual(shapes.parse_cut("3,3,2,0", 8, 4), [(0, 3), (3, 6), (6, 8), (8, 8)])
        for text, pieces, reason in (
                ("5,x", 2, "'5,x' is not whole numbers with commas between"),
                ("5,3", 4, "'5,3' has 2 pieces, the schedule needs 4"),
                ("5,4", 2, "'5,4' holds 9 layers, the model has 8"),
                ("9,-1", 2, "'9,-1' has a piece of less than no layers"),
                ("4,0,4,0", 4, "'4,0,4,0' leaves a piece in the middle empty")):
            with self.assertRaises(ValueError) as caught:
                shapes.parse_cut(text, 8, pieces)
            self.assertEqual(str(caught.exception), reason)


class TimedPart(unittest.TestCase):
    def test_warm_up_and_last_update_are_left_out(self):
        records = [{"seconds": s, "tokens": 100 * (i + 1), "busy": busy} for i, (s, busy) in
                   enumerate([(9.0, [0, 0]), (10.0, [0, 0]), (11.0, [1.0, 0.5]),
                              (14.0, [0.2, 0.5]), (14.5, [0, 0])])]
        tokens, seconds, busy = measuring.timed_part(records, 2)
        self.assertEqual((tokens, seconds), (200, 4.0))
        self.assertEqual(busy, [0.4, 0.5])  # weighted by time: (1 * 1.0 + 3 * 0.2) / 4


class Messages(unittest.TestCase):
    def run_with(self, *arguments):
        return subprocess.run([sys.executable, "-B", BENCHMARKS / "run", *arguments],
                              capture_output=True, text=True, check=False)

    def assert_refused(self, message, *arguments):
        done = self.run_with(*arguments)
        self.assertEqual((done.returncode, done.stderr.splitlines()), (2, [message]))

    def test_options_that_exclude_each_other(self):
        for arguments, message in (
                (("--search-cuts", "--cut", "1f1b=5,3"), "leave out it or --cut"),
                (("--quick", "--seconds", "3"), "exclude each other"),
                (("--updates", "2", "--seconds", "3"), "exclude each other"),
                (("--quick", "--updates", "3"), "leave out it or --updates"),
                (("--precision", "bf16,bf16"), "names one twice")):
            done = self.run_with(*arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr.splitlines()[-1])

    def test_one_line_and_exit_code_2(self):
        self.assert_refused("[benchmark] --cut 1f1b=5,4: '5,4' holds 9 layers, the model has 8",
                            "--cut", "1f1b=5,4")
        self.assert_refused("[benchmark] --cut 5,3: '5,3' is none of 1f1b, interleaved-zb; write, "
                            "say, 1f1b=5,3", "--cut", "5,3")
        self.assert_refused("[benchmark] --out /nowhere/at/all: there is no such folder",
                            "--out", "/nowhere/at/all")
        self.assert_refused("[benchmark] /nowhere is not a program; give the Python of a full "
                            "PyTorch as --torch-python or PENSTOCK_PEER_PYTHON, or use "
                            "--setup-peer", "--torch-python", "/nowhere")

    def test_a_program_that_fails_is_shown(self):
        with self.assertRaises(measuring.Failure) as caught:
            measuring.last_json([sys.executable, "-c", "raise SystemExit('broken')"])
        self.assertTrue(str(caught.exception).endswith("ended with exit code 1:\nbroken"))

    def test_programs_are_bound_to_their_cores(self):
        core = min(os.sched_getaffinity(0))
        script = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
        bound = measuring.Program([sys.executable, "-c", script], {core}).result(60)
        self.assertEqual(bound, [core])


class WriteOut(unittest.TestCase):
    def test_no_partial_file_stays(self):
        with tempfile.TemporaryDirectory() as folder:
            measuring.write_out(Path(folder) / "a.json", json.dumps({"a": 1}))
            self.assertEqual([p.name for p in Path(folder).iterdir()], ["a.json"])


if __name__ == "__main__":
    unittest.main()
