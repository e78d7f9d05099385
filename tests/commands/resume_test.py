#!/usr/bin/env python3
"""A run that is stopped, killed or fails goes on as if it had not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

from workplace import STEPS, Workplace, main, program

TIMES = ("seconds", "duration", "busy", "work", "waits")
SCHEDULES = {
    "2bw": (),
    "1f1b": ("pipeline.schedule=1f1b",),
    "2bw-ahead": ("pipeline.schedule=2bw-ahead",),
    "gpipe": ("pipeline.schedule=gpipe",),
    "interleaved": ("pipeline.schedule=interleaved",),
    "zb-h1": ("pipeline.schedule=zb-h1",),
    "zb-v": ("pipeline.schedule=zb-v",),
    "pipedream": ("pipeline.schedule=pipedream", "train.clip=0"),
    "paci": ("pipeline.schedule=paci", "train.clip=0"),
    "muon": ("optimizer.name=muon", "correction.name=error_feedback", "model.tied=true"),
    "phases": ("pipeline.sync_steps=9", "pipeline.final_sync_steps=5"),
}


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


class Resuming(Workplace):
    SETTINGS = ("output.save_every=5",)

    def arguments(self, *settings):
        return ["train", "a.toml", "--json",
                *(part for setting in (*self.SETTINGS, *settings) for part in ("--set", setting))]

    def records(self, run="out"):
        """All that metrics say but for times."""
        with open(self.path(run, "metrics.jsonl"), encoding="utf-8") as file:
            return [without_times(json.loads(line)) for line in file]

    def checkpoints(self, run="out"):
        """The names in the run's folder of checkpoints."""
        folder = self.path(run, "checkpoints")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def newest(self):
        """The update of the newest complete checkpoint, or 0."""
        return max([int(name.removeprefix("update-")) for name in self.checkpoints()
                    if "." not in name], default=0)

    def start(self, *arguments):
        process = subprocess.Popen([program(), *arguments], cwd=self.folder,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        for release in (process.stdout.close, process.stderr.close, process.wait, process.kill):
            self.addCleanup(release)
        return process

    def wait_for(self, process, condition):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertIsNone(process.poll(), "ended too early")
            self.assertLess(time.monotonic(), deadline, "takes too long")
            time.sleep(0.001)

    def kill_behind_a_checkpoint(self, *settings):
        """Kills a run that has a checkpoint and is not done."""
        process = self.start(*self.arguments(*settings))
        self.wait_for(process, self.newest)
        process.kill()
        process.wait()
        self.assertFalse(os.path.exists(self.path("out", "model.safetensors")))

    def resume(self, run="out"):
        return json.loads(self.succeed("train", "--resume", run, "--json").splitlines()[-1])


class Equivalence(Resuming):
    # The learning rate's schedule has to reach the end, and the kill has to come before it.
    LONG = ("train.steps=300", "train.eval_every=40")

    def check(self, *settings):
        whole = json.loads(self.succeed(*self.arguments("output.dir=whole", *self.LONG, *settings))
                           .splitlines()[-1])
        self.kill_behind_a_checkpoint(*self.LONG, *settings)
        summary = self.resume()
        self.assertEqual(summary["weights_hash"], whole["weights_hash"])
        self.assertEqual(self.records(), self.records("whole"))
        for key in ("steps", "tokens", "train_loss", "val_loss", "interrupted"):
            self.assertEqual(summary[key], whole[key], key)


for name, schedule_settings in SCHEDULES.items():
    setattr(Equivalence, f"test_{name.replace('-', '_')}",
            lambda self, settings=schedule_settings: self.check(*settings))


class Interruption(Resuming):
    LONG = ("train.steps=100000", "train.eval_every=0")

    def test_again_and_again(self):
        steps = ("train.steps=300", "train.eval_every=25")
        whole = json.loads(self.succeed(*self.arguments("output.dir=whole", *steps))
                           .splitlines()[-1])
        process, done = self.start(*self.arguments(*steps)), 0
        while done < 150:
            self.wait_for(process, lambda: self.newest() > done)
            process.kill()
            process.wait()
            done = self.newest() + 30
            process = self.start("train", "--resume", "out")
        process.kill()
        process.wait()
        self.assertEqual(self.resume()["weights_hash"], whole["weights_hash"])
        self.assertEqual(self.records(), self.records("whole"))

    def test_ctrl_c_leaves_a_checkpoint_at_the_stop(self):
        # No checkpoint is due before the signal.
        process = self.start(*self.arguments(*self.LONG, "output.save_every=50000"))
        metrics = self.path("out", "metrics.jsonl")
        self.wait_for(process, lambda: os.path.exists(metrics) and os.path.getsize(metrics) > 1000)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, error)
        self.assertIs(json.loads(output.decode().splitlines()[-1])["interrupted"], True)
        checkpoint, = self.checkpoints()
        self.assertIn(f"penstock train --resume out goes on from {checkpoint}\n", output.decode())
        updates, _ = self.metrics()
        # Behind the cut there are at most the batches that had been started.
        self.assertLessEqual(len(updates) - int(checkpoint.split("-")[1]), 4)
        process = self.start("train", "--resume", "out")
        size = os.path.getsize(metrics)
        self.wait_for(process, lambda: os.path.getsize(metrics) > 2 * size)
        process.send_signal(signal.SIGTERM)
        output, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, error)
        self.assertIn(f"resume: from update {int(checkpoint.split('-')[1])} of 100000",
                      output.decode())


class Folder(Resuming):
    def test_a_finished_run_keeps_its_newest_checkpoint(self):
        self.succeed(*self.arguments())
        names = self.checkpoints()
        self.assertEqual(len(names), 1, names)
        # 20 is due, and has to be whole unless the run's end is too near.
        self.assertIn(names[0], ("update-00000015", "update-00000020"))
        self.assertEqual(sorted(os.listdir(self.path("out", "checkpoints", names[0]))),
                         ["manifest.json", "stage-0000.safetensors", "stage-0001.safetensors"])
        self.refuse((["train", "--resume", "out"], f"[resume] 'out' has finished: its {STEPS} "
                     "updates are done and model.safetensors is written"))

    def test_save_every_is_the_configurations_key(self):
        text = self.succeed("train", "a.toml", "--save-every", "7", "--set", "output.save_every=3")
        self.assertRegex(text, r"save_every +7 ")
        self.assertIn(self.checkpoints()[0], ("update-00000014", "update-00000021"))
        self.succeed("train", "a.toml", "--set", "output.dir=none")
        self.assertFalse(os.path.exists(self.path("none", "checkpoints")))

    def test_checkpoints_do_not_change_the_weights(self):
        self.assertEqual(self.train("output.save_every=1")["weights_hash"],
                         self.train()["weights_hash"])

    def test_a_killed_run_that_is_trained_anew_is_kept(self):
        self.kill_behind_a_checkpoint("train.steps=100000")
        self.train()
        self.assertTrue(os.listdir(self.path("out.1", "checkpoints")))
        self.assertEqual(self.checkpoints(), [])

    def test_command_lines_that_make_no_sense(self):
        self.succeed("train", "a.toml")
        self.refuse(
            (["train", "--resume", "out"], "[resume] 'out' has finished"),
            (["train", "--resume", "none"], "[resume] 'none' is no run folder"),
            (["train", "--resume", ""], "[command line]", "a folder's name is empty"),
            (["train", "a.toml", "--resume", "out"], "[command line] train takes a configuration or "
             "--resume, 'a.toml' and --resume 'out' were given; leave one out"),
            (["train", "--resume", "out", "--set", "train.clip=1"], "[command line] --resume goes on "
             "with the run's own configuration", "edit 'out/config.toml'", "train.watchdog"),
            (["train", "--resume", "out", "--save-every", "3"], "[command line] --resume goes on"),
            (["train", "a.toml", "--save-every", "0"], "[command line]", "--save-every"),
            (["train", "a.toml", "--save-every", "x"], "[command line]", "--save-every"))


class Refusals(Resuming):
    """A killed run, and what can be wrong with it."""

    def setUp(self):
        super().setUp()
        self.kill_behind_a_checkpoint("train.steps=100000")
        self.checkpoint = [name for name in self.checkpoints() if "." not in name][-1]

    def file(self, name):
        return self.path("out", "checkpoints", self.checkpoint, name)

    def snapshot(self):
        found = {}
        for folder, _, names in os.walk(self.path("out")):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    found[os.path.join(folder, name)] = file.read()
        return found

    def check(self, *parts):
        before = self.snapshot()
        self.refuse((["train", "--resume", "out"], *parts))
        self.assertEqual(self.snapshot(), before)

    def test_what_is_damaged_missing_or_foreign(self):
        name = f"[resume] checkpoint 'out/checkpoints/{self.checkpoint}' "
        stage = self.file("stage-0001.safetensors")
        with open(stage, "rb") as file:
            whole = file.read()
        for content, part in ((whole[:-1], f"is damaged: 'stage-0001.safetensors' has "
                               f"{len(whole) - 1} bytes, not {len(whole)}; put back"),
                              (whole[:-1] + bytes([whole[-1] ^ 1]),
                               "is damaged: the bytes of 'stage-0001.safetensors' have the hash")):
            with open(stage, "wb") as file:
                file.write(content)
            self.check(name + part)
        os.remove(stage)
        self.check(name + "lacks 'stage-0001.safetensors'; put back")
        with open(stage, "wb") as file:
            file.write(whole)
        shutil.copy(stage, self.file("stage-0002.safetensors"))
        self.check(name + "holds 'stage-0002.safetensors', which is none of its files")
        os.remove(self.file("stage-0002.safetensors"))
        with open(self.file("manifest.json"), "r+b") as file:
            file.truncate(100)
        self.check(name + "has a damaged manifest.json")

    def test_another_configuration(self):
        path = self.path("out", "config.toml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("clip = 0.5", "clip = 0.25"))
        self.check("[resume] the checkpoint was made with train.clip = 0.5, 'out/config.toml' now "
                   "has 0.25; set it back")

    def test_other_data(self):
        os.remove(self.path("text"))
        os.mkdir(self.path("text"))
        self.write("text/a.txt", "something else\n" * 5000)
        self.check("[resume] the data has changed: validation tokens")

    def test_lost_records(self):
        with open(self.path("out", "metrics.jsonl"), "r+b") as file:
            first = file.readline()
            rest = file.read()
            file.seek(0)
            file.truncate()
            file.write(rest)
        self.check("[resume] 'out/metrics.jsonl' lacks update 1 of the")
        with open(self.path("out", "metrics.jsonl"), "wb") as file:
            file.write(first + b"nonsense\n" + rest)
        self.check("[resume] 'out/metrics.jsonl' line 2 is no record")

    def test_no_checkpoint(self):
        shutil.rmtree(self.path("out", "checkpoints"))
        self.check("[resume] 'out' has no checkpoint to go on from; train with --save-every N")


class FullDisk(Resuming):
    @unittest.skipUnless(sys.platform == "linux", "Linux only")
    def test_the_older_checkpoint_stays(self):
        # A checkpoint of this model takes about 1.2 MB: one fits, the next does not.
        os.mkdir(self.path("disk"))
        script = 'mount -t tmpfs -o size=2m none disk && "$0" "$@"; code=$?; cp -r disk copy; exit $code'
        probe = subprocess.run(["unshare", "-m", "sh", "-c",
                                script.replace("; cp -r disk copy", ""), "true"], cwd=self.folder,
                               capture_output=True, check=False)
        if probe.returncode != 0:
            self.skipTest("needs the right to mount: " + probe.stderr.decode().strip())
        result = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, program(),
             *self.arguments("output.dir=disk/out", "train.steps=100000")], cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        error = result.stderr.decode()
        self.assertEqual(result.returncode, 1, error)
        self.assertRegex(error, r"\A[^\n]+\n\Z")
        self.assertRegex(error, r"disk/out/checkpoints/update-\d{8}\.partial/[^\n]*No space left")
        checkpoint, = self.checkpoints("copy/out")
        self.assertRegex(checkpoint, r"\Aupdate-\d{8}\Z")


if __name__ == "__main__":
    main()
