#!/usr/bin/env python3
"""What a training run gives: weights, numbers, folders, and its ends."""

import concurrent.futures
import json
import os
import signal
import struct
import subprocess
import sys
import time
import unittest

from workplace import (CONFIG, STEPS, TOKENS_PER_UPDATE, main, program,
                       read_weights_header, with_settings, Workplace)


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
            "run_dir", "skipped", "first_skipped", "stages"})
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
        subprocess.run(["sh", "-c", command, program()], cwd=self.folder, check=True, timeout=60)
        with open(self.path("log"), encoding="utf-8") as file:
            again = json.loads(file.read().splitlines()[-1])
        self.assertEqual(json.loads(text.splitlines()[-1])["weights_hash"], again["weights_hash"])


class Schedules(Workplace):
    def hash_with(self, *settings):
        run = "_".join(("run", *settings)).replace("/", "-")
        return self.train(f"output.dir={run}", "train.steps=8", *settings)["weights_hash"]

    def test_every_synchronous_schedule_gives_the_same_weights(self):
        plain = self.hash_with("pipeline.schedule=1f1b", "pipeline.stages=1")
        for schedule in ("gpipe", "1f1b", "interleaved", "zb-h1", "zb-v"):
            with self.subTest(schedule):
                self.assertEqual(self.hash_with(f"pipeline.schedule={schedule}"), plain)

    def test_chunks_and_a_partition_by_hand_change_no_bit(self):
        plain = self.hash_with("pipeline.schedule=1f1b", "pipeline.stages=1")
        self.assertEqual(self.hash_with("pipeline.schedule=interleaved", "pipeline.chunks=3",
                                        "pipeline.partition=[1,1,1,1,1,1]"), plain)
        self.assertEqual(self.hash_with("pipeline.schedule=zb-v",
                                        "pipeline.partition=[2,1,1,2]"), plain)

    def test_a_printed_grid_trains_like_the_schedule_it_was_printed_from(self):
        grid = self.succeed("schedule", "2bw", "--stages", "2", "--micro-batches", "4", "--grid")
        self.write("mine.grid", grid)
        self.assertEqual(self.hash_with("pipeline.schedule=mine.grid"), self.hash_with())

    def test_stages_that_update_alone(self):
        alone = ("train.clip=0", "pipeline.micro_batches=1")
        hashes = [self.hash_with(f"pipeline.schedule={schedule}", *alone)
                  for schedule in ("1f1b", "pipedream", "paci")]
        self.assertEqual(len(set(hashes)), 3)
        self.assertEqual(hashes[1], self.hash_with("pipeline.schedule=pipedream", *alone))

    def test_a_trace_has_every_action_of_the_run(self):
        text = self.succeed("train", "a.toml", "--trace", "run.json", "--set", "train.steps=6",
                            "--set", "train.eval_every=0")
        self.assertIn("penstock trace run.json", text)
        with open(self.path("run.json"), encoding="utf-8") as file:
            trace = json.load(file)
        forwards = [event for event in trace["traceEvents"]
                    if event["ph"] == "X" and event["name"][0] in "Ff"]
        self.assertEqual(len(forwards), 2 * 6 * 4)
        summary = json.loads(self.succeed("trace", "run.json", "--json").splitlines()[-1])
        self.assertEqual((summary["schedule"], summary["stages"]), ("2bw", 2))
        # What happened is what was promised: the last stage's gradients are one update old.
        self.assertEqual([stage["most_delay"] for stage in summary["per_stage"]], [1, 1])

    def test_a_trace_that_cannot_be_written_costs_no_run(self):
        os.mkdir(self.path("folder"))
        self.refuse(
            (["train", "a.toml", "--trace", "folder"], "[trace] --trace 'folder' is a folder"),
            (["train", "a.toml", "--trace", "out"], "[trace] --trace 'out' is where the run itself",
             "'out/trace.json'"),
            (["train", "a.toml", "--trace", "./out/model.safetensors"], "name another file"))

    def test_a_run_keeps_its_grid(self):
        self.write("mine.grid", self.succeed("schedule", "2bw", "--stages", "2",
                                             "--micro-batches", "4", "--grid"))
        first = self.train("pipeline.schedule=mine.grid")
        os.remove(self.path("mine.grid"))
        with open(self.path("out", "config.toml"), encoding="utf-8") as file:
            self.assertIn('schedule = "schedule.grid"', file.read())
        elsewhere = os.path.dirname(self.folder)
        self.succeed("generate", self.path("out"), "--prompt", "mi", folder=elsewhere)
        # Its own folder is moved away and its grid with it.
        again = self.train(config="out/config.toml")
        self.assertEqual(again["weights_hash"], first["weights_hash"])
        self.assertTrue(os.path.exists(self.path("out.1", "schedule.grid")))

    def test_bad_schedules(self):
        self.write("hole.grid", "stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 F1 U\n")
        self.write("stuck.grid", "stage 0: F0 B0 F1 B1 U\nstage 1: F0 F1 B0 B1 U\n")
        self.refuse(
            (with_settings("pipeline.schedule=2bv"), "none of 1f1b, 2bw", "did you mean '2bw'?"),
            (with_settings("pipeline.schedule=no.grid"), "[schedule]", "no.grid"),
            (with_settings("pipeline.schedule=hole.grid"), "hole.grid:2", "B1"),
            (with_settings("pipeline.micro_batches=1"), "schedule '2bw' needs", "set "
             "pipeline.micro_batches = 2 or more"),
            (with_settings("pipeline.schedule=interleaved", "pipeline.micro_batches=3"),
             "multiple of pipeline.stages", "set pipeline.micro_batches = 2 or 4"),
            (with_settings("pipeline.schedule=zb-v", "pipeline.chunks=3"), "set pipeline.chunks = 2"),
            (with_settings("pipeline.schedule=pipedream"), "set train.clip = 0"))
        # The grid is shown under the message.
        result = self.run_program(*with_settings("pipeline.schedule=stuck.grid",
                                                 "pipeline.micro_batches=2"))
        self.assertEqual(result.returncode, 2)
        error = result.stderr.decode()
        self.assertRegex(error, r"\A\[schedule\] .*progress")
        self.assertIn(">", error)


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
        process = subprocess.Popen([program(), "train", "a.toml", "--json", *overrides],
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
        second = subprocess.run([program(), "train", "a.toml"], cwd=self.folder,
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


class FullDisk(Workplace):
    def mount(self, size):
        """A small disk of its own, in a mount namespace that ends with the program."""
        os.mkdir(self.path("disk"))
        script = f'mount -t tmpfs -o size={size} none disk && exec "$0" "$@"'
        probe = subprocess.run(["unshare", "-m", "sh", "-c", script, "true"], cwd=self.folder,
                               capture_output=True, check=False)
        if probe.returncode != 0:
            self.skipTest("needs the right to mount: " + probe.stderr.decode().strip())
        return ["unshare", "-m", "sh", "-c", script, program()]

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
    main()
