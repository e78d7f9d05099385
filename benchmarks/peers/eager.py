#!/usr/bin/env python3
"""Tokens/s of PyTorch training a model in one process, gradients accumulated over micro-batches;
eager, or compiled with torch.compile's default mode (model and loss, so that it can fuse both).
Example: python benchmarks/peers/eager.py --precision bf16 --threads 2 --compile"""

import time

import torch

import llama
import measure
from shapes import SHAPES


def main():
    parser = measure.parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    measure.pin(measure.cores(options.threads))
    shape = SHAPES[options.model]
    model = llama.Llama(shape, 0, shape.layers, options.precision == "bf16")
    llama.check_parameters(options.model, llama.count_parameters(model))
    optimizer = llama.adamw(model)
    sequences = options.micro_batches * shape.micro_batch
    tokens, targets = llama.random_batch(shape, sequences)

    def model_loss(x, y):
        return llama.loss_of(model(x), y)

    if options.compile:
        model_loss = torch.compile(model_loss)

    def update():
        total = 0.0
        for x, y in zip(tokens.split(shape.micro_batch), targets.split(shape.micro_batch)):
            loss = model_loss(x, y) / options.micro_batches
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    for _ in range(options.warmup):  # the first compiles
        update()
    start = time.perf_counter()
    for _ in range(options.updates):
        loss = update()
    measure.report(tokens=options.updates * tokens.numel(), seconds=time.perf_counter() - start,
                   loss=loss, memory=measure.peak_memory())


if __name__ == "__main__":
    main()
