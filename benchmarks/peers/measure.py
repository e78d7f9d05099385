"""What the peers' scripts share: their flags, their place on the machine, their last line."""

import argparse
import json
import os
import resource

import torch


def parse(description, *, threads):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=4, help="sequences")
    parser.add_argument("--warmup", type=int, default=2, help="updates that are not timed")
    parser.add_argument("--updates", type=int, default=10, help="updates that are timed")
    if threads:
        parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def pin(cores):
    """Binds this process to `cores`, given as positions among those it may use, and gives it one
    thread for each of them."""
    allowed = sorted(os.sched_getaffinity(0))
    if max(cores) >= len(allowed):
        raise SystemExit(f"the machine lends {len(allowed)} cores, this needs {max(cores) + 1}")
    os.sched_setaffinity(0, {allowed[c] for c in cores})
    torch.set_num_threads(len(cores))


def peak_memory():
    """Peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(*, tokens, seconds, parameters, loss, memory):
    """Prints the result as the last line, in the keys that `penstock train --json` uses."""
    print(json.dumps({"tokens": tokens, "seconds": seconds, "tokens_per_s": tokens / seconds,
                      "parameters": parameters, "train_loss": loss, "peak_rss_bytes": memory,
                      "torch": torch.__version__}), flush=True)
