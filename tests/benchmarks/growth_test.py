#!/usr/bin/env python3
"""Tests of what benchmarks/growth makes of its measurements, and of its picture:
python3 tests/benchmarks/growth_test.py"""

import subprocess
import sys
import unittest
import xml.etree.ElementTree
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
sys.dont_write_bytecode = True

import growth_check  # noqa: E402
import line_chart  # noqa: E402


def curve(seconds, peak_bytes):
    """Formula: twice the time and 100 MB more at each step."""
    return {"factor": "layers", "values": [2, 4, 8], "seconds": seconds, "peak_bytes": peak_bytes,
            "formula_flops": [10.0, 20.0, 40.0], "formula_bytes": [50e6, 150e6, 250e6]}


def complaints(seconds, peak_bytes):
    return [line for growth in growth_check.growths(curve(seconds, peak_bytes), 0.1, 10e6)
            for line in growth.complaints()]


class GrowthCheck(unittest.TestCase):
    AS_FORMULA = [300e6, 400e6, 500e6]

    def test_growth_as_the_formula_and_slower_passes(self):
        self.assertEqual(complaints([1.0, 2.0, 4.0], self.AS_FORMULA), [])
        self.assertEqual(complaints([1.0, 1.5, 2.5], [300e6, 310e6, 320e6]), [])

    def test_time_that_grows_faster(self):
        self.assertEqual(complaints([1.0, 2.0, 4.5], self.AS_FORMULA),
                         ["layers 4 -> 8: time x 2.25, formula x 2.00",
                          "layers 2 -> 8: time x 4.50, formula x 4.00"])

    def test_small_excess_of_every_step_shows_in_the_whole(self):
        self.assertEqual(complaints([1.0, 2.15, 4.6], self.AS_FORMULA),
                         ["layers 2 -> 8: time x 4.60, formula x 4.00"])

    def test_memory_that_grows_faster(self):
        # Allowed are 1.1 * 100 MB + 10 MB a step.
        self.assertEqual(complaints([1.0, 2.0, 4.0], [300e6, 419e6, 519e6]), [])
        self.assertEqual(complaints([1.0, 2.0, 4.0], [300e6, 421e6, 521e6]),
                         ["layers 2 -> 4: memory +121 MB, formula +100 MB"])

    def test_two_points_are_one_step(self):
        two = {key: value[:2] if isinstance(value, list) else value
               for key, value in curve([1.0, 3.0, 0], self.AS_FORMULA).items()}
        self.assertEqual(len(growth_check.growths(two, 0.1, 0.0)), 1)


class LineChart(unittest.TestCase):
    PANEL = line_chart.Panel("tokens/s <fast>", "layers", (2, 4, 8), (3000.0, 2000.0, 1000.0),
                             (4000.0, 2000.0, 1000.0))

    def test_steps(self):
        for largest, step in ((4000, 1000), (4001, 2000), (0.9, 0.5), (70, 20), (1, 0.5)):
            self.assertAlmostEqual(line_chart.step_of(largest), step)

    def test_points_lie_by_logarithm_and_from_zero(self):
        picture = line_chart.draw("a & b", [[self.PANEL]])
        tree = xml.etree.ElementTree.fromstring(picture)
        circles = [(float(c.get("cx")), float(c.get("cy")))
                   for c in tree.iter("{http://www.w3.org/2000/svg}circle")]
        # The plot is 174 wide from 46, 130 high from 26 with 4000 at its top.
        self.assertEqual(circles, [(46.0, 58.5), (133.0, 91.0), (220.0, 123.5)])
        self.assertIn("&lt;fast&gt;", picture)


class Messages(unittest.TestCase):
    def test_unknown_factor(self):
        done = subprocess.run([sys.executable, "-B", BENCHMARKS / "growth", "--factors", "depth"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--factors: depth is none of layers, width, sequence, micro_batches, stages",
                      done.stderr)


if __name__ == "__main__":
    unittest.main()
