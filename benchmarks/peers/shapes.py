"""The models of the benchmarks as numbers: shapes, matrix products, arithmetic, and cuts into whole
layers. Needs no PyTorch, so that drivers and tests can use it too."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    heads: int
    kv_heads: int
    ff: int
    vocab: int
    seq: int
    micro_batch: int  # sequences


SHAPES = {
    "bench-10m": Shape(layers=8, width=256, heads=4, kv_heads=2, ff=768, vocab=8192, seq=256,
                       micro_batch=4),
    "smollm2-135m": Shape(layers=30, width=576, heads=9, kv_heads=3, ff=1536, vocab=49152,
                          seq=512, micro_batch=1),
}
PARAMETERS = {"bench-10m": 10_490_112, "smollm2-135m": 162_826_560}  # as Penstock says, not tied


@dataclasses.dataclass(frozen=True)
class Weight:
    """A matrix (outputs, inputs) that the model multiplies activations with `count` times."""
    name: str
    outputs: int
    inputs: int
    count: int

    @property
    def elements(self):
        return self.outputs * self.inputs * self.count


def weights(shape):
    """The model's matrices as fused implementations multiply them: q, k, v in one product, gate and
    up in one."""
    kv_width = shape.kv_heads * (shape.width // shape.heads)
    return (Weight("q k v", shape.width + 2 * kv_width, shape.width, shape.layers),
            Weight("attention out", shape.width, shape.width, shape.layers),
            Weight("gate up", 2 * shape.ff, shape.width, shape.layers),
            Weight("down", shape.width, shape.ff, shape.layers),
            Weight("head", shape.vocab, shape.width, 1))


def product_flops(shape):
    """Of one token through forward and backward: 2 a weight in y = x W', in dX and in dW."""
    return 6 * sum(weight.elements for weight in weights(shape))


def attention_flops(shape):
    """Of one token through forward and backward: in the forward, scores and mixing are 2 T C each
    where T is the sequence and C the width, half of it masked; the backward is twice that."""
    return 3 * 2 * shape.seq * shape.width * shape.layers


def token_flops(shape):
    return product_flops(shape) + attention_flops(shape)


def parse_cut(text, layers, pieces):
    """"5,3" -> [(0, 5), (5, 8)]: the layers [first, last) of each piece. ValueError says what is
    wrong. A piece may hold no layer, where it has the embedding or the head."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"'{text}' is not whole numbers with commas between") from None
    if len(counts) != pieces:
        raise ValueError(f"'{text}' has {len(counts)} pieces, the schedule needs {pieces}")
    if min(counts) < 0:
        raise ValueError(f"'{text}' has a piece of less than no layers")
    if sum(counts) != layers:
        raise ValueError(f"'{text}' holds {sum(counts)} layers, the model has {layers}")
    if 0 in counts[1:-1]:
        raise ValueError(f"'{text}' leaves a piece in the middle empty")
    ranges, first = [], 0
    for count in counts:
        ranges.append((first, first + count))
        first += count
    return ranges
