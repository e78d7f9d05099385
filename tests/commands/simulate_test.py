#!/usr/bin/env python3
"""Runs `penstock simulate` as a user would.

Usage: simulate_test.py PROGRAM [unittest arguments]
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = ""


class Simulate(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, "simulate", *arguments], cwd=self.folder, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True)

    def simulate(self, schedule, stages, micro_batches, *more):
        return self.run_program("--schedule", schedule, "--stages", str(stages),
                                "--micro-batches", str(micro_batches), *more)

    def result(self, *arguments):
        run = self.simulate(*arguments, "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout.splitlines()[-1])

    def refused(self, message, *arguments):
        run = self.simulate(*arguments)
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertEqual(run.stderr, message + "\n")

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(text)
        return name

    def test_closed_forms(self):
        for schedule, step, bubble in [("1f1b", 33, 3 / 11), ("gpipe", 33, 3 / 11), ("2bw", 24, 0),
                                       ("pipedream", 24, 0), ("paci", 24, 0), ("zb-h1", 27, 1 / 9),
                                       ("interleaved", 28.5, 3 / 19), ("zb-v", 25.5, 1 / 17)]:
            result = self.result(schedule, 4, 8)
            self.assertEqual(result["step_time"], step, schedule)
            self.assertEqual(result["bubble_fraction"], bubble, schedule)
            self.assertEqual(result["stages"], 4)
            self.assertEqual(len(result["per_stage"]), 4)
        asynchronous = self.result("2bw", 4, 8, "--batches", "6")
        self.assertEqual(asynchronous["slack_pairs"], 5)
        self.assertEqual(asynchronous["per_stage"][2]["slacks"][:4], [15 + 2] * 4)
        self.assertEqual(self.result("interleaved", 4, 8, "--chunks", "4")["step_time"], 26.25)

    def test_options_arrive(self):
        result = self.result("1f1b", 2, 2, "--forward", "2", "--backward", "4", "--update", "3",
                             "--reduction", "5", "--activation-bytes", "7", "--weight-bytes", "100",
                             "--gradient-bytes", "1000", "--optimizer-bytes", "10000",
                             "--batches", "3")
        self.assertEqual(result["step_time"], 6 * 3 + 3 + 5)
        self.assertEqual(result["peak_bytes"], 14 + 100 + 1000 + 10000)
        self.assertEqual(result["batches"], 3)
        self.assertEqual(self.result("zb-h1", 1, 1, "--dx", "5", "--dw", "7")["step_time"], 13)
        # F, message, F, B, message, B; each message takes 8 / 4 + 1.
        one = self.result("gpipe", 2, 1, "--latency", "1", "--bandwidth", "4", "--message-bytes",
                          "8")
        self.assertEqual(one["step_time"], 6 + 2 * 3)
        self.assertEqual(one["per_stage"][0]["causes"]["transfer"] % 3, 0)
        slow = self.result("2bw", 2, 4, "--straggler", "0:2", "--straggler", "1:3")
        self.assertEqual(slow["step_time"], 3 * 12)
        jitter = [self.result("1f1b", 2, 4, "--jitter", "0.2", "--seed", seed)["step_time"]
                  for seed in ("1", "1", "2")]
        self.assertEqual(jitter[0], jitter[1])
        self.assertNotEqual(jitter[0], jitter[2])

    def test_costs_come_from_a_file(self):
        file = self.write("costs.toml", "[[stages]]\nforward = [2, 2]\nbackward = 4\n")
        self.assertEqual(self.result("2bw", 2, 4, "--costs", file)["step_time"], 24)
        self.assertEqual(self.result("2bw", 2, 4, "--costs", file, "--forward", "1")["step_time"],
                         20)
        self.refused("[costs] bad.toml: stages[0] has no key 'forwrad'; did you mean 'forward'?",
                     "2bw", 2, 4, "--costs",
                     self.write("bad.toml", "[[stages]]\nforwrad = 1\nbackward = 2\n"))

    def test_a_failure_is_reported(self):
        result = self.result("1f1b", 3, 3, "--fail", "1@16.5")
        self.assertEqual(result["batches_done"], 1)
        self.assertEqual(len(result["stuck"]), 3)
        self.assertTrue(result["stuck"][1].startswith("stage 1 failed at 16.5 s"))

    def test_a_schedule_may_be_a_file(self):
        grid = self.write("own.grid", "stage 0: F0 F1 B0 B1 U0\nstage 1: F0 B0 F1 B1 U0\n")
        self.assertEqual(self.result("./" + grid, 2, 2)["step_time"], 9)

    def test_mistakes_are_named(self):
        self.refused("[costs] latency is -1, but must be a finite number of seconds; set it to 0 "
                     "or more", "2bw", 2, 4, "--latency", "-1")
        self.refused("[costs] bandwidth is 0 bytes per second, but must be above 0; leave it out "
                     "for a link that takes no time", "2bw", 2, 4, "--bandwidth", "0")
        self.refused("[simulate] --straggler '4:2' names stage 4, but the stages are 0 to 1; choose "
                     "one", "2bw", 2, 4, "--straggler", "4:2")
        self.refused("[simulate] --fail '0:2' is not a stage and a number; write STAGE@SECONDS",
                     "2bw", 2, 4, "--fail", "0:2")
        self.refused("[simulate] a run has 0 batches, but needs at least one; set 1 or more",
                     "2bw", 2, 4, "--batches", "0")
        self.refused("[schedule] schedule '2bw' needs pipeline.micro_batches >= pipeline.stages, "
                     "but they are 2 and 4; set pipeline.micro_batches = 4 or more", "2bw", 4, 2)
        self.refused("[schedule] stages are 2000000, but at most 1048576 can be scheduled; set "
                     "fewer", "1f1b", 2000000, 2)
        run = self.run_program("--schedule", "2bw", "--stages", "4")
        self.assertEqual((run.returncode, run.stderr),
                         (2, "[simulate] --micro-batches is not given, and only a grid file has its "
                             "own; set --micro-batches 4\n"))
        self.refused("[schedule] stages, micro-batches and chunks are 0, 2 and 1; set each to 1 or "
                     "more", "1f1b", 0, 2)
        self.refused("[schedule] stages, micro-batches and chunks are 2, 2 and -1; set each to 1 or "
                     "more", "1f1b", 2, 2, "--chunks", "-1")
        self.refused("[costs] 'none.toml' cannot be read; give a file with costs", "2bw", 2, 4,
                     "--costs", "none.toml")

    def test_a_large_pipeline_takes_seconds(self):
        result = self.result("2bw", 1024, 4096, "--batches", "1")
        self.assertEqual(result["total_time"], 3 * 4096 + 3 * 1023)
        self.assertGreater(result["actions"], 25e6)

    def test_what_is_not_proved_is_said(self):
        run = self.simulate("1f1b", 64, 128, "--json")
        self.assertNotIn("not proved", run.stdout)
        self.assertIs(json.loads(run.stdout.splitlines()[-1])["proved"], True)
        # Runs of 1, 2, 3 and 8 batches, each with 2 * 6 * 4096 actions per stage and batch, and
        # with 3 * 1025 of evaluations.
        run = self.simulate("2bw", 1024, 4096, "--batches", "1", "--json")
        self.assertEqual(run.stdout.splitlines()[-2],
                         "not proved: 749 million actions are too many; proved shapes go up to 50 "
                         "million")
        self.assertIs(json.loads(run.stdout.splitlines()[-1])["proved"], False)

    def test_a_grid_is_proved_whatever_its_size(self):
        cells = [f"{kind}{i}" for kind in "FB" for i in range(10000)]
        rows = [f"stage {s}: {' '.join(cells)} U\n" for s in range(40)]
        self.write("large.grid", "delay 3\n" + "".join(rows))
        run = self.run_program("--schedule", "large.grid", "--batches", "1")
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertIn("delay of gradients: stage 0, forward of micro-batch 0 of batch 1",
                      run.stderr.splitlines()[0])

    def test_help_has_an_example(self):
        run = self.run_program("--help")
        self.assertEqual(run.returncode, 0)
        self.assertIn("penstock simulate --schedule 2bw --stages 4 --micro-batches 8", run.stdout)

    def test_a_grid_file_has_a_shape_of_its_own(self):
        with open(os.path.join(self.folder, "mine.grid"), "w", encoding="ascii") as file:
            file.write("stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 F1 B1 U\n")
        run = self.run_program("--schedule", "mine.grid", "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        result = json.loads(run.stdout.splitlines()[-1])
        self.assertEqual(result["step_time"], 3 * (2 + 2 - 1))


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
