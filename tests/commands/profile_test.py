#!/usr/bin/env python3
"""Where a step goes: `train --profile`."""

import json
import os

from workplace import MICRO_BATCHES, STEPS, main, with_settings, Workplace

LAYERS, STAGES, LEFT_OUT = 2, 2, 4
WAITS = ["activation", "gradient", "update", "transfer", "blocked", "core", "idle"]


class Profile(Workplace):
    def profiled(self, *arguments):
        """The summary of a run with --profile, whose table must add up."""
        summary = json.loads(self.succeed(*arguments, "--profile", "--json").splitlines()[-1])
        profile = summary["profile"]
        rows = profile["rows"]
        for key, total in (("seconds", profile["stages"] * profile["step_seconds"]), ("share", 1)):
            self.assertAlmostEqual(sum(row[key] for row in rows) / total, 1, places=9)
        for row in rows:
            self.assertGreaterEqual(row["seconds"], 0, row)
        self.assertEqual([row["name"] for row in rows if row["part"] == "wait"], WAITS)
        return summary

    def calls(self, profile):
        return {(row["part"], row["name"]): row["calls"] for row in profile["rows"]}

    def test_every_operation_of_a_step_is_counted_once(self):
        summary = self.profiled(*with_settings())
        profile = summary["profile"]
        self.assertEqual((profile["stages"], profile["updates"]), (STAGES, STEPS - LEFT_OUT))
        self.assertLess(profile["updates"] * profile["step_seconds"],
                        summary["seconds"] + summary["eval_seconds"])
        calls = self.calls(profile)
        passes = MICRO_BATCHES * LAYERS
        for product in ("forward", "dX", "dW"):
            # q/k/v as one and o; gate/up as one and down
            self.assertEqual(calls["attention", f"product {product}"], 2 * passes)
            self.assertEqual(calls["mlp", f"product {product}"], 2 * passes)
        self.assertEqual(calls["attention", "attention"], passes)
        self.assertEqual(calls["embedding", "table gradient"], MICRO_BATCHES)
        # The evaluation after update 10 is no part of a step.
        self.assertEqual(calls["head", "norm"], MICRO_BATCHES)
        # Per layer two gains, q, k, v, o, gate, up and down; embedding, final gain and head.
        self.assertEqual(calls["update", "adamw"], 9 * LAYERS + 3)
        self.assertEqual(calls["rest", "update"], STAGES)
        self.assertEqual(calls["rest", "forward"], MICRO_BATCHES * STAGES)

    def test_rates_are_shares_of_bounds(self):
        profile = self.profiled(*with_settings("train.precision=bf16"))["profile"]
        bounds = profile["bounds"]
        self.assertEqual(bounds["conditions"], "bf16, 1 thread")
        rows = {(row["part"], row["name"]): row for row in profile["rows"]}
        product = rows["mlp", "product dW"]
        self.assertAlmostEqual(product["share_of_bound"],
                               product["flops_per_s"] / bounds["flops_per_s"], places=9)
        # Twice tokens times weights, which are 3 x 32 x 48 in each layer.
        flops = 2 * 4 * 64 * LAYERS * 3 * 32 * 48
        self.assertAlmostEqual(product["flops_per_s"] * product["seconds"] / flops, 1, places=9)
        adamw = rows["update", "adamw"]
        self.assertAlmostEqual(adamw["share_of_bound"],
                               adamw["bytes_per_s"] / bounds["bytes_per_s"], places=9)
        # Gradient, weights before and after, two moments read and written, a bf16 copy. Per layer
        # 2 x 32 x 32 of q and o, 2 x 32 x 16 of k and v, 3 x 32 x 48 and two gains.
        parameters = LAYERS * (2048 + 1024 + 4608 + 64) + 2 * 257 * 32 + 32
        self.assertAlmostEqual(
            adamw["bytes_per_s"] * adamw["seconds"] / (parameters * (3 * 4 + 4 * 4 + 2)), 1,
            places=9)

    def test_the_table(self):
        text = self.succeed(*with_settings(), "--profile")
        self.assertRegex(text, rf"where a step of \d+\.\d\d ms goes, over {STAGES} stages, "
                               rf"mean of {STEPS - LEFT_OUT} updates\n")
        self.assertRegex(text, r"(?m)^mlp +product forward .* GFLOP/s +\d+% ?#*$")
        self.assertRegex(text, r"(?m)^all +\d+\.\d\d +100\.0%$")
        self.assertIn("bounds of a stage (fp32, 1 thread): products ", text)

    def test_it_changes_no_bit_and_comes_only_where_asked_for(self):
        plain = self.train()
        self.assertNotIn("profile", plain)
        self.assertNotIn("where a step", self.train_text())
        profiled = self.profiled(*with_settings("output.dir=profiled"))
        self.assertEqual(profiled["weights_hash"], plain["weights_hash"])

    def test_a_run_of_several_processes_is_one_table(self):
        alone = self.calls(self.profiled(*with_settings())["profile"])
        together = self.profiled("launch", "-n", "2", "--", *with_settings("output.dir=ranks"))
        self.assertEqual(self.calls(together["profile"]), alone)

    def stopped_behind(self, cut):
        """The folder of a run that was killed between its checkpoint at `cut` and its end."""
        self.train(f"output.save_every={cut}", f"output.dir={cut}")
        os.remove(self.path(str(cut), "model.safetensors"))
        return str(cut)

    def test_a_run_that_goes_on(self):
        profile = self.profiled("train", "--resume", self.stopped_behind(15))["profile"]
        self.assertEqual(profile["updates"], STEPS - 15 - LEFT_OUT)
        self.refuse((["train", "--resume", self.stopped_behind(20), "--profile"],
                     "so it needs 5, but the run has 4 left"))

    def test_mistakes(self):
        self.refuse(
            (with_settings("train.steps=4", "train.warmup=0") + ["--profile"],
             "[profile] --profile leaves out the first 2 and the last 2 updates, so it needs 5, "
             "but the run has 4; leave --profile out or train longer"))


if __name__ == "__main__":
    main()
