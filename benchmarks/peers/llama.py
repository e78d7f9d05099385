"""The benchmarks' models in plain PyTorch, which the peers train.

Written the way PyTorch users write it: nn.Linear, fused attention, fused RMSNorm, and autocast for
bf16. Shapes: B sequences, T positions, C width, H query heads, G key/value heads, D head width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from shapes import PARAMETERS, Shape


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        self.head_width = shape.width // shape.heads
        kv_width = self.kv_heads * self.head_width
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, kv_width, bias=False)
        self.value = nn.Linear(shape.width, kv_width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        pairs = torch.arange(self.head_width // 2)
        angle = torch.outer(torch.arange(shape.seq), 10000.0 ** (-2.0 * pairs / self.head_width))
        self.register_buffer("cos", angle.cos().repeat(1, 2), persistent=False)  # (T, D)
        self.register_buffer("sin", angle.sin().repeat(1, 2), persistent=False)

    def rotate(self, x):
        """Half rotation of x (B, heads, T, D)."""
        low, high = x.chunk(2, dim=-1)
        turned = torch.cat((-high, low), dim=-1)
        return x * self.cos.to(x.dtype) + turned * self.sin.to(x.dtype)

    def forward(self, x):
        def split(y, heads):
            return y.unflatten(-1, (heads, self.head_width)).transpose(1, 2)

        query = self.rotate(split(self.query(x), self.heads))
        key = self.rotate(split(self.key(x), self.kv_heads))
        value = split(self.value(x), self.kv_heads)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.ff, bias=False)
        self.up = nn.Linear(shape.width, shape.ff, bias=False)
        self.down = nn.Linear(shape.ff, shape.width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=1e-5)
        self.attention = Attention(shape)
        self.mlp_norm = nn.RMSNorm(shape.width, eps=1e-5)
        self.mlp = Mlp(shape)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Llama(nn.Module):
    """Layers [first, last) of the model: the first piece with the embedding, the last with the
    final norm and the head. Takes tokens (B, T) or activations (B, T, C), gives activations or
    logits. `bf16` runs it under autocast."""

    def __init__(self, shape: Shape, first: int, last: int, bf16: bool, first_piece=True,
                 last_piece=True):
        super().__init__()
        self.bf16 = bf16
        self.embedding = nn.Embedding(shape.vocab, shape.width) if first_piece else None
        self.layers = nn.ModuleList(Layer(shape) for _ in range(first, last))
        self.norm = nn.RMSNorm(shape.width, eps=1e-5) if last_piece else None
        self.head = nn.Linear(shape.width, shape.vocab, bias=False) if last_piece else None
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            if self.embedding is not None:
                x = self.embedding(x)
            for layer in self.layers:
                x = layer(x)
            if self.head is not None:
                x = self.head(self.norm(x))
            return x


def loss_of(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8,
                             weight_decay=0.1, fused=True)


def count_parameters(model):
    return sum(p.numel() for p in model.parameters())


def check_parameters(name, count):
    if count != PARAMETERS[name]:
        raise SystemExit(f"the peer's model has {count} parameters, {name} has "
                         f"{PARAMETERS[name]}: fix benchmarks/peers/llama.py")


def random_batch(shape: Shape, sequences: int):
    """One batch of tokens and targets, (sequences, T) each; the peers train on it again and
    again, so that reading data costs them nothing."""
    tokens = torch.randint(shape.vocab, (sequences, shape.seq + 1),
                           generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
