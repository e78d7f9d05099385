#!/usr/bin/env python3
"""Loads the weights of a finished run into transformers' Llama, strictly by name and shape.

Needs what requirements.txt lists. Prints the mean loss of random tokens, which must be finite, and
the model's greedy continuation of a one-character prompt, which has to be that of
`./penstock generate RUN_DIR --prompt C --temperature 0` (longer prompts are cut into other tokens
here, where every character is one).

Example:  python tests/golden/check_huggingface.py runs/quickstart --prompt "@"
"""

import argparse
import json
import pathlib
import sys
import tomllib

import torch
import transformers
from safetensors.torch import load_file

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
END_OF_DOCUMENT = 256


def load_model(run):
    model = tomllib.loads((run / "config.toml").read_text())["model"]
    config = transformers.LlamaConfig(
        vocab_size=model["vocab"], hidden_size=model["width"], intermediate_size=model["ff"],
        num_hidden_layers=model["layers"], num_attention_heads=model["heads"],
        num_key_value_heads=model["kv_heads"], max_position_embeddings=model["seq"],
        rms_norm_eps=model["norm_eps"], tie_word_embeddings=model["tied"],
        rope_parameters={"rope_type": "default", "rope_theta": float(model["rope_base"])})
    llama = transformers.LlamaForCausalLM(config)
    weights = load_file(run / "model.safetensors")
    if model["tied"]:
        if HEAD in weights:
            sys.exit(f"the model is tied, but the file has {HEAD}")
        weights[HEAD] = weights[EMBEDDING]
    llama.load_state_dict(weights, strict=True)
    return llama.eval(), model["seq"]


def mean_loss(llama, tokens, seq):
    """Nats per token over consecutive windows of `seq` tokens."""
    total = 0.0
    windows = list(range(0, len(tokens) - seq, seq))
    for start in windows:
        window = tokens[start:start + seq + 1]
        logits = llama(window[None, :-1]).logits[0]
        total += torch.nn.functional.cross_entropy(logits, window[1:]).item()
    return total / len(windows), len(windows) * seq


def continue_greedily(llama, tokens, count, seq):
    tokens = list(tokens)
    for _ in range(count):
        tokens.append(llama(torch.tensor([tokens[-seq:]])).logits[0, -1].argmax().item())
    return tokens


def decode(run, ids):
    """The bytes of ids: 0..255 stand for themselves, 256 for nothing, the others for two ids each."""
    table = [bytes([byte]) for byte in range(256)] + [b""]
    for merge in json.loads((run / "tokenizer.json").read_text()).get("merges", []):
        table.append(table[merge[0]] + table[merge[1]])
    return b"".join(table[token] for token in ids).decode(errors="replace")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN_DIR")
    parser.add_argument("--prompt", help="text to continue")
    parser.add_argument("--count", type=int, default=40, help="tokens to continue it by")
    options = parser.parse_args()

    llama, seq = load_model(options.run)
    print(f"loaded {sum(p.numel() for p in llama.parameters())} parameters")
    tokens = torch.randint(llama.config.vocab_size, (4 * seq + 1,))
    loss, count = mean_loss(llama, tokens, seq)
    print(f"loss {loss:.4f} over {count} tokens")
    if not loss < float("inf"):
        sys.exit("the loss is not finite")
    if options.prompt:
        ids = [END_OF_DOCUMENT, *options.prompt.encode()]
        print(decode(options.run, continue_greedily(llama, ids, options.count, seq)))


if __name__ == "__main__":
    main()
