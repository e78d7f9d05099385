#!/usr/bin/env python3
"""Training as several processes: the same results, and one end for all of them."""

import json
import os
import re
import signal
import subprocess
import time

from workplace import main, program, with_settings, Workplace

FOUR_STAGES = ("pipeline.stages=4",)
ENDLESS = ("train.steps=1000000", "train.eval_every=0")


def children_of(pid):
    """The processes that `pid` has started, in that order."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


class Launch(Workplace):
    def launched(self, ranks, *settings):
        """Hash and what every update and evaluation reported, at full precision."""
        run = "_".join(("run", str(ranks), *settings))
        arguments = with_settings(f"output.dir={run}", *settings)
        if ranks > 0:
            arguments = ["launch", "-n", str(ranks), "--", *arguments]
        summary = json.loads(self.succeed(*arguments, "--json").splitlines()[-1])
        updates, evaluations = self.metrics(run)
        keys = ("step", "loss", "gradient_norm", "clip_factor", "lr", "tokens")
        reported = [tuple(update[key] for key in keys) for update in updates]
        reported += [(e["step"], e["val_loss"], e["sequences"]) for e in evaluations]
        return summary["weights_hash"], reported

    def start(self, run="out"):
        """A long run of four ranks that has made some updates; its launcher, and their numbers."""
        launcher = subprocess.Popen(
            [program(), "launch", "-n", "4", "--",
             *with_settings(f"output.dir={run}", *FOUR_STAGES, *ENDLESS)],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.addCleanup(launcher.stdout.close)
        self.addCleanup(launcher.stderr.close)
        self.addCleanup(launcher.wait)
        self.addCleanup(launcher.kill)  # takes the ranks with it
        deadline = time.monotonic() + 90
        while not self.has_updates(run):
            self.assertLess(time.monotonic(), deadline, "no updates")
            self.assertIsNone(launcher.poll(), "the run has ended")
            time.sleep(0.05)
        ranks = children_of(launcher.pid)
        self.assertEqual(len(ranks), 4)
        return launcher, ranks

    def has_updates(self, run):
        try:
            return len(self.metrics(run)[0]) >= 3
        except (FileNotFoundError, json.JSONDecodeError):
            return False

    def assert_gone(self, ranks):
        for rank in ranks:
            with self.assertRaises(ProcessLookupError):
                os.kill(rank, 0)

    def finish(self, launcher, seconds):
        """Exit code, stdout and stderr of a run that must end in time."""
        output, errors = launcher.communicate(timeout=seconds)
        return launcher.returncode, output.decode(), errors.decode()


class Equivalences(Launch):
    def check_ranks(self, *settings):
        alone = self.launched(0, *settings)
        for ranks in (2, 4):
            self.assertEqual(self.launched(ranks, *settings), alone)

    def test_2bw(self):
        self.check_ranks(*FOUR_STAGES)

    def test_1f1b_with_a_tied_head(self):
        self.check_ranks(*FOUR_STAGES, "pipeline.schedule=1f1b", "model.tied=true")

    def test_2bw_with_a_tied_head_and_shares_of_unequal_size(self):
        self.assertEqual(self.launched(2, "pipeline.stages=3", "model.tied=true"),
                         self.launched(0, "pipeline.stages=3", "model.tied=true"))

    def test_the_trace_has_every_stage(self):
        self.succeed("launch", "-n", "2", "--", *with_settings(*FOUR_STAGES), "--trace", "t.json")
        with open(self.path("t.json"), encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        spans = [event for event in events if event["ph"] == "X"]
        self.assertEqual(len({(event["pid"], event["tid"]) for event in spans}), 4)

    def test_a_checkpoint_can_be_gone_on_with_by_any_number_of_ranks(self):
        whole = self.launched(0, *FOUR_STAGES)[0]
        settings = with_settings("output.dir=part", *FOUR_STAGES, "output.save_every=9")
        self.succeed("launch", "-n", "2", "--", *settings)
        os.remove(self.path("part", "model.safetensors"))
        text = self.succeed("launch", "-n", "4", "--", "train", "--resume", "part", "--json")
        self.assertEqual(json.loads(text.splitlines()[-1])["weights_hash"], whole)


class Ends(Launch):
    def test_a_killed_rank_ends_the_others_in_seconds(self):
        for victim in (2, 0):
            with self.subTest(victim=victim):
                launcher, ranks = self.start(f"out-{victim}")
                os.kill(ranks[victim], signal.SIGKILL)
                began = time.monotonic()
                code, _, errors = self.finish(launcher, 30)
                self.assertLess(time.monotonic() - began, 5)
                self.assertEqual(code, 128 + signal.SIGKILL)
                self.assertEqual(
                    errors, f"[engine] rank {victim} ended: killed by signal 9 (Killed)\n")
                self.assert_gone(ranks)

    def test_an_error_is_told_once(self):
        settings = with_settings(*FOUR_STAGES, "optimizer.lr=1e30", "train.skip_limit=2",
                                 "train.warmup=0")
        result = self.run_program("launch", "-n", "4", "--", *settings)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr.decode(), r"\A\[engine\] rank \d, stage \d, [^\n]+\n\Z")

    def test_ctrl_c_and_sigterm_end_the_run_as_in_one_process(self):
        for stop in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(stop=stop):
                launcher, ranks = self.start(stop.name)
                launcher.send_signal(stop)
                code, _, errors = self.finish(launcher, 60)
                self.assertEqual(code, 0, errors)
                self.assertEqual(len(re.findall("stopping after the started batches", errors)), 1)
                self.assertNotIn("[rank", errors)
                self.assertTrue(os.path.exists(self.path(stop.name, "model.safetensors")))
                self.assert_gone(ranks)

    def test_a_signal_to_any_rank_or_to_all_is_one_request(self):
        # As a terminal sends it to ranks that were started by hand.
        for signalled in (slice(0, 4), slice(3, 4)):
            run = f"out-{signalled.start}"
            with self.subTest(run):
                launcher, ranks = self.start(run)
                for rank in ranks[signalled]:
                    os.kill(rank, signal.SIGINT)
                code, _, errors = self.finish(launcher, 60)
                self.assertEqual(code, 0, errors)
                self.assertTrue(os.path.exists(self.path(run, "model.safetensors")))

    def test_a_killed_launcher_leaves_nobody_behind(self):
        launcher, ranks = self.start()
        launcher.kill()
        launcher.wait()
        deadline = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{rank}") for rank in ranks):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)


class Mistakes(Launch):
    def launch(self, ranks, *arguments):
        return ["launch", "-n", ranks, "--", *arguments]

    def test_are_told_once_before_anything_starts(self):
        train = with_settings()
        self.refuse(
            (self.launch("0", *train),
             "[launch] -n is 0, but must be from 1 to 4096; give the number of processes"),
            (self.launch("3", *train),
             "[launch] each process needs a stage, but -n is 3 and pipeline.stages = 2; set -n to "
             "2 or less, or pipeline.stages to 3 or more"),
            (self.launch("2", "plan", "a.toml"),
             "[launch] only train runs as several processes, but the command is 'plan'"),
            (["launch", "-n", "2"], "[launch] there is no command to run"),
            (["launch", "--", *train], "[command line]", "--ranks"),
            (self.launch("2", "train", "missing.toml"), "[config]", "missing.toml"),
            (self.launch("2", "train", "--sett", "a=b"), "[launch]", "--sett"))

    def test_of_the_run_are_told_once_too(self):
        os.mkdir(self.path("empty"))
        self.refuse((self.launch("2", *with_settings("data.train=empty/*.txt")), "[data]"))

    def test_of_ranks_started_by_hand(self):
        environment = dict(os.environ, WORLD_SIZE="2", RANK="2", MASTER_PORT="29500")
        result = subprocess.run([program(), *with_settings()], cwd=self.folder, env=environment,
                                timeout=60, capture_output=True, check=False)
        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stderr.decode(),
                         "[ranks] RANK = '2' in the environment, but must be a number from 0 to 1; "
                         "correct it\n")

    def test_help_has_an_example(self):
        self.assertIn("Example: penstock launch -n 2 -- train", self.succeed("launch", "--help"))
        self.assertIn("--resume", self.succeed("launch", "-n", "2", "--", "train", "--help"))


class ByHand(Launch):
    def test_ranks_find_each_other_without_a_launcher(self):
        # Rank 0 hosts the store then. A port that was free a moment ago may be taken: try again.
        expected = self.launched(0)[0]
        for attempt in range(3):
            port = str(20000 + (os.getpid() + 7919 * attempt) % 20000)
            ranks = []
            for rank in (1, 0):
                environment = dict(os.environ, WORLD_SIZE="2", RANK=str(rank), MASTER_PORT=port)
                ranks.append(subprocess.Popen(
                    [program(), *with_settings(f"output.dir=hand{attempt}"), "--json"],
                    cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            outputs = [rank.communicate(timeout=200) for rank in ranks]
            if all(rank.returncode == 0 for rank in ranks):
                break
        self.assertEqual([rank.returncode for rank in ranks], [0, 0], outputs)
        self.assertEqual(outputs[0], (b"", b""))
        summary = json.loads(outputs[1][0].decode(errors="replace").splitlines()[-1])
        self.assertEqual(summary["weights_hash"], expected)


if __name__ == "__main__":
    main()
