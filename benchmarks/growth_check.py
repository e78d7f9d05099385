"""Whether a measured curve grows faster than its formula."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Growth:
    """From one value of a factor to another. Time as factors, memory as differences, because a
    process holds memory that no formula of the model counts."""
    factor: str
    first: int
    last: int
    whole: bool  # from the first point to the last, not only to the next
    time: float
    time_formula: float
    bytes: float
    bytes_formula: float
    tolerance: float
    slack: float

    @property
    def too_slow(self):
        return self.time > (1 + self.tolerance) * self.time_formula

    @property
    def too_large(self):
        """A formula that falls is not to be outdone: then memory may stay as it is."""
        return self.bytes > (1 + self.tolerance) * max(0.0, self.bytes_formula) + self.slack

    def complaints(self):
        where = f"{self.factor} {self.first} -> {self.last}"
        if self.too_slow:
            yield f"{where}: time x {self.time:.2f}, formula x {self.time_formula:.2f}"
        if self.too_large:
            yield (f"{where}: memory {self.bytes / 1e6:+.0f} MB, "
                   f"formula {self.bytes_formula / 1e6:+.0f} MB")


def growths(curve, tolerance, slack):
    """Of every step of a curve, and of the whole where there are several steps."""
    def growth(i, j, whole):
        return Growth(curve["factor"], curve["values"][i], curve["values"][j], whole,
                      curve["seconds"][j] / curve["seconds"][i],
                      curve["formula_flops"][j] / curve["formula_flops"][i],
                      curve["peak_bytes"][j] - curve["peak_bytes"][i],
                      curve["formula_bytes"][j] - curve["formula_bytes"][i], tolerance, slack)

    count = len(curve["values"])
    steps = [growth(i, i + 1, False) for i in range(count - 1)]
    return steps + ([growth(0, count - 1, True)] if count > 2 else [])
