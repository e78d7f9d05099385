#!/usr/bin/env python3
"""penstock generate."""

import json
import os

from workplace import SEQ, main, Workplace


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


if __name__ == "__main__":
    main()
