#!/usr/bin/env python3
"""Prints a probe's CSV as tables: the mean of each arm and its paired difference to another arm.

    python3 report.py runs.csv                      against <optimizer>:ef:1
    python3 report.py runs.csv --against adamw:sync

Difference and interval use the seeds that both arms have: mean of (arm - reference), and the 95 %
interval of Student's t. An arm with fewer than two common seeds has no interval.
"""

import argparse
import csv
from collections import defaultdict

# Two-sided 95 % points of Student's t by degrees of freedom.
T95 = (None, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def paired(losses, reference):
    """(number of common seeds, mean difference, half the interval or None)."""
    seeds = sorted(losses.keys() & reference.keys())
    d = [losses[s] - reference[s] for s in seeds]
    if not d:
        return 0, None, None
    mean = sum(d) / len(d)
    if len(d) < 2:
        return 1, mean, None
    variance = sum((x - mean) ** 2 for x in d) / (len(d) - 1)
    return len(d), mean, T95[min(len(d) - 1, 10)] * (variance / len(d)) ** 0.5


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("--against", help="an arm; default: error feedback with lambda 1")
    options = parser.parse_args()
    groups = defaultdict(lambda: defaultdict(dict))
    with open(options.runs) as file:
        for row in csv.DictReader(file):
            optimizer = "muon" if row["arm"].startswith("muon") else "adamw"
            size = (optimizer, row["model"], row["lr"], row["updates"], row["batch"])
            groups[size][row["arm"]][row["seed"]] = float(row["val_loss"])
    for (optimizer, model, lr, updates, batch), arms in groups.items():
        reference = options.against or f"{optimizer}:ef:1"
        print(f"\n{optimizer}, model {model}, lr {lr}, {updates} updates of {batch} sequences")
        print(f"| arm | seeds | mean loss | minus {reference} (common seeds) |\n|---|---|---|---|")
        for arm, losses in arms.items():
            count, mean, half = paired(losses, arms.get(reference, {}))
            shown = "-" if mean is None else f"{mean:+.4f}"
            shown += "" if half is None else f" ± {half:.4f} ({count})"
            print(f"| {arm} | {len(losses)} | {sum(losses.values()) / len(losses):.4f} | {shown} |")


if __name__ == "__main__":
    main()
