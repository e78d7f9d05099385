#!/usr/bin/env python3
"""Runs the built program from end to end, as a user would, on text and models of a few kilobytes.

Usage: commands_test.py PROGRAM [unittest arguments]
"""

import concurrent.futures
import glob
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
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
                    self.assertRegex(error, r"\A\[[a-z ]+\] [^\n]+\n\Z")
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


class Equivalences(Workplace):
    def run_with(self, *settings):
        """Hash and, at full precision, what every update and evaluation reported."""
        run = "_".join(("run", *settings))
        summary = self.train(f"output.dir={run}", *settings)
        updates, evaluations = self.metrics(run)
        keys = ("step", "loss", "gradient_norm", "clip_factor", "lr", "tokens")
        reported = [tuple(update[key] for key in keys) for update in updates]
        reported += [(e["step"], e["val_loss"], e["sequences"]) for e in evaluations]
        return summary["weights_hash"], reported

    def run_each(self, *runs):
        """run_with() of every tuple of settings, several at a time."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda settings: self.run_with(*settings), runs))

    def check_stages(self, *settings):
        one, *more = self.run_each(*((f"pipeline.stages={d}", *settings) for d in (1, 2, 3)))
        for result in more:
            self.assertEqual(result, one)
        return one

    def test_2bw_is_one_delayed_loop_for_any_number_of_stages(self):
        _, reported = self.check_stages()
        updates = [record for record in reported if len(record) == 6]
        self.assertEqual(len(updates), STEPS)
        self.assertLess(min(clip for _, _, _, clip, _, _ in updates), 0.99)
        self.assertGreater(len({lr for _, _, _, _, lr, _ in updates}), STEPS // 2)

    def test_2bw_with_muon_and_error_feedback_too(self):
        self.check_stages("optimizer.name=muon", "correction.name=error_feedback")

    def test_2bw_with_a_tied_head_too(self):
        self.check_stages("model.tied=true")

    def test_1f1b_is_the_plain_loop_for_any_number_of_stages(self):
        self.check_stages("pipeline.schedule=1f1b")

    def test_settings_that_change_the_result(self):
        settings = ("pipeline.schedule=1f1b", "correction.name=error_feedback",
                    "optimizer.name=muon", "train.clip=0", "train.seed=1", "model.tied=true",
                    "train.precision=bf16")
        results = self.run_each((), *((setting,) for setting in settings))
        self.assertEqual(len({weights_hash for weights_hash, _ in results}), len(settings) + 1)

    def test_a_partition_by_hand_gives_the_same_weights(self):
        automatic = self.run_with()
        for partition in ("[1,5]", "[5,1]"):
            self.assertEqual(self.run_with(f"pipeline.partition={partition}"), automatic)

    def test_evaluations_do_not_change_the_weights(self):
        self.assertEqual(self.run_with("train.eval_every=3")[0], self.run_with()[0])


class Summary(Workplace):
    def test_json_is_the_last_line_and_complete(self):
        summary = self.train()
        self.assertEqual(set(summary), {
            "steps", "tokens", "seconds", "tokens_per_s", "train_loss", "val_loss",
            "busy_fraction", "peak_rss_bytes", "weights_hash", "eval_seconds", "interrupted",
            "run_dir"})
        self.assertEqual(summary["steps"], STEPS)
        self.assertEqual(summary["tokens"], STEPS * TOKENS_PER_UPDATE)
        self.assertGreater(summary["seconds"], 0)
        self.assertAlmostEqual(summary["tokens_per_s"] * summary["seconds"] / summary["tokens"], 1)
        self.assertEqual(len(summary["busy_fraction"]), 2)
        for share in summary["busy_fraction"]:
            self.assertTrue(0 < share <= 1, share)
        self.assertTrue(2**24 < summary["peak_rss_bytes"] < 2**34, summary["peak_rss_bytes"])
        self.assertRegex(summary["weights_hash"], r"\A[0-9a-f]{16}\Z")
        self.assertIs(summary["interrupted"], False)
        self.assertEqual(summary["run_dir"], "out")
        updates, evaluations = self.metrics()
        self.assertEqual(summary["train_loss"], updates[-1]["loss"])
        self.assertEqual(summary["val_loss"], evaluations[-1]["val_loss"])
        # From ln 257 = 5.55 towards the text's own entropy.
        self.assertGreater(updates[0]["loss"], 5.3)
        self.assertLess(summary["train_loss"], 4.5)
        self.assertLess(summary["val_loss"], 4.5)

    def test_metrics_have_every_update_and_evaluation(self):
        self.train()
        updates, evaluations = self.metrics()
        self.assertEqual([update["step"] for update in updates], list(range(1, STEPS + 1)))
        self.assertEqual([update["tokens"] for update in updates],
                         [TOKENS_PER_UPDATE * step for step in range(1, STEPS + 1)])
        self.assertEqual([evaluation["step"] for evaluation in evaluations], [10, 20, STEPS])
        self.assertEqual({evaluation["sequences"] for evaluation in evaluations}, {5})
        for update in updates:
            self.assertEqual(len(update["busy"]), 2)
            factor = min(1, 0.5 / (update["gradient_norm"] + 1e-6))
            self.assertAlmostEqual(update["clip_factor"], factor, places=12)
        # (b + 1) / warmup of the peak, which update 5 reaches; 0.1 of it is what is left.
        self.assertAlmostEqual(updates[0]["lr"], 1e-2 / 6, places=12)
        self.assertAlmostEqual(updates[5]["lr"], 1e-2, places=12)
        self.assertTrue(1e-3 <= updates[-1]["lr"] < 2e-3, updates[-1]["lr"])
        times = [update["seconds"] for update in updates]
        self.assertEqual(times, sorted(times))

    def test_a_run_that_ends_on_an_evaluation_has_it_once(self):
        self.train("train.eval_every=8")
        self.assertEqual([e["step"] for e in self.metrics()[1]], [8, 16, 24])

    def test_without_validation_there_is_no_validation_loss(self):
        self.assertIsNone(self.train("data.val_fraction=0")["val_loss"])
        self.assertEqual(self.metrics()[1], [])

    def test_without_updates_the_initial_weights_are_written(self):
        summary = self.train("train.steps=0", "train.warmup=0")
        self.assertEqual((summary["steps"], summary["tokens"]), (0, 0))
        self.assertIsNone(summary["train_loss"])
        self.assertIs(summary["interrupted"], False)
        self.assertEqual(self.metrics()[0], [])
        header, body = read_weights_header(self.path("out", "model.safetensors"))
        first, last = header["model.norm.weight"]["data_offsets"]
        self.assertEqual(body[first:last], struct.pack("<32f", *[1.0] * 32))
        same = self.train("train.steps=0", "train.warmup=0", "pipeline.stages=1")
        self.assertEqual(same["weights_hash"], summary["weights_hash"])
        self.assertNotEqual(self.train("train.steps=1", "train.warmup=0")["weights_hash"],
                            summary["weights_hash"])

    def test_tokens_instead_of_steps(self):
        config = CONFIG.replace(f"steps = {STEPS}", f"tokens = {STEPS * TOKENS_PER_UPDATE + 9}")
        by_tokens = self.train(config=self.write("b.toml", config))
        self.assertEqual(by_tokens["steps"], STEPS)
        self.assertEqual(by_tokens["weights_hash"], self.train()["weights_hash"])

    def test_a_pipe_gets_plain_lines(self):
        text = self.train_text()
        self.assertNotRegex(text, "[\r\x1b]")
        for line in (f"step {STEPS}/{STEPS}", "stage 0:", "stage 1:", "weights hash"):
            self.assertIn(line, text)

    def test_a_sample_at_the_end(self):
        text = self.train_text("output.sample=mi", "output.sample_tokens=5")
        self.assertIn('sample (prompt "mi"):\nmi', text)
        self.assertNotIn("sample (", self.train_text())

    def test_works_in_another_folder_and_with_stdin_closed(self):
        os.mkdir(self.path("elsewhere"))
        settings = ["data.train=../text", "data.cache=../cache"]
        text = self.train_text(*settings, config="../a.toml", folder=self.path("elsewhere"))
        self.assertTrue(os.path.exists(self.path("elsewhere", "out", "model.safetensors")))
        command = f'exec "$0" train a.toml --json <&- >"{self.path("log")}"'
        subprocess.run(["sh", "-c", command, PROGRAM], cwd=self.folder, check=True, timeout=60)
        with open(self.path("log"), encoding="utf-8") as file:
            again = json.loads(file.read().splitlines()[-1])
        self.assertEqual(json.loads(text.splitlines()[-1])["weights_hash"], again["weights_hash"])


class RunFolders(Workplace):
    def test_contents(self):
        self.train()
        self.assertEqual(sorted(os.listdir(self.path("out"))),
                         ["config.toml", "metrics.jsonl", "model.safetensors", "tokenizer.json"])

    def test_its_configuration_gives_the_same_weights_again(self):
        first = self.train("optimizer.name=muon", "correction.name=error_feedback",
                           "train.seed=3", "pipeline.partition=[2,4]")
        again = self.train("output.dir=again", config="out/config.toml")
        self.assertEqual(again["weights_hash"], first["weights_hash"])
        with open(self.path("out", "config.toml"), encoding="utf-8") as file:
            expected = file.read().replace('dir = "out"', 'dir = "again"')
        with open(self.path("again", "config.toml"), encoding="utf-8") as file:
            self.assertEqual(file.read(), expected)

    def test_earlier_runs_are_kept(self):
        hashes = [self.train(f"train.seed={seed}")["weights_hash"] for seed in range(3)]
        self.assertEqual(len(set(hashes)), 3)
        for name, seed in (("out.1", 0), ("out.2", 1), ("out", 2)):
            with open(self.path(name, "config.toml"), encoding="utf-8") as file:
                self.assertIn(f"seed = {seed}\n", file.read(), name)
            self.assertTrue(os.path.exists(self.path(name, "model.safetensors")))

    def check_weights(self, tied):
        self.train(f"model.tied={str(tied).lower()}", "train.steps=1", "train.warmup=1")
        width, kv, ff, vocab = 32, 16, 48, 257
        expected = {"model.embed_tokens.weight": [vocab, width], "model.norm.weight": [width]}
        if not tied:
            expected["lm_head.weight"] = [vocab, width]
        for layer in range(2):
            for name, shape in (("input_layernorm", [width]), ("post_attention_layernorm", [width]),
                                ("self_attn.q_proj", [width, width]),
                                ("self_attn.k_proj", [kv, width]),
                                ("self_attn.v_proj", [kv, width]),
                                ("self_attn.o_proj", [width, width]),
                                ("mlp.gate_proj", [ff, width]),
                                ("mlp.up_proj", [ff, width]), ("mlp.down_proj", [width, ff])):
                expected[f"model.layers.{layer}.{name}.weight"] = shape
        header, body = read_weights_header(self.path("out", "model.safetensors"))
        self.assertEqual({name: entry["shape"] for name, entry in header.items()}, expected)
        self.assertEqual({entry["dtype"] for entry in header.values()}, {"F32"})
        ends = 0
        for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
            self.assertEqual(begin, ends)
            ends = end
        self.assertEqual(ends, len(body))

    def test_weights_have_the_names_and_shapes_of_hugging_face(self):
        self.check_weights(tied=False)

    def test_a_tied_model_has_no_head(self):
        self.check_weights(tied=True)


class Interruption(Workplace):
    LONG = ("train.steps=1000000", "train.eval_every=0")

    def start(self, *settings):
        overrides = [part for setting in (*self.LONG, *settings) for part in ("--set", setting)]
        process = subprocess.Popen([PROGRAM, "train", "a.toml", "--json", *overrides],
                                   cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        metrics = self.path("out", "metrics.jsonl")
        deadline = time.monotonic() + 30
        while not (os.path.exists(metrics) and os.path.getsize(metrics) > 1000):
            self.assertIsNone(process.poll(), "ended too early")
            self.assertLess(time.monotonic(), deadline, "does not start")
            time.sleep(0.02)
        return process

    def check_end(self, process):
        output, error = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 0, error)
        self.assertIn(b"stopping after the started batches", error)
        summary = json.loads(output.decode().splitlines()[-1])
        self.assertIs(summary["interrupted"], True)
        updates, evaluations = self.metrics()
        self.assertEqual(summary["steps"], len(updates))
        self.assertEqual([e["step"] for e in evaluations], [summary["steps"]])
        self.succeed("generate", "out", "--prompt", "mi", "--tokens", "5")

    def test_a_folder_is_written_by_one_run_at_a_time(self):
        process = self.start()
        second = subprocess.run([PROGRAM, "train", "a.toml"], cwd=self.folder,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self.assertEqual(second.returncode, 2)
        self.assertIn(b"[output] 'out' is being written by another run", second.stderr)
        process.send_signal(signal.SIGINT)
        self.check_end(process)

    def test_sigint_ends_the_run_and_writes_the_weights(self):
        process = self.start()
        process.send_signal(signal.SIGINT)
        self.check_end(process)

    def test_sigterm_does_too(self):
        process = self.start("pipeline.stages=1", "pipeline.schedule=1f1b")
        process.send_signal(signal.SIGTERM)
        self.check_end(process)

    def test_while_it_runs_there_are_no_weights(self):
        self.start()
        self.assertFalse(os.path.exists(self.path("out", "model.safetensors")))
        self.refuse((["generate", "out"], "'out' has no model.safetensors", "Ctrl-C"))


class Generate(Workplace):
    def setUp(self):
        super().setUp()
        self.train("pipeline.stages=1")

    def generate(self, *arguments):
        return self.succeed("generate", "out", "--prompt", "mi", *arguments)

    def test_text_is_a_function_of_the_arguments(self):
        first = self.generate("--seed", "1", "--tokens", "40")
        self.assertEqual(self.generate("--seed", "1", "--tokens", "40"), first)
        self.assertNotEqual(self.generate("--seed", "2", "--tokens", "40"), first)
        self.assertTrue(first.startswith("mi"), first)

    def test_temperature_zero_knows_no_chance(self):
        first = self.generate("--temperature", "0", "--seed", "1")
        self.assertEqual(self.generate("--temperature", "0", "--seed", "2"), first)
        self.assertEqual(self.generate("--top-k", "1", "--seed", "3"), first)

    def test_json(self):
        lines = self.generate("--json", "--tokens", "7", "--temperature", "0").splitlines()
        summary = json.loads(lines[-1])
        self.assertEqual(set(summary), {"prompt", "text", "tokens"})
        self.assertEqual(summary["prompt"], "mi")
        self.assertTrue(summary["text"].startswith("mi"))
        self.assertLessEqual(summary["tokens"], 7)
        # One byte per token; the mark that ends a document has none.
        self.assertEqual(len(summary["text"]), 2 + summary["tokens"])

    def test_more_tokens_than_the_model_sees(self):
        lines = self.generate("--json", "--tokens", str(3 * SEQ), "--temperature", "0").splitlines()
        self.assertEqual(json.loads(lines[-1])["tokens"], 3 * SEQ)

    def test_bad_input(self):
        self.refuse(
            (["generate", "nowhere"], "[run] 'nowhere' is no run folder", "output.dir"),
            (["generate", "a.toml"], "'a.toml' is no run folder"),
            (["generate"], "[command line]", "penstock generate --help"),
            (["generate", "out", "--tokens", "0"], "--tokens"),
            (["generate", "out", "--temperature", "-1"], "--temperature"),
            (["generate", "out", "--temperature", "nan"], "--temperature", "nan"),
            (["generate", "out", "--temperature", "inf"], "--temperature", "inf"),
            (["generate", "out", "--top-k", "-1"], "--top-k"),
            (["generate", "out", "--promt", "x"], "'--promt'", "did you mean '--prompt'?"))
        weights = self.path("out", "model.safetensors")
        os.truncate(weights, os.path.getsize(weights) // 2)
        self.refuse((["generate", "out"], "out/model.safetensors", "no readable safetensors file"))
        os.remove(weights)
        self.refuse((["generate", "out"], "'out' has no model.safetensors"))


class BadConfigurations(Workplace):
    def test_files(self):
        self.refuse(
            (["train", "nowhere.toml"], "[config]", "'nowhere.toml'", "No such file"),
            (["train", "."], "[config]", "'.'"),
            (self.with_config("[model\nlayers = 2"), ".toml:1 is not valid TOML"),
            (self.with_config(CONFIG + "\nlayers = = 2\n"), ".toml:", "is not valid TOML"),
            (self.with_config(""), "[config]"))

    def test_names(self):
        self.refuse(
            (self.with_config(CONFIG + "\n[optimiser]\nlr = 1\n"), "unknown section 'optimiser'",
             "did you mean 'optimizer'?"),
            (with_settings("train.stesp=3"), "unknown key 'train.stesp'",
             "did you mean 'train.steps'?"),
            (self.with_config(CONFIG.replace("kv_heads", "kvheads")),
             "unknown key 'model.kvheads'", ".toml:6", "'model.kv_heads'"),
            (with_settings("optimizer.name=moun"), '"moun"', "did you mean 'muon'?"),
            (with_settings("correction.name=error_feedbak"), "did you mean 'error_feedback'?"),
            (with_settings("pipeline.schedule=2bv"), '"2bv"', "did you mean '2bw'?"),
            (with_settings("model.preset=nani"), "did you mean 'nano'?"))

    def test_values(self):
        self.refuse(*((with_settings(f"optimizer.lr={value}"), f"optimizer.lr = {value}", rule)
                      for value, rule in (("nan", "not finite"), ("inf", "not finite"),
                                          ("-0.5", "out of range"), ("0", "out of range"),
                                          ('"1"', "a number"), ("fast", "a number"))))
        self.refuse(
            (self.with_config(CONFIG.replace("lr = 1e-2", "lr = nan")), "optimizer.lr = nan",
             ".toml:24", "not finite"),
            (with_settings("train.steps=-1"), "train.steps = -1", "out of range"),
            (with_settings("train.steps=1.5"), "train.steps = 1.5", "whole number"),
            (with_settings("model.layers=0"), "model.layers = 0", "out of range"),
            (with_settings("model.tied=maybe"), "model.tied", "true or false"),
            (with_settings("data.val_fraction=1"), "data.val_fraction", "[0, 1)"),
            (with_settings("train.precision=fp64"), "fp32, bf16"))

    def test_rules_between_values(self):
        self.refuse(
            (with_settings("pipeline.micro_batches=2", "pipeline.stages=3"),
             "pipeline.micro_batches >= pipeline.stages", "they are 2 and 3"),
            (with_settings("pipeline.micro_batches=9", "pipeline.stages=7"),
             "pipeline.stages = 7", "only 6 units"),
            (with_settings("pipeline.partition=[2,3]"), "[2, 3] distributes 5 units", "sum to 6"),
            (with_settings("pipeline.partition=[2,2,2]"), "is for 3 stages", "pipeline.stages = 2"),
            (with_settings("pipeline.partition=[0,6]"), "[0, 6]"),
            (with_settings("train.tokens=100000"), f"train.steps = {STEPS}",
             "train.tokens = 100000", "remove one"),
            (self.with_config(CONFIG.replace(f"steps = {STEPS}", "")),
             "train.steps or train.tokens"),
            (with_settings(f"train.warmup={STEPS + 1}"), f"train.warmup = {STEPS + 1}",
             f"{STEPS} updates"),
            (with_settings("model.heads=5"), "model.width = 32", "model.heads = 5"),
            (with_settings("model.kv_heads=3"), "model.heads = 4", "model.kv_heads = 3"),
            (with_settings("model.vocab=256"), "model.vocab = 256", "257"))

    def test_the_run_folder(self):
        self.write("in_the_way", "a file")
        self.refuse(*((with_settings(f"output.dir={folder}"), "[output]", f"'{folder}'",
                       "set output.dir") for folder in ("in_the_way", "in_the_way/below")))
        with open(self.path("in_the_way"), encoding="ascii") as file:
            self.assertEqual(file.read(), "a file")


class BadData(Workplace):
    def tokenize(self, out, *arguments):
        self.succeed("tokenize", "text", "--out", out, *arguments)
        return out

    def test_text(self):
        self.write("empty.txt", "")
        self.write("short.txt", "abc")
        self.refuse(
            (with_settings("data.train=no_such.txt"), "[data] 'no_such.txt' does not exist"),
            (with_settings("data.train=no_such/*.txt"), "'no_such/*.txt' matches nothing"),
            (with_settings("data.train=[]"), "data.train"),
            (with_settings("data.train=empty.txt"), "[data] there is no training text: 1 file"),
            (with_settings("data.train=short.txt"), "[data] 4 tokens", "model.seq"))

    def test_shards(self):
        self.tokenize("shards", "--tokenizer", "bytes")
        shard, = glob.glob(self.path("shards", "train*.tokens"))
        with open(shard, "rb") as file:
            content = file.read()
        half = len(content) // 2
        self.write("cut.tokens", content[:half])
        self.write("empty.tokens", b"")
        self.write("odd.bin", b"123")
        self.write("large.bin", struct.pack("<2000H", *range(2000)))
        self.refuse(
            (with_settings("data.train=gone.tokens"), "[data] 'gone.tokens' does not exist"),
            (with_settings("data.train=cut.tokens"), "'cut.tokens' is cut off", f"{half} bytes",
             str(len(content))),
            (with_settings("data.train=empty.tokens"), "[data]", "'empty.tokens'"),
            (with_settings("data.train=odd.bin"), "'odd.bin' has 3 bytes"),
            (with_settings("data.train=large.bin"), "'large.bin' holds the id 1999",
             "vocabulary has 257 ids", "model.vocab to 2000"))

    def test_tokenizers(self):
        self.tokenize("bpe", "--vocab", "300")
        self.tokenize("bytes", "--tokenizer", "bytes")
        self.write("broken.json", '{"format": "something"}')
        other = ("data.train=bpe", "model.vocab=300", "data.tokenizer=bytes/tokenizer.json")
        self.refuse(
            (with_settings("data.train=bpe"), "300", "257", "model.vocab to 300"),
            (with_settings("data.tokenizer=bpe/tokenizer.json"), "'bpe/tokenizer.json' has 300 ids",
             "257", "model.vocab to 300"),
            (with_settings(*other), "[data]", "bytes/tokenizer.json", "train-000.tokens"),
            (with_settings("data.tokenizer=broken.json"), "'broken.json' is not a usable"),
            (with_settings("data.tokenizer=none.json"), "'none.json'"))

    def test_foreign_shards_have_no_text(self):
        self.write("plain.bin", struct.pack("<4000H", *[i % 251 for i in range(4000)]))
        self.refuse((with_settings("data.train=plain.bin", "output.sample=mi"), "[output]",
                     "output.sample", "tokenizer"))
        self.train("data.train=plain.bin")
        self.refuse((["generate", "out"], "[run] 'out' has no tokenizer.json"))


class Bpe(Workplace):
    def test_text_and_its_shards_train_alike(self):
        """Tokenizing beforehand or by the way gives the same tokens, so the same weights."""
        settings = ("model.vocab=300", "data.val_fraction=0")
        by_the_way = self.train("data.tokenizer=bpe", *settings)
        self.succeed("tokenize", "text/0.txt", "text/1.txt", "text/2.txt", "text/3.txt",
                     "text/4.txt", "text/5.txt", "text/6.txt", "text/7.txt", "--out", "shards",
                     "--vocab", "300", "--val-fraction", "0")
        beforehand = self.train("data.train=shards", *settings)
        self.assertEqual(by_the_way["weights_hash"], beforehand["weights_hash"])
        self.assertTrue(self.succeed("generate", "out", "--prompt", "mi").startswith("mi"))

    def test_the_cache_changes_nothing(self):
        settings = ("data.tokenizer=bpe", "model.vocab=290", "data.cache=own")
        first = self.train_text(*settings)
        second = self.train_text(*settings)
        self.assertNotIn("from the cache", first)
        self.assertIn("from the cache", second)
        hashes = [json.loads(text.splitlines()[-1])["weights_hash"] for text in (first, second)]
        self.assertEqual(*hashes)


class CommandLine(Workplace):
    def test_mistakes(self):
        self.refuse(
            ([], "[command line]", "penstock --help"),
            (["trian"], "no command 'trian'", "did you mean 'train'?"),
            (["train"], "[command line]", "none was given"),
            (["train", "a.toml", "--jsno"], "no flag '--jsno'", "did you mean '--json'?",
             "penstock train --help"),
            (["train", "a.toml", "b.toml"], "[command line]", "b.toml"),
            (["train", "a.toml", "--set"], "[command line]", "--set"))
        self.refuse(*((with_settings(setting), f"[config] --set '{setting}' is not an assignment",
                       "section.key=value") for setting in ("train.steps", "=3", "")))
        self.refuse(
            (["--sett"], "'--sett'"),
            (["tokenize", "text"], "[command line]", "--out"),
            (["version", "extra"], "[command line]", "extra"))

    def test_every_help_has_an_example(self):
        for arguments in ([], ["train"], ["generate"], ["tokenize"], ["version"]):
            text = self.succeed(*arguments, "--help")
            self.assertRegex(text, r"Example:\s+(\./)?penstock " + "".join(arguments))
            self.assertEqual(self.succeed(*arguments, "-h"), text)

    def test_every_key_is_explained(self):
        text = self.succeed("train", "--help-config")
        self.train()
        with open(self.path("out", "config.toml"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        keys = [line.split(" = ")[0] for line in lines if " = " in line]
        self.assertGreater(len(keys), 35)
        keys += ["tokens", "lambda", "momentum", "nesterov"]
        for key in keys:
            self.assertRegex(text, rf"(?m)^ +{key} = ", key)
        for section in SECTIONS:
            self.assertIn(f"[{section}]", text)

    def test_version(self):
        summary = json.loads(self.succeed("version", "--json").splitlines()[-1])
        for key in ("version", "revision", "libtorch", "features"):
            self.assertIn(key, summary)
        self.assertTrue(summary["libtorch"].startswith("2.11."), summary)
        self.assertIn(summary["libtorch"], self.succeed("version"))


class FullDisk(Workplace):
    def mount(self, size):
        """A small disk of its own, in a mount namespace that ends with the program."""
        os.mkdir(self.path("disk"))
        script = f'mount -t tmpfs -o size={size} none disk && exec "$0" "$@"'
        probe = subprocess.run(["unshare", "-m", "sh", "-c", script, "true"], cwd=self.folder,
                               capture_output=True, check=False)
        if probe.returncode != 0:
            self.skipTest("needs the right to mount: " + probe.stderr.decode().strip())
        return ["unshare", "-m", "sh", "-c", script, PROGRAM]

    def check(self, size, name, *settings):
        start = self.mount(size)
        overrides = [part for setting in ("output.dir=disk/out", *settings)
                     for part in ("--set", setting)]
        result = subprocess.run([*start, "train", "a.toml", *overrides], cwd=self.folder,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                                check=False)
        error = result.stderr.decode()
        self.assertEqual(result.returncode, 1, error)
        self.assertRegex(error, r"\A[^\n]+\n\Z")
        self.assertIn(f"disk/out/{name}", error)
        self.assertIn("No space left on device", error)

    @unittest.skipUnless(sys.platform == "linux", "Linux only")
    def test_the_weights_do_not_fit(self):
        # 32 thousand parameters are 125 KiB.
        self.check("100k", "model.safetensors")

    @unittest.skipUnless(sys.platform == "linux", "Linux only")
    def test_the_metrics_do_not_fit(self):
        # 2000 records have about 400 KB; the run must not go on in vain until its end.
        began = time.monotonic()
        self.check("40k", "metrics.jsonl", "train.steps=1000000")
        self.assertLess(time.monotonic() - began, 20)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: commands_test.py PROGRAM [unittest arguments]")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
