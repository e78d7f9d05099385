#!/usr/bin/env python3
"""Text, tokenizers and shards, right and wrong."""

import glob
import json
import struct

from workplace import main, with_settings, Workplace


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


if __name__ == "__main__":
    main()
