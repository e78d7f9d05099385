#!/usr/bin/env python3
"""Seconds per update of torch.optim over one large matrix, as `optimizer-benchmark` times Penstock's.
Example: python benchmarks/peers/optimizers.py --rows 4096 --columns 4096"""

import argparse
import json
import time

import torch


def cases(options):
    """(name, optimizer's class, its options, rows, columns)"""
    whole = (options.rows, options.columns)
    matrix = (options.matrix_rows, options.matrix_columns)
    adamw = {"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 0.1}
    yield "adamw", "fused", torch.optim.AdamW, {**adamw, "fused": True}, whole
    yield "adamw", "foreach", torch.optim.AdamW, {**adamw, "foreach": True}, whole
    yield "sgd", "fused", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "fused": True}, whole
    if hasattr(torch.optim, "Muon"):
        yield "muon", "", torch.optim.Muon, {"lr": 1e-3, "weight_decay": 0.1}, matrix


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--rows", 4096), ("--columns", 4096), ("--matrix-rows", 512),
                          ("--matrix-columns", 512), ("--rounds", 7), ("--threads", 1)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    timed = []
    for name, form, kind, arguments, shape in cases(options):
        weight = torch.nn.Parameter(torch.randn(shape) * 0.02)
        weight.grad = torch.randn(shape)
        timed.append((name, form, weight, kind([weight], **arguments), []))
    for _, _, _, optimizer, _ in timed:
        for _ in range(2):  # the first makes the state
            optimizer.step()
    for _ in range(options.rounds):
        for _, _, _, optimizer, seconds in timed:
            start = time.perf_counter()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"torch": torch.__version__, "cases": [
        {"optimizer": name, "form": form, "elements": weight.numel(), "seconds": seconds}
        for name, form, weight, _, seconds in timed]}))


if __name__ == "__main__":
    main()
