#!/usr/bin/env python3
"""Runs `penstock schedule` as a user would.

Usage: schedule_test.py PROGRAM [unittest arguments]
"""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import unittest
import xml.etree.ElementTree

PROGRAM = ""
SCHEDULES = ["gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "pipedream", "2bw", "paci"]


class Schedule(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def run_program(self, *arguments):
        return subprocess.run([PROGRAM, "schedule", *arguments], cwd=self.folder, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def succeed(self, *arguments):
        result = self.run_program(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        self.assertEqual(result.stderr, b"")
        return result.stdout.decode()

    def refuse(self, *arguments):
        result = self.run_program(*arguments)
        error = result.stderr.decode()
        self.assertEqual(result.returncode, 2, error)
        self.assertEqual(result.stdout, b"")
        return error

    def test_grid_is_plain_text_when_piped(self):
        text = self.succeed("1f1b", "--stages", "2", "--micro-batches", "2", "--batches", "1")
        lines = text.splitlines()
        self.assertEqual(lines[0], "1f1b, 2 stages, 2 micro-batches")
        self.assertEqual(lines[2], "stage 0  F0 F1 ......B0--- ...B1---|")
        self.assertEqual(lines[3], "stage 1  ...F0 B0--- F1 B1--- .....|")
        self.assertIn("step time 9, bubble 33.3 %", text)
        self.assertNotIn("\x1b", text)

    def test_colour_only_where_asked(self):
        arguments = ("2bw", "--stages", "2", "--micro-batches", "2", "--color")
        self.assertIn("\x1b[", self.succeed(*arguments, "always"))
        self.assertNotIn("\x1b[", self.succeed(*arguments, "never"))

    def on_terminal(self, columns, **environment):
        """What the program prints on a terminal of so many columns."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        with subprocess.Popen([PROGRAM, "schedule", "2bw", "--stages", "2", "--micro-batches",
                               "8"], stdin=subprocess.DEVNULL, stdout=theirs,
                              env={**clean, "TERM": "xterm", **environment}) as process:
            os.close(theirs)
            text = b""
            try:
                while part := os.read(ours, 4096):
                    text += part
            except OSError:  # how Linux tells that the other end is closed
                pass
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        return text.decode()

    def test_terminal_gives_colour_and_width(self):
        self.assertIn("\x1b[", self.on_terminal(60))
        plain = self.on_terminal(60, NO_COLOR="1")
        self.assertNotIn("\x1b", plain)
        rows = [line for line in plain.splitlines() if line.startswith("stage ")]
        self.assertEqual([len(row) for row in rows], [60, 60])

    def test_width_and_from_cut_the_grid(self):
        arguments = ("2bw", "--stages", "4", "--micro-batches", "8", "--width", "60")
        text = self.succeed(*arguments)
        rows = [line for line in text.splitlines() if line.startswith("stage ")]
        self.assertEqual([len(row) for row in rows], [60] * 4)
        self.assertRegex(text, r"The first \d+ % of the time fit in this width")
        later = self.succeed(*arguments, "--from", "20")
        self.assertRegex(later, r"(?m)^time +20 ")

    def test_table_tells_versions_activations_and_delay(self):
        text = self.succeed("2bw", "--stages", "2", "--micro-batches", "4")
        rows = [line.split() for line in text.splitlines()][-2:]
        self.assertEqual(rows[0], ["0", "2", "2", "2", "1", "0.0", "%"])
        self.assertEqual(rows[1][0], "1")
        self.assertEqual(rows[1][2], "1")

    def test_every_schedule_in_every_form(self):
        for name in SCHEDULES:
            with self.subTest(name):
                chunks = 2 if name in ("interleaved", "zb-v") else 1
                text = self.succeed(name, "--stages", "4", "--micro-batches", "4", "--batches",
                                    "2", "--chunks", str(chunks), "--svg", "a.svg", "--html",
                                    "a.html", "--trace", "a.json", "--json")
                result = json.loads(text.splitlines()[-1])
                self.assertEqual(result["schedule"], name)
                self.assertEqual(result["stages"], 4)
                self.assertEqual(len(result["per_stage"]), 4)
                forwards = [cell for cell in result["cells"] if cell["action"] == "forward"]
                self.assertEqual(len(forwards), 4 * 4 * 2 * chunks)
                root = xml.etree.ElementTree.fromstring(self.read("a.svg"))
                self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
                self.assertIn("</html>", self.read("a.html"))
                events = json.loads(self.read("a.json"))["traceEvents"]
                drawn = [event for event in events if event["ph"] == "X" and
                         event["args"]["action"] == "forward"]
                self.assertEqual(len(drawn), len(forwards))

    def test_printed_grid_draws_the_same_picture(self):
        shape = ("--stages", "3", "--micro-batches", "4")
        with open(self.path("own.grid"), "w", encoding="utf-8") as file:
            file.write(self.succeed("2bw", *shape, "--grid"))
        own = self.succeed("./own.grid").splitlines()[1:]  # which has its own shape
        self.assertEqual(own, self.succeed("2bw", *shape).splitlines()[1:])

    def test_json_of_a_stage(self):
        text = self.succeed("1f1b", "--stages", "2", "--micro-batches", "2", "--json")
        last = json.loads(text.splitlines()[-1])["per_stage"][1]
        # As `simulate` gives them: steps of (m + d - 1)(F + B) = 9.
        bubble = sum(last["causes"].values())
        self.assertEqual(bubble / (bubble + last["work"]), last["bubble_fraction"])
        self.assertEqual(2 * last["causes"]["activation"], last["causes"]["update"])
        self.assertEqual(list(last["causes"]), ["activation", "gradient", "update", "transfer",
                                                "blocked", "idle"])
        self.assertEqual([last[key] for key in ("weight_versions", "activations",
                                                "gradient_buffers", "least_delay", "most_delay",
                                                "peak_in_flight")], [1, 1, 1, 0, 0, 1])

    def test_grid_stands_alone(self):
        shape = ("2bw", "--stages", "2", "--micro-batches", "2")
        for other in (["--svg", "a.svg"], ["--html", "a.html"], ["--trace", "a.json"],
                      ["--measured", "a.json"], ["--json"], ["--batches", "3"], ["--from", "1"],
                      ["--narrow"], ["--width", "80"], ["--costs", "a.toml"], ["--update", "1"]):
            with self.subTest(other):
                error = self.refuse(*shape, "--grid", *other)
                self.assertRegex(error, r"\A\[command line\] [^\n]+\n\Z")
                self.assertIn("--grid", error)
                self.assertIn(other[0], error)
        self.assertEqual(os.listdir(self.folder), [])

    def test_broken_grid_is_shown_with_its_mistake(self):
        text = self.succeed("1f1b", "--stages", "2", "--micro-batches", "2", "--grid")
        row = next(line for line in text.splitlines() if line.startswith("stage 1"))
        # B0 of the last stage cannot wait for F1 if the stage before does B0 ahead of it.
        broken = text.replace(row, "stage 1: F0 F1 B0 B1 U")
        first = next(line for line in text.splitlines() if line.startswith("stage 0"))
        broken = broken.replace(first, "stage 0: F0 B0 F1 B1 U")
        with open(self.path("own.grid"), "w", encoding="utf-8") as file:
            file.write(broken)
        error = self.refuse("./own.grid")
        self.assertRegex(error, r"\A\[schedule\] ")
        self.assertIn("stage 1", error)

    def test_measured_run_stands_below_its_plan(self):
        self.succeed("2bw", "--stages", "2", "--micro-batches", "4", "--batches", "9",
                     "--forward", "0.01", "--backward", "0.03", "--trace", "run.json")
        text = self.succeed("2bw", "--measured", "run.json", "--svg", "a.svg", "--html", "a.html",
                            "--json")
        self.assertIn("measured: run.json, batches 3 to 5", text)
        lines = text.splitlines()
        planned = lines.index("measured: run.json, batches 3 to 5")
        # The same costs, so the same picture.
        self.assertEqual(lines[planned - 2:planned], lines[planned + 2:planned + 4])
        result = json.loads(lines[-1])
        self.assertAlmostEqual(result["step_time"], 0.16, places=9)
        self.assertAlmostEqual(result["measured_step_time"], 0.16, places=9)
        self.assertEqual(self.read("a.svg").count(">stage 1<"), 2)
        error = self.refuse("2bw", "--measured", "run.json", "--stages", "3")
        self.assertEqual(error, "[schedule] --stages is 3, but the measured trace has 2; leave "
                                "--stages out\n")

    def test_measured_run_is_of_the_same_schedule(self):
        shape = ("--stages", "2", "--micro-batches", "4", "--batches", "9")
        self.succeed("2bw", *shape, "--trace", "run.json")
        self.assertEqual(
            self.refuse("1f1b", "--measured", "run.json"),
            "[schedule] the run in 'run.json' was of the schedule '2bw', not of '1f1b'; write "
            "'penstock schedule 2bw --measured run.json', or name a trace of a run of '1f1b'\n")
        self.assertIn("was of the schedule '2bw'", self.refuse("zb-v", "--measured", "run.json"))
        with open(self.path("own.grid"), "w", encoding="utf-8") as file:
            file.write(self.succeed("2bw", "--stages", "2", "--micro-batches", "4", "--grid"))
        self.succeed("own.grid", "--batches", "9", "--trace", "own.json")
        self.assertIn("measured: own.json", self.succeed("own.grid", "--measured", "own.json"))
        for file, name in (("own.json", "2bw"), ("run.json", "own.grid")):
            self.assertIn(f"not of '{name}'", self.refuse(name, "--measured", file))

    def test_mistakes(self):
        for arguments, error in [
                (["2bw"], "[schedule] --stages is not given, and only a grid file has its own; set "
                 "--stages 4\n"),
                (["2bw", "--stages", "4", "--micro-batches", "2"],
                 "[schedule] schedule '2bw' needs pipeline.micro_batches >= pipeline.stages, but "
                 "they are 2 and 4; set pipeline.micro_batches = 4 or more\n"),
                (["2bw", "--stages", "4", "--micro-batches", "4", "--batches", "0"],
                 "[schedule] --batches must be at least 1, but it is 0; set --batches 3\n"),
                (["2bw", "--stages", "1000", "--micro-batches", "1000"],
                 "[schedule] 1000 stages, 1000 micro-batches and 3 batches are too many cells for "
                 "a picture (9000000, at most 2000000); draw fewer batches, or use 'penstock "
                 "simulate'\n"),
                (["2bw", "--stages", "2", "--micro-batches", "2", "--forward", "0", "--backward",
                  "0"],
                 "[schedule] all costs are 0, so there is nothing to draw; set --forward 1\n"),
                (["2bw", "--stages", "2", "--micro-batches", "2", "--from", "1000"],
                 "[schedule] --from 1000 is behind the end of the picture at 21; set a smaller "
                 "one\n")]:
            with self.subTest(arguments):
                self.assertEqual(self.refuse(*arguments), error)
        self.assertIn("names of grid files end in .grid, but './2bw' does not",
                      self.refuse("./2bw", "--stages", "2", "--micro-batches", "2"))
        self.assertIn("2bx", self.refuse("2bx", "--stages", "2", "--micro-batches", "2"))
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_file_that_cannot_be_written_is_a_failure(self):
        result = self.run_program("2bw", "--stages", "2", "--micro-batches", "2", "--svg",
                                  "/dev/null/a.svg")
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"/dev/null", result.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: schedule_test.py PROGRAM [unittest arguments]")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
