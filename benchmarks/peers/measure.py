"""What the peers' scripts share: their flags, their place on the machine, their last line."""

import argparse
import json
import os
import resource

import torch

from shapes import SHAPES


def parser(description):
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--model", choices=tuple(SHAPES), default="bench-10m")
    made.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    made.add_argument("--micro-batches", type=int, default=4)
    made.add_argument("--warmup", type=int, default=2, help="updates that are not timed")
    made.add_argument("--updates", type=int, default=10, help="updates that are timed")
    return made


def cores(wanted):
    """The first `wanted` cores that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if wanted > len(allowed):
        raise SystemExit(f"the machine lends {len(allowed)} cores, this needs {wanted}")
    return allowed[:wanted]


def pin(chosen):
    """Binds this process to these cores, and gives it one thread for each of them."""
    os.sched_setaffinity(0, set(chosen))
    torch.set_num_threads(len(chosen))


def peak_memory():
    """Peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(*, tokens, seconds, loss, memory, **more):
    """Prints the result as the last line, in the keys that `penstock train --json` uses."""
    print(json.dumps({"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds,
                      "train_loss": loss, "peak_rss_bytes": memory, **more}), flush=True)
