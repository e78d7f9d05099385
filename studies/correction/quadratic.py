#!/usr/bin/env python3
"""What corrections of a one-update delay do on f(x) = h x^2 / 2, exactly.

    python3 quadratic.py                     prints the tables of docs/results/corrections.md
    python3 quadratic.py --picture FILE.svg  and draws them
    python3 quadratic.py --check             compares with known values; exit code 1 if one is off

An optimizer that is linear in its gradients, with whatever correction behind it, is a filter C:

    step_t = lr (C g)_t,   C(q) = N(q) / D(q),   q = "one update earlier",   C(1) = 1
    g_t = h x_{t-delay} + noise,   x_{t+1} = x_t - step_t

so with a = lr h its characteristic polynomial is (1 - q) D(q) + a q^{1+delay} N(q), read with
ascending powers of q as descending powers of z. A filter here is a pair of coefficients (N, D).
Needs numpy only.
"""

import argparse
import sys

import numpy as np

SPECTRUM = np.geomspace(1e-3, 1, 25)


def polynomial(*factors):
    product = np.array([1.0])
    for factor in factors:
        product = np.convolve(product, factor)
    return product


def ema(b):
    """m <- b m + (1 - b) g."""
    return np.array([1 - b]), np.array([1.0, -b])


def lead(first, second=0.0):
    """1 + first (1 - q) + second (1 - q)^2: error feedback, Nesterov's momentum, gradient lead."""
    return np.array([1 + first + second, -first - 2 * second, second])


def led(rule, *leads):
    n, d = rule
    return polynomial(n, *leads), d


def filtered(rule, strength, keep):
    """Error feedback of a smoothed difference: d <- keep d + (1 - keep) (u - u_previous)."""
    n, d = rule
    smooth = np.array([1.0, -keep])
    factor = smooth + strength * (1 - keep) * np.array([1.0, -1.0])
    return polynomial(n, factor), polynomial(d, smooth)


def characteristic(rule, a, delay):
    n, d = rule
    free, fed = polynomial([1.0, -1.0], d), np.concatenate([np.zeros(1 + delay), a * n])
    p = np.zeros(max(len(free), len(fed)))
    p[: len(free)] += free
    p[: len(fed)] += fed
    return p


def radius(rule, a, delay):
    """The slowest mode's factor per update; stable below 1."""
    return np.abs(np.roots(characteristic(rule, a, delay))).max()


def largest_stable(rule, delay, highest=2000.0):
    """The first a at which a mode stops to decay."""
    low = 0.0
    for a in np.geomspace(1e-3, highest, 800):
        if radius(rule, a, delay) > 1 + 1e-9:
            high = a
            break
        low = a
    else:
        return np.inf
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if radius(rule, middle, delay) > 1 + 1e-10 else (middle, high)
    return low


def largest_stable_formula(b, strength):
    """Closed form for momentum b, delay 1 and error feedback, by Jury's criterion; strength > 0."""
    e, k = 1 - b, strength * b - 1
    return (k + np.sqrt(k * k + 4 * strength**2 * e)) / (2 * strength**2 * e)


def best_strength(b):
    """The lambda with the largest stable a, and that a: the formula's derivative set to nought."""
    return 2 * b / (2 - b) ** 2, (2 - b) ** 2 / (4 * (1 - b))


class System:
    """State: x_t .. x_{t-delay}, then the filter's w_{t-1}, w_{t-2} ..; D w = g, step = N w."""

    def __init__(self, rule, h, delay):
        n, d = rule
        order = max(len(n), len(d)) - 1
        n, d = np.pad(n, (0, order + 1 - len(n))), np.pad(d, (0, order + 1 - len(d)))
        size = delay + 1 + order
        w = np.zeros(size)
        w[delay] = h
        w[delay + 1 :] -= d[1:]
        self.free, self.step, self.noise = np.zeros((size, size)), n[0] * w, np.zeros(size)
        self.step[delay + 1 :] += n[1:]
        self.step_noise = n[0]
        self.free[0, 0] = 1
        for i in range(1, delay + 1):
            self.free[i, i - 1] = 1
        if order:
            self.free[delay + 1], self.noise[delay + 1] = w, 1
        for i in range(delay + 2, size):
            self.free[i, i - 1] = 1

    def matrices(self, lr):
        m, b = self.free.copy(), self.noise.copy()
        m[0] -= lr * self.step
        b[0] -= lr * self.step_noise
        return m, b


def excess(rule, a, delay):
    """Stationary h E[x^2] / 2 under gradient noise of variance s, in units of lr s / 4.

    Every rule tends to 1 for small a. Solves S = M S M' + B B' (discrete Lyapunov equation).
    """
    if radius(rule, a, delay) >= 1 - 1e-9:
        return np.inf
    m, b = System(rule, 1.0, delay).matrices(a)
    size = len(b)
    s = np.linalg.solve(np.eye(size * size) - np.kron(m, m), np.outer(b, b).ravel())
    return s.reshape(size, size)[0, 0] * 2 / a


def slowest(rule, delay):
    """Updates per factor e of the slowest direction, curvatures 1 : 1000, at the best fixed lr."""
    rates = np.geomspace(0.3, 60, 40)
    worst = [max(radius(rule, rate * h, delay) for h in SPECTRUM[::3]) for rate in rates]
    i = int(np.argmin(worst))
    return -1 / np.log(worst[i]), rates[i]


def schedule(updates, peak):
    """Warm-up over 10 %, cosine to 10 %: as in the runs."""
    warm, t = updates // 10, np.arange(updates)
    cosine = 0.1 + 0.45 * (1 + np.cos(np.pi * (t - warm) / (updates - warm)))
    return peak * np.where(t < warm, (t + 1) / warm, cosine)


def trained(rule, delay, peak, noise, updates=400, h=SPECTRUM):
    """Expected final loss over a spectrum; each direction starts at 1/2, noise variance ~ h."""
    systems = [System(rule, value, delay) for value in h]
    size = len(systems[0].noise)
    free = np.stack([system.free for system in systems])
    step = np.stack([system.step for system in systems])
    base = np.stack([system.noise for system in systems])
    s = np.zeros((len(h), size, size))
    s[:, : delay + 1, : delay + 1] = (1 / h)[:, None, None]
    for lr in schedule(updates, peak):
        m, b = free.copy(), base.copy()
        m[:, 0] -= lr * step
        b[:, 0] -= lr * systems[0].step_noise
        s = m @ s @ m.transpose(0, 2, 1)
        s += (noise * h)[:, None, None] * b[:, :, None] * b[:, None, :]
        if not s.max() < 1e9:
            return np.inf
    return float(0.5 * np.sum(h * s[:, 0, 0]) / len(h))


def best_trained(rule, delay, noise):
    rates = np.geomspace(0.5, 60, 15)
    losses = [trained(rule, delay, rate, noise) for rate in rates]
    i = int(np.argmin(losses))
    return losses[i], rates[i]


def impulse(b, strength, second, a, delay, updates=4000):
    """`excess` once more, by running the optimizer: the sum of squares after one noisy gradient."""
    x, seen, m, u1, u2, total = 0.0, [0.0] * (delay + 1), 0.0, 0.0, 0.0, 0.0
    for t in range(updates):
        m = b * m + (1 - b) * (seen[0] + (t == 0))
        u = a * m
        x -= u + strength * (u - u1) + second * (u - 2 * u1 + u2)
        u1, u2 = u, u1
        seen = seen[1:] + [x]
        total += x * x
    return total * 2 / a


def check():
    """Known values (the paper's set-up; Jury's closed form; SGD's textbook variance)."""
    cases = []
    published = ((0, 2, 0.618), (0.9, 38, 2.702), (0.95, 78, 4.0), (0.99, 398, 9.51))
    for b, synchronous, fed in published:
        cases.append((f"synchronous b={b}", largest_stable(ema(b), 0), synchronous))
        cases.append((f"delay b={b}", largest_stable(ema(b), 1), 1.0))
        cases.append((f"error feedback b={b}", largest_stable(led(ema(b), lead(1)), 1), fed))
    for b in (0.9, 0.98):
        for strength in (0.5, 1, 2, 4):
            rule = led(ema(b), lead(strength))
            cases.append((f"formula b={b} lambda={strength}", largest_stable(rule, 1),
                          largest_stable_formula(b, strength)))
    for b in (0.5, 0.9, 0.95, 0.99):
        strength, a = best_strength(b)
        cases.append((f"best a b={b}", largest_stable(led(ema(b), lead(strength)), 1), a))
        grid = np.linspace(0.01, 4, 4000)
        around = grid[np.argmax(largest_stable_formula(b, grid))]
        cases.append((f"best lambda b={b}", strength, around))
    for a in (0.1, 1.0, 1.9):
        sgd = (np.ones(1), np.ones(1))
        cases.append((f"variance of SGD a={a}", excess(sgd, a, 0), 2 / (2 - a)))
    simulated = ((0.9, 1, 0, 1, 1), (0.95, 0.5, 1, 2, 1), (0.9, 1, 1, 3, 1), (0.95, 2, 0, 10, 0),
                 (0.9, 0.5, 0, 0.3, 2))
    for b, strength, second, a, delay in simulated:
        rule = led(ema(b), lead(strength, second))
        cases.append((f"variance b={b} {strength} {second} a={a} delay {delay}",
                      excess(rule, a, delay), impulse(b, strength, second, a, delay)))
    rule = filtered(ema(0.9), 1.5, 0.5)
    cases.append(("smoothed: mean gain", rule[0].sum() / rule[1].sum(), 1.0))
    cases.append(("smoothed: first response", rule[0][0], 0.1 * (1 + 1.5 * 0.5)))
    matrix, _ = System(rule, 1.0, 1).matrices(0.8)
    slowest_mode = np.abs(np.linalg.eigvals(matrix)).max()
    cases.append(("smoothed: eigenvalues", slowest_mode, radius(rule, 0.8, 1)))
    # Nesterov's momentum is error feedback with lambda = b: (1 - b) g + b m.
    n = np.polynomial.polynomial.polyadd(0.1 * np.array([1, -0.9]), 0.9 * np.array([0.1]))
    cases.append(("nesterov = lead b", np.abs(n - led(ema(0.9), lead(0.9))[0][:2]).max() + 1, 1.0))
    bad = [c for c in cases if not abs(c[1] - c[2]) <= 2e-3 * abs(c[2])]
    for name, got, expected in bad:
        print(f"[quadratic] {name}: {got:.5g}, expected {expected:.5g}")
    print(f"{len(cases) - len(bad)} of {len(cases)} known values hold")
    return not bad


def rules(b):
    """name -> filter. The names are those of docs/results/corrections.md."""
    plain, nesterov = ema(b), led(ema(b), lead(b))
    table = {"none": plain}
    for strength in (0.5, 1, 1.5, 2, 3):
        table[f"lambda {strength:g}"] = led(plain, lead(strength))
    table["lambda 2 b / (2 - b)^2"] = led(plain, lead(best_strength(b)[0]))
    table["lambda 1, smoothed 0.5"] = filtered(plain, 1, 0.5)
    table["second order 1, 1"] = led(plain, lead(1, 1))
    table["second order 0.5, 1"] = led(plain, lead(0.5, 1))
    table["Nesterov"] = nesterov
    for strength in (0.5, 1, 1.5, 2):
        table[f"Nesterov, lambda {strength:g}"] = led(nesterov, lead(strength))
    table["Nesterov, momentum prediction"] = led(plain, lead(b + 1))
    return table


def tables():
    momenta = (0.9, 0.95, 0.98)
    print("\nlargest stable a = lr h, delay 1")
    print(f"{'':32}" + "".join(f"{'b = ' + str(b):>10}" for b in momenta))
    row = [largest_stable(ema(b), 0) for b in momenta]
    print(f"{'synchronous':32}" + "".join(f"{v:10.1f}" for v in row))
    row = [largest_stable(led(ema(b), lead(b)), 0) for b in momenta]
    print(f"{'synchronous, Nesterov':32}" + "".join(f"{v:10.1f}" for v in row))
    for name in rules(0.9):
        print(f"{name:32}" + "".join(f"{largest_stable(rules(b)[name], 1):10.2f}" for b in momenta))

    print("\nupdates per factor e of the slowest direction, curvatures 1e-3 .. 1 (and the best lr)")
    row = [slowest(ema(b), 0) for b in momenta]
    print(f"{'synchronous':32}" + "".join(f"{n:8.0f} ({rate:4.1f})" for n, rate in row))
    for name in rules(0.9):
        row = [slowest(rules(b)[name], 1) for b in momenta]
        print(f"{name:32}" + "".join(f"{n:8.0f} ({rate:4.1f})" for n, rate in row))

    b = 0.95
    print(f"\nnoise: stationary excess loss in units of lr variance / 4, b = {b}")
    points = (0.05, 0.2, 0.5, 0.9, 2, 4)
    print(f"{'a =':32}" + "".join(f"{a:10g}" for a in points))
    print(f"{'synchronous':32}" + "".join(f"{excess(ema(b), a, 0):10.2f}" for a in points))
    for name, rule in rules(b).items():
        print(f"{name:32}" + "".join(f"{excess(rule, a, 1):10.2f}" for a in points))

    print("\n400 updates, warm-up and cosine, curvatures 1e-3 .. 1: expected loss (its best lr)")
    columns = [(b, noise) for b in (0.9, 0.95) for noise in (1e-4, 1e-2)]
    print(f"{'':32}" + "".join(f"{f'b {b} s {noise:g}':>18}" for b, noise in columns))
    row = [best_trained(ema(b), 0, noise) for b, noise in columns]
    print(f"{'synchronous':32}" + "".join(f"{loss:10.5f} ({rate:4.1f}) " for loss, rate in row))
    for name in rules(0.9):
        row = [best_trained(rules(b)[name], 1, noise) for b, noise in columns]
        print(f"{name:32}" + "".join(f"{loss:10.5f} ({rate:4.1f}) " for loss, rate in row))


COLOURS = ("#1f5a99", "#c4541a", "#2c7a3f")


class Panel:
    """One diagram of a small SVG: linear or logarithmic axes, lines, a legend by colour."""

    def __init__(self, left, x_range, y_range, title, x_name, log_y=False):
        self.left, self.x_range, self.y_range, self.log_y = left, x_range, y_range, log_y
        self.parts = [text(left, 24, title, "start", 13),
                      text(left + 190, 330, x_name, "middle", 12),
                      f'<path d="M{left} 40V290H{left + 380}" fill="none" stroke="#444"/>']

    def at(self, x, y):
        if self.log_y:
            y, (low, high) = np.log(y), np.log(self.y_range)
        else:
            low, high = self.y_range
        across = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        return self.left + 380 * across, 290 - 250 * (y - low) / (high - low)

    def ticks(self, xs, ys):
        for x in xs:
            self.parts.append(text(self.at(x, self.y_range[0])[0], 308, f"{x:g}", "middle", 11))
        for y in ys:
            height = self.at(self.x_range[0], y)[1]
            self.parts.append(text(self.left - 6, height + 4, f"{y:g}", "end", 11))
            self.parts.append(f'<path d="M{self.left} {height:.1f}h380" stroke="#ddd"/>')

    def line(self, xs, ys, colour, name, dashed=False):
        path, point = "", None
        for x, y in zip(xs, ys):
            inside = self.y_range[0] <= y <= self.y_range[1]
            if inside:
                start = "L" if path and last_inside else "M"
                point = self.at(x, y)
                path += f"{start}{point[0]:.1f} {point[1]:.1f}"
            last_inside = inside
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" '
                          f'stroke-width="1.8"{dash}/>')
        x, y = point
        self.parts.append(text(x + 4, y + 4, name, "start", 11, colour))


def text(x, y, words, anchor, size, colour="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{colour}">{words}</text>')


def picture(path):
    strengths = np.linspace(0.02, 4, 100)
    stable = Panel(50, (0, 4), (0, 18), "largest stable lr h under one update of delay", "lambda")
    stable.ticks(range(5), range(0, 19, 3))
    for b, colour in zip((0.9, 0.95, 0.98), COLOURS):
        for rule, name, dashed in ((ema(b), f"b {b}", False),
                                   (led(ema(b), lead(b)), f"b {b}, Nesterov", True)):
            bounds = [largest_stable(led(rule, lead(s)), 1) for s in strengths]
            stable.line(strengths, bounds, colour, name, dashed)
    noise = Panel(580, (0, 6), (0.5, 64), "excess loss under noise, b 0.95", "lr h", True)
    noise.ticks(range(7), (0.5, 1, 2, 4, 8, 16, 32, 64))
    points = np.linspace(0.02, 5.98, 150)
    plain = ema(0.95)
    for name, rule, delay, colour, dashed in (
        ("synchronous", plain, 0, "#777", False), ("none", plain, 1, "#222", False),
        ("lambda 1", led(plain, lead(1)), 1, COLOURS[0], False),
        ("lambda 2", led(plain, lead(2)), 1, COLOURS[1], False),
        ("second order 1, 1", led(plain, lead(1, 1)), 1, COLOURS[2], False),
        ("Nesterov, lambda 1", led(plain, lead(0.95), lead(1)), 1, COLOURS[0], True)):
        noise.line(points, [excess(rule, a, delay) for a in points], colour, name, dashed)
    with open(path, "w") as file:
        file.write('<svg xmlns="http://www.w3.org/2000/svg" width="1090" height="345" '
                   'font-family="sans-serif"><rect width="1090" height="345" fill="#fff"/>\n')
        file.write("\n".join(stable.parts + noise.parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--picture", metavar="FILE")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    good = check()
    if not options.check:
        tables()
    if options.picture:
        picture(options.picture)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
