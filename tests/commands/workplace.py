"""A folder with a model, text and a configuration of a few kilobytes, in which tests run the built
program from end to end, as a user would. A test file calls main(); it is started as

    NAME_test.py PROGRAM [unittest arguments]
"""

import concurrent.futures
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM = ""
SECTIONS = ["model", "data", "pipeline", "optimizer", "optimizer.fallback", "correction", "train",
            "output"]
SEQ, MICRO_BATCH, MICRO_BATCHES, STEPS = 32, 2, 4, 24
TOKENS_PER_UPDATE = SEQ * MICRO_BATCH * MICRO_BATCHES

CONFIG = f"""
[model]
layers = 2
width = 32
heads = 4
kv_heads = 2
ff = 48
vocab = 257
seq = {SEQ}

[data]
train = "text/*.txt"
val_fraction = 0.2
cache = "cache"

[pipeline]
stages = 2
schedule = "2bw"
micro_batches = {MICRO_BATCHES}
micro_batch = {MICRO_BATCH}

[optimizer]
name = "adamw"
lr = 1e-2

[train]
steps = {STEPS}
warmup = 6
clip = 0.5
threads = 1
eval_every = 10
eval_sequences = 5

[output]
dir = "out"
"""


def pseudo_text(seed, words):
    """Words of a small language, some much more frequent than others, in lines."""
    source = random.Random(seed)
    syllables = ["ka", "to", "mi", "ren", "sol", "ba", "du", "ni", "fe", "gra"]
    language = ["".join(source.choices(syllables, k=source.randint(1, 3))) for _ in range(200)]
    weights = [1 / (rank + 1) for rank in range(len(language))]
    chosen = source.choices(language, weights, k=words)
    lines = [" ".join(chosen[i:i + 9]) for i in range(0, words, 9)]
    return "\n".join(lines) + "\n"


def read_weights_header(path):
    """The header of a safetensors file, parsed by its specification alone."""
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        body = file.read()
    header.pop("__metadata__", None)
    return header, body


class Workplace(unittest.TestCase):
    """A folder with text and a configuration, and ways to run the program in it."""

    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.shared.cleanup)
        text = os.path.join(cls.shared.name, "text")
        os.mkdir(text)
        for number in range(8):
            with open(os.path.join(text, f"{number}.txt"), "w", encoding="ascii") as file:
                file.write(pseudo_text(number, 5000))

    def setUp(self):
        self.folder = os.path.join(self.shared.name, self.id().rsplit(".", 1)[-1])
        os.mkdir(self.folder)
        os.symlink("../text", self.path("text"))
        os.symlink("../cache", self.path("cache"))
        os.makedirs(os.path.join(self.shared.name, "cache"), exist_ok=True)
        self.write("a.toml", CONFIG)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, content):
        with open(self.path(name), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return name

    def run_program(self, *arguments, folder=None):
        return subprocess.run([PROGRAM, *arguments], cwd=folder or self.folder, timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def succeed(self, *arguments, folder=None):
        result = self.run_program(*arguments, folder=folder)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        self.assertEqual(result.stderr, b"")
        # A sample may end within a character.
        return result.stdout.decode(errors="replace")

    def train(self, *settings, config="a.toml"):
        """The summary of a run with `section.key=value` overrides."""
        return json.loads(self.train_text(*settings, config=config).splitlines()[-1])

    def train_text(self, *settings, config="a.toml", folder=None):
        overrides = [part for setting in settings for part in ("--set", setting)]
        return self.succeed("train", config, "--json", *overrides, folder=folder)

    def metrics(self, run="out"):
        with open(self.path(run, "metrics.jsonl"), encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
        evaluations = [record for record in records if "val_loss" in record]
        return [record for record in records if "val_loss" not in record], evaluations

    def refuse(self, *cases):
        """Each case is (arguments, *parts): the program must end with code 2 and one line on
        stderr that has all parts, and write nothing."""
        before = sorted(os.listdir(self.folder))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(lambda case: self.run_program(*case[0]), cases)
            for (arguments, *parts), result in zip(cases, results):
                with self.subTest(arguments):
                    error = result.stderr.decode()
                    self.assertEqual(result.returncode, 2, error)
                    self.assertRegex(error, r"\A\[[^\]\n]+\] [^\n]+\n\Z")
                    for part in parts:
                        self.assertIn(part, error)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def with_config(self, text):
        """Arguments for training as `text` says."""
        name = f"bad-{len(os.listdir(self.folder))}.toml"
        return ["train", self.write(name, text)]


def with_settings(*settings):
    """Arguments for training with `section.key=value` overrides."""
    return ["train", "a.toml", *(part for setting in settings for part in ("--set", setting))]


def program():
    """The absolute path of the program under test."""
    return PROGRAM


def main():
    global PROGRAM
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} PROGRAM [unittest arguments]")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
