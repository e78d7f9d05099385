#!/usr/bin/env python3
"""Runs `penstock trace` as a user would, on traces of planned runs, whose numbers are known.

Usage: trace_test.py PROGRAM [unittest arguments]
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM = ""


class Trace(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        # 1f1b: a step of (m + d - 1)(F + B) + U = 11 * 30 ms + 20 ms, of which 90 ms are bubble.
        self.succeed("schedule", "1f1b", "--stages", "4", "--micro-batches", "8", "--batches",
                     "12", "--forward", "0.01", "--backward", "0.02", "--update", "0.02",
                     "--trace", "run.json")

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, *arguments], cwd=self.folder, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def succeed(self, *arguments):
        result = self.run_program(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        self.assertEqual(result.stderr, b"")
        return result.stdout.decode()

    def refuse(self, *arguments):
        result = self.run_program("trace", *arguments)
        error = result.stderr.decode()
        self.assertEqual(result.returncode, 2, error)
        self.assertRegex(error, r"\A\[[a-z ]+\] [^\n]+\n\Z")
        return error

    def test_summary(self):
        text = self.succeed("trace", "run.json", "--width", "100")
        self.assertIn("run.json: planned 1f1b, 4 stages, 8 micro-batches\n", text)
        self.assertIn("batches 3 to 10 of 0 to 11\n", text)
        self.assertIn("step time 350 ms (median 350 ms, 95th percentile 350 ms), bubble 25.71 %\n",
                      text)
        rows = [line for line in text.splitlines() if line.startswith("3  ")]
        # 22 of 30 columns are 74.3 %; waits for the first F and for the other stages' B.
        self.assertRegex(rows[0], r"3         #{22}a{3}u{5} +74\.3 +0\.0 +8\.6 +0\.0 +17\.1 ")
        self.assertRegex(rows[1], r"3 +10 ms / 10 ms +20 ms / 20 ms +20 ms / 20 ms +0 s / 0 s +0$")
        self.assertRegex(text, r"(?m)^1f1b, batches 5 to 7$")

    def test_json(self):
        result = json.loads(self.succeed("trace", "run.json", "--json").splitlines()[-1])
        self.assertEqual(result["schedule"], "1f1b")
        self.assertEqual(result["batches"], [3, 10])
        self.assertAlmostEqual(result["step_time"], 0.35, places=9)
        self.assertAlmostEqual(result["bubble_fraction"], 9 / 35, places=9)
        self.assertEqual(result["stages"], 4)
        self.assertEqual(len(result["per_stage"]), 4)
        last = result["per_stage"][3]
        self.assertAlmostEqual(last["work"], 8 * 0.26, places=8)
        self.assertAlmostEqual(last["bubble_fraction"], 9 / 35, places=8)
        causes = {"activation": 8 * 0.03, "gradient": 0, "update": 8 * 0.06, "transfer": 0,
                  "blocked": 0, "idle": 0}
        self.assertEqual(list(last["causes"]), list(causes))
        for name, seconds in causes.items():
            self.assertAlmostEqual(last["causes"][name], seconds, places=8)
        self.assertEqual(last["chunks"][0]["forward"]["count"], 64)

    def test_many_stages_share_rows(self):
        self.succeed("schedule", "interleaved", "--stages", "36", "--micro-batches", "36",
                     "--batches", "3", "--trace", "many.json", "--width", "80")
        lines = self.succeed("trace", "many.json", "--width", "80").splitlines()
        heads = [number for number, line in enumerate(lines) if line.startswith("stage  ")]
        self.assertEqual(len(heads), 2)
        for head, rows_per_stage in zip(heads, (1, 2)):  # the second has a row per chunk
            table = lines[head + 1:head + 1 + 18 * rows_per_stage:rows_per_stage]
            self.assertEqual([line.split()[0] for line in table],
                             [f"{2 * row}-{2 * row + 1}" for row in range(18)])

    def test_batches(self):
        result = json.loads(self.succeed("trace", "run.json", "--json", "--batches",
                                         "4:5").splitlines()[-1])
        self.assertEqual(result["batches"], [4, 5])
        self.assertEqual(result["step"]["count"], 2)

    def test_pictures(self):
        self.succeed("trace", "run.json", "--svg", "a.svg", "--html", "a.html")
        root = xml.etree.ElementTree.parse(self.path("a.svg")).getroot()
        self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
        with open(self.path("a.html"), encoding="utf-8") as file:
            self.assertIn("<title>run.json</title>", file.read())

    def test_costs_predict_the_step_they_come_from(self):
        self.succeed("trace", "run.json", "--costs", "costs.json")
        with open(self.path("costs.json"), encoding="utf-8") as file:
            self.assertEqual(file.read()[-2:], "}\n")
        text = self.succeed("simulate", "--schedule", "1f1b", "--stages", "4", "--micro-batches",
                            "8", "--costs", "costs.json", "--json")
        self.assertAlmostEqual(json.loads(text.splitlines()[-1])["step_time"], 0.35, places=9)

    def test_mistakes(self):
        self.assertEqual(self.refuse("none.json"), "[trace] none.json: cannot be read (No such "
                                                   "file or directory); give a trace file\n")
        with open(self.path("half.json"), "wb") as half, open(self.path("run.json"), "rb") as run:
            half.write(run.read(1000))
        self.assertEqual(self.refuse("half.json"), "[trace] half.json: ends in the middle, after "
                                                   "1000 bytes; write it again\n")
        self.assertEqual(self.refuse("run.json", "--batches", "5"),
                         "[command line] --batches '5' is no range of batches; write FIRST:LAST, "
                         "such as 4:7\n")
        for text in ("5:", ":5", "5:4", "1:2:3", "a:b", "1:2x"):
            self.assertIn("is no range", self.refuse("run.json", "--batches", text))
        self.assertEqual(self.refuse("run.json", "--batches", "5:12"),
                         "[trace] batches 5:12 are not within those that every stage completed; "
                         "choose some of 0:11\n")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: trace_test.py PROGRAM [unittest arguments]")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
