#!/usr/bin/env python3
"""The machine's own bounds."""

import json
import os

from workplace import main, Workplace

CORES = len(os.sched_getaffinity(0))


class Bench(Workplace):
    def bench(self, *arguments):
        """The text without its last line, and what that holds."""
        *lines, result = self.succeed("bench", "--seconds", "0.05", "--json",
                                      *arguments).splitlines()
        return lines, json.loads(result)

    def test_every_bound_is_measured(self):
        lines, result = self.bench()
        workers = {(1, 1), (CORES, 1), (1, CORES)}
        self.assertEqual({(p["precision"], p["workers"], p["threads"])
                          for p in result["products"]},
                         {(precision, *w) for precision in ("fp32", "bf16") for w in workers})
        for product in result["products"]:
            rates = [shape["flops_per_s"] for shape in product["shapes"]]
            self.assertEqual({shape["kind"] for shape in product["shapes"]},
                             {"mm", "forward", "dX", "dW"})
            self.assertEqual(product["flops_per_s"], max(rates))
            # From a program that shares its core with many to the fastest cores there are.
            self.assertTrue(1e8 < min(rates) <= max(rates) < 1e13 * product["threads"], product)
        self.assertEqual({(c["place"], c["workers"], c["threads"]) for c in result["copies"]},
                         {("memory", *w) for w in workers} |
                         {("cache", 1, 1), ("cache", CORES, 1)})
        for copy in result["copies"]:
            self.assertTrue(1e7 < copy["bytes_per_s"] < 4e12, copy)
        self.assertTrue(1e-8 < result["hop_seconds"] < 1e-1, result["hop_seconds"])
        for precision in ("fp32", "bf16"):
            rows = [line.split() for line in lines if line.startswith(f"  {precision} ")]
            self.assertEqual(len(rows), len(workers))
            for row in rows:  # the precision, "W x T", a rate per kind, the best of them, a bar
                rates = [float(rate) for rate in row[4:9]]
                self.assertEqual(max(rates[:4]), rates[4])
        self.assertIn("####################", "\n".join(lines))  # the longest bar of each table

    def test_chosen_threads(self):
        lines, result = self.bench("--threads", "1")
        self.assertEqual({p["threads"] for p in result["products"]}, {1})
        self.assertRegex("\n".join(lines), r"(?m)^channel, .* us$")

    def test_mistakes(self):
        self.refuse(
            (["bench", "--threads", str(CORES + 1)],
             f"[bench] --threads {CORES + 1} is more than the {CORES} usable core", "give 1 to"),
            (["bench", "--threads", "0"], "[command line] --threads"),
            (["bench", "--seconds", "0"], "[command line] --seconds = 0; give a number from 0.01"),
            (["bench", "--seconds", "nan"], "[command line] --seconds = nan; give a number"),
            (["bench", "everything"], "[command line]", "everything"))


if __name__ == "__main__":
    main()
