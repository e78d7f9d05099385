#!/usr/bin/env python3
"""Trains a small transformer under a one-update delay with many corrections, on one core.

    python3 probe.py --data FOLDER --arms "muon:delay muon:ef:1" --seeds 1,2 --out runs.csv

FOLDER is what `./penstock tokenize` writes: train-000.tokens and val-000.tokens, 2-byte tokens.
All arms of a seed see the same batches and the same initial weights. An arm that is already in the
CSV (same arm, seed, updates, batch, lr, model) is skipped, so an ended study can be started again.

The delay is exact: batch b's gradient is taken at W(b-1) and makes W(b+1) from W(b), as in 2bw:

    W(b+1) = W(b) (1 - lr wd) - step(u(gradient_b(W(b-1))))

Modes that begin with sync read W(b) instead; sync_ef is the control that shows what error feedback
does where there is no delay to correct.

An arm is OPTIMIZER[,name=value...]:MODE[:value...]; modes are listed in `make_correction`, the
options of the optimizers in `AdamW` and `Muon`; with Muon, adam_NAME goes to the AdamW of all that
is no block matrix. With MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=20000000000 in the environment
glibc keeps its pages, which saves a third of the time.

Columns: val_loss of the newest weights; train_tail, mean training loss of the last 50 updates;
spread, standard deviation of the loss's change per update in the third to fifth tenth of the run;
error_ratio, mean |u - u_previous| / |u|, every 20th update; seconds of CPU; model, layers x width.
"""

import argparse
import csv
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

SEQ, HEAD = 64, 32
BETA2, EPS, DECAY, CLIP = 0.95, 1e-8, 0.1, 1.0


def read_tokens(path):
    """A token file: 64 bytes of header (the count is a u64 at byte 16), then u16 tokens."""
    with open(path, "rb") as file:
        header = file.read(64)
    if header[:8] != b"PSTTOKEN" or int.from_bytes(header[12:16], "little") != 2:
        sys.exit(f"[--data] {path} is no file of 2-byte tokens; make it with penstock tokenize")
    count = int.from_bytes(header[16:24], "little")
    vocabulary = int.from_bytes(header[24:32], "little")
    return np.fromfile(path, "<u2", count, offset=64).astype(np.int64), vocabulary


class Model:
    """A decoder of RMSNorm, RoPE and SwiGLU blocks whose weights are views into one flat vector."""

    def __init__(self, vocabulary, layers, width, seed):
        self.layers, self.width = layers, width
        inner = width * 11 // 4
        shapes = {"embed": (vocabulary, width)}
        for layer in range(layers):
            for name in ("q", "k", "v", "o"):
                shapes[f"{layer}.{name}"] = (width, width)
            shapes[f"{layer}.gate"] = (inner, width)
            shapes[f"{layer}.up"] = (inner, width)
            shapes[f"{layer}.down"] = (width, inner)
            shapes[f"{layer}.norm1"] = (width,)
            shapes[f"{layer}.norm2"] = (width,)
        shapes["norm"] = (width,)
        shapes["head"] = (vocabulary, width)
        # Matrices of the blocks first, so that they are one slice of the flat vector.
        names = sorted(shapes, key=lambda n: (not is_matrix(n), n))
        self.shapes = {name: shapes[name] for name in names}
        self.slices, offset = {}, 0
        for name, shape in self.shapes.items():
            self.slices[name] = slice(offset, offset + math.prod(shape))
            offset += math.prod(shape)
        self.size = offset
        self.matrices = sum(math.prod(s) for n, s in self.shapes.items() if is_matrix(n))
        self.flat, self.gradient = torch.zeros(offset), torch.zeros(offset)
        generator = torch.Generator().manual_seed(seed)
        self.p = {}
        for name, shape in self.shapes.items():
            view = self.flat[self.slices[name]].view(shape)
            if "norm" in name:
                view.fill_(1.0)
            else:
                deviation = 0.02 / math.sqrt(2 * layers) if name.endswith((".o", ".down")) else 0.02
                view.normal_(0, deviation, generator=generator)
            view.requires_grad_(True)
            view.grad = self.gradient[self.slices[name]].view(shape)
            self.p[name] = view
        angle = torch.arange(SEQ)[:, None] * 10000 ** (-torch.arange(0, HEAD, 2) / HEAD)
        self.mask = torch.full((SEQ, SEQ), -1e9).triu(1).bfloat16()
        self.cos, self.sin = angle.cos().bfloat16(), angle.sin().bfloat16()

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat((a * self.cos - b * self.sin, a * self.sin + b * self.cos), -1)

    def loss(self, tokens):
        p = self.p
        low = {n: w.bfloat16() for n, w in p.items() if w.dim() == 2 and n != "embed"}
        x = F.embedding(tokens[:, :-1], p["embed"])
        batch, width = x.shape[0], self.width
        split = lambda t: t.view(batch, SEQ, -1, HEAD).transpose(1, 2)
        for i in range(self.layers):
            h = F.rms_norm(x, (width,), p[f"{i}.norm1"], 1e-6).bfloat16()
            q, k, v = (split(F.linear(h, low[f"{i}.{n}"])) for n in "qkv")
            # Written out: the fused backward takes four times as long at this size.
            a = self.rotate(q) @ (self.rotate(k) * HEAD**-0.5).transpose(2, 3) + self.mask
            a = a.softmax(-1) @ v
            x = x + F.linear(a.transpose(1, 2).reshape(batch, SEQ, width), low[f"{i}.o"]).float()
            h = F.rms_norm(x, (width,), p[f"{i}.norm2"], 1e-6).bfloat16()
            h = F.silu(F.linear(h, low[f"{i}.gate"])) * F.linear(h, low[f"{i}.up"])
            x = x + F.linear(h, low[f"{i}.down"]).float()
        h = F.rms_norm(x, (width,), p["norm"], 1e-6).bfloat16()
        logits = F.linear(h, low["head"]).view(batch * SEQ, -1).float()
        return F.cross_entropy(logits, tokens[:, 1:].reshape(-1))


def is_matrix(name):
    return "." in name and "norm" not in name


class AdamW:
    """Over one flat slice. With lead or second, m in the numerator becomes

    m + lead (m - m_previous) + second (m - 2 m_previous + m_before),

    of which the first needs no memory, as m - m_previous = (1 - b1) (g - m_previous).
    """

    def __init__(self, size, b1=0.9, lead=0.0, second=0.0):
        self.b1, self.lead, self.second = b1, lead, second
        self.change = torch.zeros(size)
        self.m, self.v, self.t = torch.zeros(size), torch.zeros(size), 0
        self.denominator = None

    def update(self, g):
        self.t += 1
        change = (g - self.m) * (1 - self.b1)
        self.m += change
        self.v.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
        self.denominator = (self.v / (1 - BETA2**self.t)).sqrt_().add_(EPS)
        numerator = self.m + self.lead * change + self.second * (change - self.change)
        self.change = change
        return numerator / self.denominator / (1 - self.b1**self.t)

    def momentum_prediction(self):
        """The next update if its gradient were nought: b1 m in place of m."""
        return self.b1 * self.m / self.denominator / (1 - self.b1 ** (self.t + 1))


class Muon:
    """Over the slice of block matrices: NS(m + lead ... + second ...) as in AdamW; lead = b, the
    default, is Nesterov's momentum."""

    def __init__(self, model, b=0.95, lead=None, second=0.0):
        self.b, self.lead, self.second = b, b if lead is None else lead, second
        self.change = torch.zeros(model.matrices)
        self.m = torch.zeros(model.matrices)
        self.groups = {}
        for name, shape in model.shapes.items():
            if is_matrix(name):
                self.groups.setdefault(shape, []).append(model.slices[name])

    def orthogonal(self, flat):
        out = torch.empty_like(flat)
        for (rows, columns), slices in self.groups.items():
            x = torch.stack([flat[s].view(rows, columns) for s in slices])
            x = newton_schulz(x) * (0.2 * math.sqrt(max(rows, columns)))
            for s, o in zip(slices, x):
                out[s] = o.reshape(-1)
        return out

    def update(self, g):
        change = (g - self.m) * (1 - self.b)
        self.m += change
        ahead = self.m + self.lead * change + self.second * (change - self.change)
        self.change = change
        return self.orthogonal(ahead)

    def momentum_prediction(self):
        return self.orthogonal(self.m)


def newton_schulz(x):
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).bfloat16()
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.transpose(1, 2) if tall else x).float()


class ErrorFeedback:
    """u + lambda (u - u_previous) + second (u - 2 u_previous + u_before)."""

    def __init__(self, size, strength=1.0, second=0.0):
        self.strength, self.second = strength, second
        self.last, self.change = torch.zeros(size), torch.zeros(size)

    def step(self, u, _):
        change = u - self.last
        step = u + self.strength * change
        if self.second:
            step += self.second * (change - self.change)
        self.last, self.change = u.clone(), change
        return step


class FilteredFeedback:
    """u + strength d with d = keep d + (1 - keep) (u - u_previous)."""

    def __init__(self, size, strength, keep):
        self.strength, self.keep = strength, keep
        self.last, self.d = torch.zeros(size), torch.zeros(size)

    def step(self, u, _):
        self.d.lerp_(u - self.last, 1 - self.keep)
        self.last = u.clone()
        return u + self.strength * self.d


class MomentumPrediction:
    """u + P - P_previous, P = strength times the update that the momentum alone would make next."""

    def __init__(self, size, strength=1.0):
        self.strength, self.last = strength, torch.zeros(size)

    def step(self, u, predicted):
        p = self.strength * predicted()
        step = u + p - self.last
        self.last = p
        return step


class AdaptiveFeedback:
    """Error feedback, lambda per tensor = scale * the regression of u on u_previous, averaged."""

    def __init__(self, size, slices, scale=1.0, keep=0.95):
        self.slices, self.scale, self.keep = slices, scale, keep
        self.last, self.last_prediction = torch.zeros(size), torch.zeros(size)
        self.cross, self.square = torch.zeros(len(slices)), torch.zeros(len(slices))

    def step(self, u, _):
        step = u.clone()
        for i, s in enumerate(self.slices):
            a, b = u[s], self.last[s]
            self.cross[i] += (1 - self.keep) * (a.dot(b) - self.cross[i])
            self.square[i] += (1 - self.keep) * (b.dot(b) - self.square[i])
            strength = 0.0 if self.square[i] == 0 else float(self.cross[i] / self.square[i])
            p = self.scale * max(0.0, min(1.5, strength)) * a
            step[s] += p - self.last_prediction[s]
            self.last_prediction[s] = p
        self.last = u.clone()
        return step


class NoCorrection:
    def step(self, u, _):
        return u


def make_correction(mode, values, model):
    size, slices = model.size, list(model.slices.values())
    if mode in ("sync", "delay", "gradient"):
        return NoCorrection()
    if mode in ("ef", "sync_ef"):  # lambda, second
        return ErrorFeedback(size, *values)
    if mode == "groups":  # lambda of the block matrices, lambda of all else
        strength = torch.full((size,), values[1])
        strength[: model.matrices] = values[0]
        return ErrorFeedback(size, strength)
    if mode == "filtered":  # strength, keep
        return FilteredFeedback(size, *values)
    if mode == "momentum":  # strength
        return MomentumPrediction(size, *values)
    if mode == "adaptive":  # scale
        return AdaptiveFeedback(size, slices, *values)
    sys.exit(f"[--arms] unknown mode {mode}")


class Optimizer:
    """Muon for block matrices and AdamW for the rest, or AdamW for all."""

    def __init__(self, text, model):
        name, *options = text.split(",")
        if name not in ("adamw", "muon"):
            sys.exit(f"[--arms] optimizer is adamw or muon, not {name}")
        options = dict((k, float(v)) for k, v in (o.split("=") for o in options))
        adam = {k[5:]: v for k, v in options.items() if k.startswith("adam_")}
        own = {k: v for k, v in options.items() if not k.startswith("adam_")}
        self.cut = model.matrices if name == "muon" else 0
        self.muon = Muon(model, **own) if name == "muon" else None
        self.adam = AdamW(model.size - self.cut, **(adam if name == "muon" else own))

    def update(self, g):
        if not self.cut:
            return self.adam.update(g)
        return torch.cat((self.muon.update(g[: self.cut]), self.adam.update(g[self.cut :])))

    def momentum_prediction(self):
        if not self.cut:
            return self.adam.momentum_prediction()
        return torch.cat((self.muon.momentum_prediction(), self.adam.momentum_prediction()))


def rate(b, updates, peak):
    warm_up = max(1, updates // 10)
    if b < warm_up:
        return peak * (b + 1) / warm_up
    p = (b - warm_up) / max(1, updates - warm_up)
    return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * p)) / 2)


def train(arm, seed, train_tokens, val_tokens, vocabulary, options):
    optimizer_text, mode, *values = arm.split(":")
    model = Model(vocabulary, options.layers, options.width, seed)
    optimizer = Optimizer(optimizer_text, model)
    correction = make_correction(mode, [float(v) for v in values], model)
    decayed = torch.ones(model.size)
    for name, s in model.slices.items():
        if "norm" in name:
            decayed[s] = 0
    batches = np.random.default_rng(seed)
    newest = model.flat.clone()
    before = newest.clone()
    curve, ratio = [], []
    last, last_gradient = torch.zeros(model.size), torch.zeros(model.size)
    start = time.process_time()
    for b in range(options.updates):
        first = batches.integers(0, len(train_tokens) - SEQ - 1, options.batch)
        tokens = torch.from_numpy(np.stack([train_tokens[i : i + SEQ + 1] for i in first]))
        with torch.no_grad():
            model.flat.copy_(newest if mode.startswith("sync") else before)
        model.gradient.zero_()
        loss = model.loss(tokens)
        loss.backward()
        curve.append(loss.item())
        if not math.isfinite(curve[-1]):
            return float("nan"), curve, ratio, time.process_time() - start
        with torch.no_grad():
            g = model.gradient * min(1.0, CLIP / (float(model.gradient.norm()) + 1e-6))
            if mode == "gradient":  # lambda: g + lambda (g - g_previous) goes into the optimizer
                g, last_gradient = g + float(values[0]) * (g - last_gradient), g
            lr = rate(b, options.updates, options.lr)
            u = lr * optimizer.update(g)
            step = correction.step(u, lambda: lr * optimizer.momentum_prediction())
            if b % 20 == 19:
                ratio.append(float((u - last).norm() / u.norm()))
            last = u
            before = newest
            newest = newest * (1 - lr * DECAY * decayed) - step
    with torch.no_grad():
        model.flat.copy_(newest)
        losses = []
        for i in range(options.val_batches):
            at = np.arange(options.batch) * SEQ + i * options.batch * SEQ
            tokens = torch.from_numpy(np.stack([val_tokens[j : j + SEQ + 1] for j in at]))
            losses.append(model.loss(tokens).item())
    return float(np.mean(losses)), curve, ratio, time.process_time() - start


COLUMNS = "arm,seed,updates,batch,lr,val_loss,train_tail,spread,error_ratio,seconds,model"

KEY = "arm,seed,updates,batch,lr,model".split(",")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--arms", default="adamw:sync adamw:delay adamw:ef:1")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16, help="sequences of 64 tokens")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64, help="a multiple of 32")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--val-batches", type=int, default=80)
    parser.add_argument("--out", default="runs.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train_tokens, vocabulary = read_tokens(os.path.join(options.data, "train-000.tokens"))
    val_tokens, _ = read_tokens(os.path.join(options.data, "val-000.tokens"))
    model, done = f"{options.layers}x{options.width}", set()
    if os.path.exists(options.out):
        with open(options.out) as file:
            done = {tuple(r[n] for n in KEY) for r in csv.DictReader(file)}
    else:
        with open(options.out, "w") as file:
            file.write(COLUMNS + "\n")
    for seed in options.seeds.split(","):
        for arm in options.arms.split():
            key = (arm, seed, str(options.updates), str(options.batch), f"{options.lr:g}", model)
            if key in done:
                continue
            loss, curve, ratio, seconds = train(
                arm, int(seed), train_tokens, val_tokens, vocabulary, options)
            tail = np.mean(curve[-50:])
            middle = np.array(curve[len(curve) // 5 : len(curve) // 2])
            spread = float(np.std(np.diff(middle))) if len(middle) > 2 else float("nan")
            error = float(np.mean(ratio)) if ratio else float("nan")
            row = (f'"{arm}",{seed},{options.updates},{options.batch},{options.lr:g},{loss:.5f},'
                   f"{tail:.5f},{spread:.4f},{error:.4f},{seconds:.1f},{model}")
            with open(options.out, "a") as file:
                file.write(row + "\n")
            print(row, flush=True)


if __name__ == "__main__":
    main()
