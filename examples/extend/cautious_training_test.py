"""Trains with the optimizer and the correction of cautious.cpp: cautious_training_test.py PROGRAM."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)

CONFIG = """
[model]
layers = 2
width = 32
heads = 2
ff = 64
vocab = 257
seq = 32
[data]
train = "text.txt"
tokenizer = "bytes"
val_fraction = 0.1
[pipeline]
stages = 2
schedule = "2bw"
micro_batches = 4
micro_batch = 2
[optimizer]
name = "cautious_lion"
lr = 2e-3
[correction]
name = "agreeing_feedback"
[train]
steps = 60
warmup = 5
[output]
dir = "run"
"""


class Training(unittest.TestCase):
    def test_loss_falls(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 400)
            (folder / "config.toml").write_text(CONFIG)
            done = subprocess.run([PROGRAM, "train", "config.toml", "--json"], cwd=folder,
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertLess(json.loads(done.stdout.splitlines()[-1])["val_loss"], 3.5)
            records = [json.loads(line) for line in
                       (folder / "run" / "metrics.jsonl").read_text().splitlines()]
            self.assertGreater(records[0]["loss"], 5)


if __name__ == "__main__":
    unittest.main()
