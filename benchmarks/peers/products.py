#!/usr/bin/env python3
"""The machine's ceiling for a model: tokens/s if training were nothing but its matrix products,
each at the largest rate found for its shape, with all cores at work at the same time.

Every weight takes part in three products per micro-batch: y = x W', dX = dY W, dW = dY' x. Each is
timed in the ways that PyTorch has: torch.mm into a given output (mm), and oneDNN's linear layer
(linear) with the operands as training has them and with copies that are contiguous in the order the
library likes (linear, ordered; the copying is not timed). The fastest way counts. The products of
attention run at the mean rate of the others. Processes, one pinned thread each, start every timing
together; a rate is the sum over them.
Example: python benchmarks/peers/products.py --precision bf16 --threads 2"""

import argparse
import os
import statistics
import time

import torch
import torch.multiprocessing

import measure
from shapes import SHAPES, token_flops, weights

WINDOWS = 5  # a way's rate is their median
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def linear(x, weight):
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


def products_of(weight, rows, dtype):
    """(direction, way, function) for the three products of a weight with `rows` tokens."""
    x = torch.randn(rows, weight.inputs).to(dtype)
    w = torch.randn(weight.outputs, weight.inputs).to(dtype)
    dy = torch.randn(rows, weight.outputs).to(dtype)
    for direction, left, right in (("y = x W'", x, w.t()), ("dX = dY W", dy, w),
                                   ("dW = dY' x", dy.t(), x)):
        out = torch.empty(left.shape[0], right.shape[1], dtype=dtype)
        ordered_left, ordered_right = left.contiguous(), right.t().contiguous()
        yield direction, "mm", lambda: torch.mm(left, right, out=out)
        yield direction, "linear", lambda: linear(left, right.t())
        yield direction, "linear, ordered", lambda: linear(ordered_left, ordered_right)


def seconds_per_call(call, window):
    call()
    start = time.perf_counter()
    call()
    calls = max(1, round(window / (time.perf_counter() - start)))
    times = []
    for _ in range(WINDOWS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls)
    return statistics.median(times)


def work(rank, options, barrier, results):
    measure.pin([measure.cores(options.threads)[rank]])
    torch.set_grad_enabled(False)
    shape = SHAPES[options.model]
    rows = shape.micro_batch * shape.seq
    rates = []
    for weight in weights(shape):
        flops = 2 * rows * weight.outputs * weight.inputs
        for direction, way, call in products_of(weight, rows, TYPES[options.precision]):
            barrier.wait()
            rates.append((weight, direction, way, flops / seconds_per_call(call, options.window)))
    results.put(rates)


def fastest(all_rates):
    """{(weight, direction): (FLOP/s of all processes, way)}"""
    best = {}
    for same in zip(*all_rates):
        weight, direction, way, _ = same[0]
        rate = sum(entry[3] for entry in same)
        if rate > best.get((weight, direction), (0,))[0]:
            best[weight, direction] = (rate, way)
    return best


def mean_rate(best):
    """FLOP/s of the model's products together, each as often as a token needs it."""
    flops = {key: 2 * key[0].elements for key in best}
    return sum(flops.values()) / sum(flops[key] / rate for key, (rate, _) in best.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(SHAPES), default="bench-10m")
    parser.add_argument("--precision", choices=tuple(TYPES), default="fp32")
    parser.add_argument("--threads", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--window", type=float, default=0.02, help="seconds; a rate takes five")
    options = parser.parse_args()
    # Large blocks stay with the process, so that no way pays for fresh pages.
    os.environ.update(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_=str(2**40))
    context = torch.multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(options.threads), context.SimpleQueue()
    processes = torch.multiprocessing.spawn(work, (options, barrier, results),
                                            nprocs=options.threads, join=False)
    all_rates = [results.get() for _ in range(options.threads)]
    processes.join()
    best = fastest(all_rates)
    rate = mean_rate(best)
    measure.report(tokens=1, seconds=token_flops(SHAPES[options.model]) / rate, loss=None, memory=0,
                   gflops=1e-9 * rate,
                   products=[{"weight": weight.name, "product": direction, "way": way,
                              "gflops": 1e-9 * rate}
                             for (weight, direction), (rate, way) in best.items()])


if __name__ == "__main__":
    main()
