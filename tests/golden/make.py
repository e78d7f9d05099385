#!/usr/bin/env python3
"""Re-creates the golden files of this folder; see README.md for what each of them holds.

Needs what requirements.txt lists. Everything is computed in double precision from inputs that are
exact in single precision, and every reference is computed twice, by code of different origin; the
files are written only when the two agree.

Example:  python tests/golden/make.py            write the files
          python tests/golden/make.py --check    compare the files that are there with a new result
"""

import argparse
import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.models.llama import modeling_llama as hf

HERE = pathlib.Path(__file__).resolve().parent
SIZE_LIMIT = 300_000  # bytes of one file: they live in the repository
SEED = 20261121

# ---------------------------------------------------------------------------------------- Llama

LLAMA = dict(layers=2, width=32, heads=4, kv_heads=2, ff=48, vocab=67, seq=16, batch=3,
             rope_base=10000.0, norm_eps=1e-5)


def parameter_shapes(z, tied):
    """Name -> shape, in Hugging Face's names. Matrices are (out, in)."""
    kv = z["kv_heads"] * (z["width"] // z["heads"])
    shapes = {"model.embed_tokens.weight": (z["vocab"], z["width"])}
    for i in range(z["layers"]):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "input_layernorm.weight": (z["width"],),
            layer + "self_attn.q_proj.weight": (z["width"], z["width"]),
            layer + "self_attn.k_proj.weight": (kv, z["width"]),
            layer + "self_attn.v_proj.weight": (kv, z["width"]),
            layer + "self_attn.o_proj.weight": (z["width"], z["width"]),
            layer + "post_attention_layernorm.weight": (z["width"],),
            layer + "mlp.gate_proj.weight": (z["ff"], z["width"]),
            layer + "mlp.up_proj.weight": (z["ff"], z["width"]),
            layer + "mlp.down_proj.weight": (z["width"], z["ff"]),
        }
    shapes["model.norm.weight"] = (z["width"],)
    if not tied:
        shapes["lm_head.weight"] = (z["vocab"], z["width"])
    return shapes


def make_weights(z, tied):
    """Random fp32 weights, large enough that attention is far from uniform and that every term of
    the model is visible in the logits; gains between 0.5 and 1.5."""
    random = torch.Generator().manual_seed(SEED + tied)
    weights = {}
    for name, shape in parameter_shapes(z, tied).items():
        if len(shape) == 1:
            weights[name] = 0.5 + torch.rand(shape, generator=random)
        else:
            weights[name] = 0.3 * torch.randn(shape, generator=random)
    tokens = torch.randint(z["vocab"], (z["batch"], z["seq"] + 1), generator=random)
    return weights, tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class DoubleNorm(hf.LlamaRMSNorm):
    """Hugging Face's norm rounds to fp32 whatever the model's precision; this one does not."""

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True)
                                             + self.variance_epsilon)


class DoubleRotary(hf.LlamaRotaryEmbedding):
    """Hugging Face's rotary tables are fp32 whatever the model's precision; these are not."""

    def forward(self, x, position_ids):
        pairs = torch.arange(0, self.config.head_dim, 2, dtype=torch.float64)
        frequency = self.config.rope_parameters["rope_theta"] ** (-pairs / self.config.head_dim)
        angle = position_ids[..., None].double() * frequency
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()


def hugging_face(z, tied, weights, tokens, targets, exact):
    """(logits, loss, gradients) of LlamaForCausalLM in double precision. `exact` avoids the three
    places where that class rounds to fp32 on purpose: norms, rotary tables and eager softmax."""
    config = transformers.LlamaConfig(
        vocab_size=z["vocab"], hidden_size=z["width"], intermediate_size=z["ff"],
        num_hidden_layers=z["layers"], num_attention_heads=z["heads"],
        num_key_value_heads=z["kv_heads"], max_position_embeddings=z["seq"],
        rms_norm_eps=z["norm_eps"], tie_word_embeddings=tied,
        attn_implementation="sdpa" if exact else "eager",
        rope_parameters={"rope_type": "default", "rope_theta": z["rope_base"]})
    model = hf.LlamaForCausalLM(config).double()
    if exact:
        for module in model.modules():
            if isinstance(module, hf.LlamaRMSNorm):
                module.__class__ = DoubleNorm
            if isinstance(module, hf.LlamaRotaryEmbedding):
                module.__class__ = DoubleRotary
    own = dict(model.named_parameters())  # a tied head is listed once, as the embedding
    assert own.keys() == weights.keys(), own.keys() ^ weights.keys()
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    logits = model(input_ids=tokens, use_cache=False).logits
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    return logits.detach(), loss.detach(), {n: p.grad for n, p in own.items()}


def transcription(z, tied, weights, tokens, targets):
    """(logits, loss, gradients) of the same model written out with nothing but matrix products."""
    w = {n: t.double().requires_grad_() for n, t in weights.items()}
    d, group = z["width"] // z["heads"], z["heads"] // z["kv_heads"]
    length = tokens.shape[1]

    def norm(x, gain):
        return x / (x.square().sum(-1, keepdim=True) / x.shape[-1] + z["norm_eps"]).sqrt() * gain

    # Half rotation: dimension i < d/2 turns together with dimension i + d/2, as a complex number.
    turn = torch.polar(
        torch.ones(length, d // 2, dtype=torch.float64),
        torch.tensor([[p * z["rope_base"] ** (-2.0 * i / d) for i in range(d // 2)]
                      for p in range(length)], dtype=torch.float64))

    def rotate(x):
        y = torch.complex(x[..., : d // 2], x[..., d // 2:]) * turn
        return torch.cat((y.real, y.imag), -1)

    x = w["model.embed_tokens.weight"][tokens]
    for i in range(z["layers"]):
        def layer(name):
            return w[f"model.layers.{i}.{name}.weight"]

        h = norm(x, layer("input_layernorm"))
        q = h @ layer("self_attn.q_proj").T
        k = h @ layer("self_attn.k_proj").T
        v = h @ layer("self_attn.v_proj").T
        heads = []
        for j in range(z["heads"]):
            c = j // group  # the key and value head that query head j shares
            qj = rotate(q[..., j * d:(j + 1) * d])
            kj = rotate(k[..., c * d:(c + 1) * d])
            score = qj @ kj.transpose(-1, -2) / math.sqrt(d)
            weight = torch.tril(torch.exp(score - score.amax(-1, keepdim=True).detach()))
            heads.append(weight / weight.sum(-1, keepdim=True) @ v[..., c * d:(c + 1) * d])
        x = x + torch.cat(heads, -1) @ layer("self_attn.o_proj").T
        h = norm(x, layer("post_attention_layernorm"))
        gate = h @ layer("mlp.gate_proj").T
        x = x + (gate * torch.sigmoid(gate) * (h @ layer("mlp.up_proj").T)) @ layer(
            "mlp.down_proj").T
    head = w["model.embed_tokens.weight" if tied else "lm_head.weight"]
    logits = norm(x, w["model.norm.weight"]) @ head.T
    chosen = logits.gather(-1, targets[..., None]).squeeze(-1)
    loss = (torch.logsumexp(logits, -1) - chosen).mean()
    loss.backward()
    return logits.detach(), loss.detach(), {n: t.grad for n, t in w.items()}


def relative_difference(a, b):
    return ((a - b).norm() / b.norm()).item()


def worst_difference(a, b):
    """Largest relative difference between two results (logits, loss, gradients)."""
    worst = max(relative_difference(a[0], b[0]), relative_difference(a[1], b[1]))
    return max([worst] + [relative_difference(a[2][n], b[2][n]) for n in b[2]])


def make_llama(tied):
    z = LLAMA
    weights, tokens, targets = make_weights(z, tied)
    result = hugging_face(z, tied, weights, tokens, targets, exact=True)
    same = worst_difference(transcription(z, tied, weights, tokens, targets), result)
    rounded = worst_difference(
        hugging_face(z, tied, weights, tokens, targets, exact=False), result)
    label = "tied" if tied else "untied"
    print(f"llama {label}: transcription differs from Hugging Face by {same:.1e}; Hugging Face's "
          f"own fp32 roundings are worth {rounded:.1e}; loss {result[1].item():.6f}")
    # A few thousand roundings of 1.1e-16 each stay below 1e-12; rounding norms, softmax and
    # rotary angles (up to 15) to fp32 costs 16 * 6e-8 at most per place, well below 1e-5 in all.
    require(same < 1e-12, f"llama {label}: the transcription disagrees with Hugging Face")
    require(1e-9 < rounded < 1e-5, f"llama {label}: the exact classes change more than rounding")
    tensors = dict(weights) | {"tokens": tokens, "targets": targets, "logits": result[0],
                               "loss": result[1].reshape(1)}
    tensors |= {"grad." + n: g for n, g in result[2].items()}
    return tensors, z | {"tied": bool(tied)}


# ----------------------------------------------------------------------------------- optimizers

STEPS = 12
SHAPES = {"tall": (24, 7), "wide": (5, 33), "square": (16, 16), "vector": (13,)}
ADAMW = dict(betas=(0.9, 0.95), eps=1e-8)
NADAM = dict(betas=(0.99, 0.999), eps=1e-8, momentum_decay=0.004)
SGD = {"sgd": dict(momentum=0.9, dampening=0.0, nesterov=False),
       "sgd_dampened": dict(momentum=0.9, dampening=0.3, nesterov=False),
       "sgd_nesterov": dict(momentum=0.9, dampening=0.0, nesterov=True)}
MUON = dict(momentum=0.95, nesterov=True, eps=1e-7, coefficients=(3.4445, -4.7750, 2.0315),
            iterations=5)
DECAY = 0.1


def learning_rates():
    """Different in every step: a warm-up of four updates, then a cosine to a tenth of 0.05."""
    rates = []
    for k in range(STEPS):
        if k < 4:
            rates.append(0.05 * (k + 1) / 4)
        else:
            turn = math.pi * (k - 4) / (STEPS - 1 - 4)
            rates.append(0.05 * (0.1 + 0.9 * 0.5 * (1 + math.cos(turn))))
    return rates


def make_gradients():
    """Initial weights and gradients, all exact in fp32. Each step has its own size; in `tall` and
    `vector` the last column is of the size of AdamW's eps, so that eps in the wrong place shows."""
    random = torch.Generator().manual_seed(SEED)
    weights, gradients = {}, {}
    for name, shape in SHAPES.items():
        weights[name] = torch.randn(shape, generator=random)
        size = torch.tensor([10.0 ** (0.5 * ((5 * k) % 7 - 3)) for k in range(STEPS)])
        g = torch.randn((STEPS, *shape), generator=random) * size.reshape(-1, *[1] * len(shape))
        if name in ("tall", "vector"):
            g[..., -1] = 1e-8 * torch.randn(g.shape[:-1], generator=random)
        gradients[name] = g
    return weights, gradients


def run_torch(optimizer_class, weight, gradients, rates, **options):
    """Weights after each step, in double precision."""
    w = torch.nn.Parameter(weight.double())
    optimizer = optimizer_class([w], lr=rates[0], **options)
    after = []
    for g, rate in zip(gradients.double(), rates):
        optimizer.param_groups[0]["lr"] = rate
        w.grad = g.clone()  # Muon writes into it
        optimizer.step()
        after.append(w.detach().clone())
    return torch.stack(after)


def run_adamw(weight, gradients, rates, decay):
    """AdamW as in its paper, element by element on Python's floats."""
    b1, b2 = ADAMW["betas"]
    w, m, v = weight.double().flatten().tolist(), [0.0] * weight.numel(), [0.0] * weight.numel()
    after = []
    for k, rate in enumerate(rates):
        g = gradients[k].double().flatten().tolist()
        for i, gi in enumerate(g):
            m[i] = b1 * m[i] + (1 - b1) * gi
            v[i] = b2 * v[i] + (1 - b2) * gi * gi
            m_hat, v_hat = m[i] / (1 - b1 ** (k + 1)), v[i] / (1 - b2 ** (k + 1))
            w[i] -= rate * decay * w[i] + rate * m_hat / (math.sqrt(v_hat) + ADAMW["eps"])
        after.append(torch.tensor(w, dtype=torch.float64).reshape(weight.shape))
    return torch.stack(after)


def run_nadam(weight, gradients, rates):
    """NAdam as in its report, with decoupled decay; the products of mu are formed anew every time,
    element by element on Python's floats."""
    (b1, b2), psi = NADAM["betas"], NADAM["momentum_decay"]

    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (t * psi))

    w, m, v = weight.double().flatten().tolist(), [0.0] * weight.numel(), [0.0] * weight.numel()
    after = []
    for t, rate in enumerate(rates, start=1):
        g = gradients[t - 1].double().flatten().tolist()
        passed = math.prod(mu(i) for i in range(1, t + 1))
        for i, gi in enumerate(g):
            m[i] = b1 * m[i] + (1 - b1) * gi
            v[i] = b2 * v[i] + (1 - b2) * gi * gi
            ahead = mu(t + 1) * m[i] / (1 - passed * mu(t + 1)) + (1 - mu(t)) * gi / (1 - passed)
            w[i] -= rate * DECAY * w[i]
            w[i] -= rate * ahead / (math.sqrt(v[i] / (1 - b2 ** t)) + NADAM["eps"])
        after.append(torch.tensor(w, dtype=torch.float64).reshape(weight.shape))
    return torch.stack(after)


def run_sgd(weight, gradients, rates, momentum, dampening, nesterov):
    """Heavy ball with coupled decay: the buffer as a sum over all gradients so far."""
    w, seen, after = weight.double(), [], []
    for k, rate in enumerate(rates):
        seen.append(gradients[k].double() + DECAY * w)
        buffer = sum(momentum ** (k - i) * (g if i == 0 else (1 - dampening) * g)
                     for i, g in enumerate(seen))
        w = w - rate * (seen[-1] + momentum * buffer if nesterov else buffer)
        after.append(w)
    return torch.stack(after)


def newton_schulz(g):
    """The classic quintic iteration in double precision, on the short side's Gram matrix."""
    a, b, c = MUON["coefficients"]
    x = g / (g.norm() + MUON["eps"])
    if x.shape[0] > x.shape[1]:
        x = x.T
    for _ in range(MUON["iterations"]):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def newton_schulz_by_singular_values(g):
    """The same map, seen as a polynomial in each singular value."""
    a, b, c = MUON["coefficients"]
    left, s, right = torch.linalg.svd(g / (g.norm() + MUON["eps"]), full_matrices=False)
    for _ in range(MUON["iterations"]):
        s = a * s + b * s**3 + c * s**5
    return left @ torch.diag(s) @ right


def muon_scale(kind, shape):
    rows, columns = shape
    return {"match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
            "original": math.sqrt(max(1.0, rows / columns)),
            "spectral": math.sqrt(rows / columns)}[kind]


def run_muon(weight, gradients, rates, scale, orthogonalise=newton_schulz):
    w, buffer, mu = weight.double(), torch.zeros_like(weight, dtype=torch.float64), MUON["momentum"]
    after = []
    for g, rate in zip(gradients.double(), rates):
        buffer = mu * buffer + (1 - mu) * g
        direction = (1 - mu) * g + mu * buffer
        u = rate * muon_scale(scale, weight.shape) * orthogonalise(direction)
        w = w * (1 - rate * DECAY) - u
        after.append(w)
    return torch.stack(after)


def make_optimizers():
    weights, gradients = make_gradients()
    rates = learning_rates()
    tensors = {"lr": torch.tensor(rates, dtype=torch.float64)}
    for name in SHAPES:
        tensors[f"{name}.weight"], tensors[f"{name}.grads"] = weights[name], gradients[name]

    cases = [(name, "adamw", DECAY) for name in SHAPES] + [("vector", "adamw_no_decay", 0.0)]
    for name, label, decay in cases:
        after = run_torch(torch.optim.AdamW, weights[name], gradients[name], rates,
                          weight_decay=decay, **ADAMW)
        error = relative_difference(
            run_adamw(weights[name], gradients[name], rates, decay), after)
        print(f"{label} {name}: transcription differs from torch by {error:.1e}")
        require(error < 1e-13, f"{label} {name}: the transcription disagrees with torch")
        tensors[f"{name}.{label}"] = after

    for name in ("tall", "wide", "square"):
        w, g = weights[name], gradients[name]
        for scale in ("match_rms_adamw", "original", "spectral"):
            if scale != "match_rms_adamw" and name == "square":
                continue  # both are 1 there
            after = run_muon(w, g, rates, scale)
            other = run_muon(w, g, rates, scale, newton_schulz_by_singular_values)
            error = relative_difference(other, after)
            # A singular value near 0 grows by 3.4445 an iteration and keeps its relative error, so
            # the two ways agree to a few hundred roundings.
            require(error < 1e-12, f"muon {scale} {name}: matrix and singular values disagree")
            line = f"muon {scale} {name}: two ways differ by {error:.1e}"
            tensors[f"{name}.muon_{scale}"] = after
            if scale != "spectral":
                by_torch = run_torch(torch.optim.Muon, w, g, rates, weight_decay=DECAY,
                                     momentum=MUON["momentum"], nesterov=MUON["nesterov"],
                                     ns_coefficients=MUON["coefficients"], eps=MUON["eps"],
                                     ns_steps=MUON["iterations"], adjust_lr_fn=scale)
                # Distance after each step relative to the distance travelled: bf16 keeps 8 bits
                # (2^-8 = 0.002 a rounding), and five iterations multiply small singular values by
                # up to 3.4445^5 = 485, noise included.
                error = relative_difference(by_torch - w, after - w)
                line += f"; bf16 torch differs by {error:.1e} of the way"
                require(error < 0.02, f"muon {scale} {name}: torch.optim.Muon disagrees")
                if scale == "match_rms_adamw":
                    tensors[f"{name}.muon_torch_bf16"] = by_torch.float()
            print(line)
    about = {"steps": STEPS, "adamw": {**ADAMW, "weight_decay": DECAY},
             "muon": {**MUON, "weight_decay": DECAY}}
    return tensors, about


def make_torch_optimizers():
    """More of torch.optim, from the weights, gradients and rates of optimizers.safetensors."""
    weights, gradients = make_gradients()
    rates = learning_rates()
    tensors = {}
    torch.set_default_dtype(torch.float64)  # NAdam keeps its product of mu in the default type
    for name in SHAPES:
        w, g = weights[name], gradients[name]
        cases = [("nadamw", run_torch(torch.optim.NAdam, w, g, rates, weight_decay=DECAY,
                                      decoupled_weight_decay=True, **NADAM),
                  run_nadam(w, g, rates))]
        for label, options in SGD.items():
            if label != "sgd_dampened" or name == "tall":
                cases.append((label, run_torch(torch.optim.SGD, w, g, rates, weight_decay=DECAY,
                                               **options), run_sgd(w, g, rates, **options)))
        for label, after, other in cases:
            error = relative_difference(other, after)
            print(f"{label} {name}: transcription differs from torch by {error:.1e}")
            require(error < 1e-13, f"{label} {name}: the transcription disagrees with torch")
            tensors[f"{name}.{label}"] = after
    torch.set_default_dtype(torch.float32)
    about = {"steps": STEPS, "weight_decay": DECAY, "nadamw": NADAM, "sgd": SGD}
    return tensors, about


# ---------------------------------------------------------------------------------------- files


def require(condition, message):
    if not condition:
        sys.exit(f"make.py: {message}; nothing more was written")


def write(path, tensors, about):
    # One metadata entry only: their order in the file is not fixed.
    save_file({n: t.contiguous() for n, t in tensors.items()}, path,
              metadata={"about": json.dumps(about, sort_keys=True)})
    path.chmod(0o644)  # save_file leaves it readable by its owner only
    size = path.stat().st_size
    require(size < SIZE_LIMIT, f"{path.name} has {size} bytes, more than {SIZE_LIMIT}")
    print(f"wrote {path.name}: {len(tensors)} tensors, {size} bytes")


def compare(path, tensors):
    """Inputs must be equal bit for bit, results to the last few bits (another CPU adds in another
    order), except the bf16 trajectory."""
    with safe_open(path, "pt") as file:
        require(set(file.keys()) == tensors.keys(), f"{path.name} holds other tensors")
        for name in tensors:
            old, new = file.get_tensor(name), tensors[name]
            require(old.shape == new.shape and old.dtype == new.dtype,
                    f"{path.name}: {name} has another shape or type")
            if old.dtype == torch.float64:
                same = relative_difference(old, new) < 1e-12
            elif name.endswith("_bf16"):
                same = relative_difference(old, new) < 0.02
            else:
                same = torch.equal(old, new)
            require(same, f"{path.name}: {name} differs")
    print(f"{path.name}: same as a new result")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="compare with the files that are there and write nothing")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    files = {"llama_tiny.safetensors": lambda: make_llama(tied=False),
             "llama_tiny_tied.safetensors": lambda: make_llama(tied=True),
             "optimizers.safetensors": make_optimizers,
             "torch_optimizers.safetensors": make_torch_optimizers}
    for name, make in files.items():
        tensors, about = make()
        if arguments.check:
            compare(HERE / name, tensors)
        else:
            write(HERE / name, tensors, about)


if __name__ == "__main__":
    main()
