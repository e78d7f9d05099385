#!/usr/bin/env python3
"""Tokens/s of torch.distributed.pipelining's 1F1B schedule training bench-10m on two processes over
Gloo, one pinned thread each. The cut is the best one that keeps layers whole: 5 layers with the
embedding, 3 with the head, which costs about as much as 2.7 layers.
Example: python benchmarks/peers/pipeline_1f1b.py --precision bf16"""

import os
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

import llama
import measure

CUTS = (0, 5, 8)
STAGES = len(CUTS) - 1


def run_stage(rank, rendezvous, options):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    measure.pin([rank])
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank,
                            world_size=STAGES)
    shape, last = llama.BENCH_10M, rank == STAGES - 1
    model = llama.Llama(shape, CUTS[rank], CUTS[rank + 1], options.precision == "bf16")
    parameters = torch.tensor(llama.count_parameters(model))
    dist.all_reduce(parameters)
    llama.check_parameters(parameters.item())

    optimizer = llama.adamw(model)
    tokens, targets = llama.random_batch(shape, options.micro_batches * options.micro_batch)
    stage = PipelineStage(model, rank, STAGES, torch.device("cpu"))
    schedule = Schedule1F1B(stage, options.micro_batches, loss_fn=llama.loss_of)

    def update():
        losses = []
        inputs = (tokens,) if rank == 0 else ()
        if last:
            schedule.step(*inputs, target=targets, losses=losses)
        else:
            schedule.step(*inputs)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return torch.stack(losses).mean() if last else torch.zeros(())

    for _ in range(options.warmup):
        update()
    dist.barrier()
    start = time.perf_counter()
    for _ in range(options.updates):
        loss = update()
    dist.barrier()
    seconds = time.perf_counter() - start
    loss = loss.detach().clone()
    dist.all_reduce(loss)
    memory = torch.tensor(measure.peak_memory())
    dist.all_reduce(memory)
    if rank == 0:
        measure.report(tokens=options.updates * tokens.numel(), seconds=seconds,
                       parameters=parameters.item(), loss=loss.item(), memory=memory.item())
    dist.destroy_process_group()


def main():
    options = measure.parse(__doc__, threads=False)
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(run_stage, (os.path.join(folder, "rendezvous"), options),
                                    nprocs=STAGES)


if __name__ == "__main__":
    main()
