"""The ratios that the throughput benchmark is about: which row over which, their targets, and what
the samples say. Numbers in, numbers and text out."""

import dataclasses
import statistics

PIPELINES = tuple(f"torch-{schedule}-m{m}" for schedule in ("1f1b", "zb") for m in (2, 4, 8))


@dataclasses.dataclass(frozen=True)
class Comparison:
    what: str
    row: str
    others: tuple       # the fastest of these is compared with
    targets: dict       # per precision, at least
    is_bound: bool = False  # its largest rate of all rounds counts: what slows it down is no bound


TARGETS_OF_2BW = (
    (("two independent one-stage runs at the same time", ("penstock-1x2",)),
     {"fp32": 0.96, "bf16": 0.94}),
    (("best torch.distributed.pipelining schedule, m = 2, 4, 8", PIPELINES),
     {"fp32": 1.45, "bf16": 1.9}),
    (("our own 1f1b", ("penstock-1f1b",)), {"fp32": 1.22, "bf16": 1.22}),
    (("our own zb-h1", ("penstock-zb-h1",)), {"fp32": 1.08, "bf16": 1.08}),
    (("PyTorch eager, two threads", ("torch-2",)), {"fp32": 1.45, "bf16": 1.9}),
    (("torch.compile, two threads", ("compile-2",)), {"fp32": 1.3, "bf16": 1.6}),
    (("the machine's ceiling for matrix products", ("ceiling",)), {"fp32": 0.88, "bf16": 0.75}),
)


def comparisons_of(schedule):
    """The two schedules without a bubble have the same targets."""
    return tuple(Comparison(f"2 stages {schedule} : {what}", f"penstock-{schedule}", others,
                            targets, is_bound=others == ("ceiling",))
                 for (what, others), targets in TARGETS_OF_2BW)


COMPARISONS = (
    Comparison("one stage, one thread : PyTorch eager, one thread", "penstock-1", ("torch-1",),
               {"fp32": 1.30, "bf16": 1.60}),
    Comparison("one stage, one thread : torch.compile, one thread", "penstock-1", ("compile-1",),
               {"fp32": 1.20, "bf16": 1.50}),
    *comparisons_of("2bw"), *comparisons_of("2bw-ahead"),
    Comparison("2 stages 2bw-ahead : 2bw", "penstock-2bw-ahead", ("penstock-2bw",),
               {"fp32": 1.0, "bf16": 1.0}),
)

# Rows that do the same work: Penstock's peak memory is to stay below the other's.
MEMORY = (("penstock-1", "torch-1"), ("penstock-1", "compile-1"),
          ("penstock-1f1b", "torch-1f1b-m4"), ("penstock-zb-h1", "torch-zb-m4"),
          ("penstock-2bw", "torch-1f1b-m4"), ("penstock-2bw-ahead", "torch-1f1b-m4"))


def paired_ratios(rates, others):
    """rates / others of the rounds that have both, in order; each is {round: rate}."""
    return [rates[number] / others[number] for number in sorted(rates) if number in others]


def compare(comparison, precision, rates):
    """What `rates`, {row: {round: tokens/s}}, say about a comparison; None where a row is missing.
    Of several other rows the one with the largest median counts."""
    others = [name for name in comparison.others if rates.get(name)]
    if not others or not rates.get(comparison.row):
        return None
    other = max(others, key=lambda name: statistics.median(rates[name].values()))
    against = rates[other]
    if comparison.is_bound:
        against = dict.fromkeys(rates[comparison.row], max(against.values()))
    ratios = paired_ratios(rates[comparison.row], against)
    if not ratios:
        return None
    ratio, target = statistics.median(ratios), comparison.targets[precision]
    return {"what": comparison.what, "precision": precision, "row": comparison.row, "other": other,
            "considered": others, "choice": len(comparison.others) > 1, "ratio": ratio,
            "min": min(ratios), "max": max(ratios), "rounds": len(ratios),
            "target": target, "met": ratio >= target}


def compare_all(precision, rates):
    entries = (compare(comparison, precision, rates) for comparison in COMPARISONS)
    return [entry for entry in entries if entry]


def cell(entry):
    """Ratio, extremes, target and verdict as three cells of a table."""
    if entry is None:
        return "not measured | |"
    over = f" over {entry['other']}" if entry["choice"] else ""
    verdict = "met" if entry["met"] else "missed"
    return (f"{entry['ratio']:.2f} ({entry['min']:.2f} .. {entry['max']:.2f}){over} "
            f"| >= {entry['target']:.2f} | {verdict}")


def table(entries, precisions):
    """Markdown, a line per comparison that was measured in any precision."""
    found = {(entry["what"], entry["precision"]): entry for entry in entries}
    lines = ["| what |" + "".join(f" {p} | target | |" for p in precisions),
             "|---|" + "---|---|---|" * len(precisions)]
    for comparison in COMPARISONS:
        cells = [found.get((comparison.what, p)) for p in precisions]
        if any(cells):
            lines.append(f"| {comparison.what} | " + " | ".join(map(cell, cells)) + " |")
    return "\n".join(lines)


def memory_table(peaks):
    """Lines of Penstock's peak memory over that of rows with the same work, from {row: bytes}."""
    lines = []
    for row, other in MEMORY:
        if peaks.get(row) and peaks.get(other):
            lines.append(f"{row} {peaks[row] / 1e6:.0f} MB : {other} {peaks[other] / 1e6:.0f} MB = "
                         f"{peaks[row] / peaks[other]:.2f}")
    return lines
