#!/usr/bin/env python3
"""Tokens/s of torch.distributed.pipelining training a model on two processes over Gloo, one pinned
thread each. --cut gives the layers of each piece in model order; the embedding goes with the
first, final norm and head with the last. 1f1b has one piece per process, interleaved-zb two:
processes take turns, so pieces 0 and 2 are on the first.
Example: python benchmarks/peers/pipeline.py --schedule interleaved-zb --cut 3,2,2,1"""

import os
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.distributed.pipelining import (PipelineStage, Schedule1F1B,
                                          ScheduleInterleavedZeroBubble)

import llama
import measure
from shapes import SHAPES, parse_cut

PROCESSES = 2
CHUNKS = {"1f1b": 1, "interleaved-zb": 2}  # pieces per process


def make_schedule(options, stages):
    if options.schedule == "1f1b":
        return Schedule1F1B(stages[0], options.micro_batches, loss_fn=llama.loss_of)
    return ScheduleInterleavedZeroBubble(stages, options.micro_batches, loss_fn=llama.loss_of)


def run_process(rank, rendezvous, options):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    measure.pin([measure.cores(PROCESSES)[rank]])
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank,
                            world_size=PROCESSES)
    shape, pieces = SHAPES[options.model], len(options.pieces)
    mine = range(rank, pieces, PROCESSES)
    models = torch.nn.ModuleList(
        llama.Llama(shape, *options.pieces[i], options.precision == "bf16", first_piece=i == 0,
                    last_piece=i == pieces - 1) for i in mine)
    parameters = torch.tensor(llama.count_parameters(models))
    dist.all_reduce(parameters)
    llama.check_parameters(options.model, parameters.item())

    optimizer = llama.adamw(models)
    tokens, targets = llama.random_batch(shape, options.micro_batches * shape.micro_batch)
    schedule = make_schedule(options, [
        PipelineStage(model, i, pieces, torch.device("cpu")) for model, i in zip(models, mine)])
    inputs = (tokens,) if 0 in mine else ()
    last = pieces - 1 in mine

    def update():
        losses = []
        wanted = dict(target=targets, losses=losses) if last else {}
        schedule.step(*inputs, return_outputs=False, **wanted)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return torch.stack(losses).mean().detach() if last else torch.zeros(())

    for _ in range(options.warmup):
        update()
    dist.barrier()
    start = time.perf_counter()
    for _ in range(options.updates):
        loss = update()
    dist.barrier()
    seconds = time.perf_counter() - start
    dist.all_reduce(loss)
    memory = torch.tensor(measure.peak_memory())
    dist.all_reduce(memory)
    if rank == 0:
        measure.report(tokens=options.updates * tokens.numel(), seconds=seconds,
                       loss=loss.item(), memory=memory.item())
    dist.destroy_process_group()


def main():
    parser = measure.parser(__doc__)
    parser.add_argument("--schedule", choices=tuple(CHUNKS), default="1f1b")
    parser.add_argument("--cut", required=True, metavar="LAYERS,LAYERS...")
    options = parser.parse_args()
    try:
        options.pieces = parse_cut(options.cut, SHAPES[options.model].layers,
                                   PROCESSES * CHUNKS[options.schedule])
    except ValueError as error:
        parser.error(f"--cut: {error}")
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(run_process, (os.path.join(folder, "rendezvous"), options),
                                    nprocs=PROCESSES)


if __name__ == "__main__":
    main()
