#!/usr/bin/env python3
"""Tokens/s of PyTorch eager training bench-10m in one process, gradients accumulated over the
micro-batches. Example: python benchmarks/peers/eager.py --precision bf16 --threads 2"""

import time

import llama
import measure


def main():
    options = measure.parse(__doc__, threads=True)
    measure.pin(range(options.threads))
    shape = llama.BENCH_10M
    model = llama.Llama(shape, 0, shape.layers, options.precision == "bf16")
    llama.check_parameters(llama.count_parameters(model))
    optimizer = llama.adamw(model)
    sequences = options.micro_batches * options.micro_batch
    tokens, targets = llama.random_batch(shape, sequences)

    def update():
        total = 0.0
        for x, y in zip(tokens.split(options.micro_batch), targets.split(options.micro_batch)):
            loss = llama.loss_of(model(x), y) / options.micro_batches
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total

    for _ in range(options.warmup):
        update()
    start = time.perf_counter()
    for _ in range(options.updates):
        loss = update()
    measure.report(tokens=options.updates * sequences * shape.seq,
                   seconds=time.perf_counter() - start,
                   parameters=llama.count_parameters(model), loss=loss,
                   memory=measure.peak_memory())


if __name__ == "__main__":
    main()
