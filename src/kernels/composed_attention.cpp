#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/composed.h"

namespace penstock::kernels::composed {
namespace {

/// Sizes of the problem. A key/value head and the query heads that share it form a group; batched
/// products run over sequences and groups, [B K], with all queries of a group as rows.
struct Sizes {
  std::int64_t sequences, tokens, groups, heads_of_group, width;

  Sizes(const at::Tensor& qkv, const HeadShape& shape, std::int64_t batch)
      : sequences(batch),
        tokens(qkv.size(0) / batch),
        groups(shape.kv_heads),
        heads_of_group(shape.heads / shape.kv_heads),
        width(shape.width) {}

  std::int64_t heads() const { return groups * heads_of_group; }
  std::int64_t products() const { return sequences * groups; }
};

/// `heads` heads from `first` on of rows [B*T, .., D], as [B, K, g, T, D].
at::Tensor heads_of(const at::Tensor& rows, const Sizes& z, std::int64_t first,
                    std::int64_t heads) {
  return rows.view({z.sequences, z.tokens, -1, z.width})
      .narrow(2, first, heads)
      .view({z.sequences, z.tokens, z.groups, heads / z.groups, z.width})
      .permute({0, 2, 3, 1, 4});
}

struct Projections {
  at::Tensor query, key, value;  // [B, K, g, T, D], [B, K, 1, T, D] twice; views

  Projections(const at::Tensor& qkv, const Sizes& z)
      : query(heads_of(qkv, z, 0, z.heads())),
        key(heads_of(qkv, z, z.heads(), z.groups)),
        value(heads_of(qkv, z, z.heads() + z.groups, z.groups)) {}
};

/// Queries [first, first + count) and all keys that one of them sees.
class Block {
 public:
  Block(const Sizes& sizes, std::int64_t first, std::int64_t count)
      : z_(sizes), first_(first), count_(count) {}

  /// [B, K, g, T, ..] -> [B K, g count, ..]
  at::Tensor queries(const at::Tensor& x) const {
    return x.narrow(3, first_, count_)
        .reshape({z_.products(), z_.heads_of_group * count_, x.size(4)});
  }
  /// [B, K, 1, T, D] -> [B K, seen, D]
  at::Tensor keys(const at::Tensor& x) const {
    return x.narrow(3, 0, seen()).reshape({z_.products(), seen(), z_.width});
  }
  /// Of [B K, T, D].
  at::Tensor seen_part(const at::Tensor& x) const { return x.narrow(1, 0, seen()); }
  /// Writes [B K, g count, ..] to the queries of [B, K, g, T, ..].
  void store(const at::Tensor& rows, const at::Tensor& x) const {
    x.narrow(3, first_, count_)
        .copy_(rows.view({z_.sequences, z_.groups, z_.heads_of_group, count_, x.size(4)}));
  }

  /// Scores in fp32, [B K, g count, seen]; -inf where the key is later than the query.
  at::Tensor scores(const at::Tensor& query, const at::Tensor& key) const {
    const double scale = 1 / std::sqrt(static_cast<double>(z_.width));
    at::Tensor scores =
        at::bmm(query.to(at::kFloat), key.to(at::kFloat).transpose(1, 2)).mul_(scale);
    const at::Tensor later =
        at::ones({count_, seen()}, query.options().dtype(at::kBool)).triu(first_ + 1);
    scores.view({z_.products(), z_.heads_of_group, count_, seen()})
        .masked_fill_(later, -std::numeric_limits<double>::infinity());
    return scores;
  }

 private:
  std::int64_t seen() const { return first_ + count_; }

  const Sizes& z_;
  const std::int64_t first_;
  const std::int64_t count_;
};

template <class Work>
void for_blocks(const Sizes& z, std::int64_t queries, Work work) {
  for (std::int64_t first = 0; first < z.tokens; first += queries) {
    work(Block(z, first, std::min(queries, z.tokens - first)));
  }
}

/// [B, H, T] -> [B, K, g, T, 1]
at::Tensor per_query(const at::Tensor& x, const Sizes& z) {
  return x.view({z.sequences, z.groups, z.heads_of_group, z.tokens, 1});
}

}  // namespace

std::int64_t queries_at_once(const HeadShape& shape, std::int64_t sequences, std::int64_t tokens) {
  constexpr std::int64_t most_scores = std::int64_t{1} << 26;
  constexpr std::int64_t fewest = 64;  // enough rows for the products
  const std::int64_t of_one = std::max<std::int64_t>(shape.heads * sequences * tokens, 1);
  return std::clamp(most_scores / of_one, fewest, std::max(tokens, fewest));
}

Attended attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences,
                   std::int64_t queries) {
  const Sizes z(qkv, shape, sequences);
  const Projections in(qkv, z);
  const at::Tensor y = at::empty({qkv.size(0), z.heads() * z.width}, qkv.options());
  const at::Tensor log_sum =
      at::empty({z.sequences, z.heads(), z.tokens}, qkv.options().dtype(at::kFloat));
  for_blocks(z, queries, [&](const Block& block) {
    const at::Tensor scores = block.scores(block.queries(in.query), block.keys(in.key));
    const at::Tensor peak = scores.amax(2, true);
    const at::Tensor exponentials = at::sub(scores, peak).exp_();
    const at::Tensor sum = exponentials.sum(2, true);
    const at::Tensor weights = at::div(exponentials, sum).to(qkv.scalar_type());
    block.store(at::bmm(weights, block.keys(in.value)), heads_of(y, z, 0, z.heads()));
    block.store(sum.log().add_(peak), per_query(log_sum, z));
  });
  return {y, log_sum};
}

// With p the weights and s the scores: dv = p^T dy, dp = dy v^T, ds = p (dp - sum_d dy y),
// dq = ds k, dk = ds^T q.
at::Tensor attention_backward(const at::Tensor& dy, const at::Tensor& qkv, const Attended& forward,
                              const HeadShape& shape, std::int64_t sequences,
                              std::int64_t queries) {
  const Sizes z(qkv, shape, sequences);
  const Projections in(qkv, z);
  const auto type = qkv.scalar_type();
  const double scale = 1 / std::sqrt(static_cast<double>(z.width));
  const at::Tensor dy_heads = heads_of(dy, z, 0, z.heads());
  const at::Tensor y_heads = heads_of(forward.y, z, 0, z.heads());
  const at::Tensor log_sum = per_query(forward.log_sum, z);
  const at::Tensor gradient = at::empty_like(qkv);
  const Projections out(gradient, z);
  const at::Tensor dkey =
      at::zeros({z.products(), z.tokens, z.width}, qkv.options().dtype(at::kFloat));
  const at::Tensor dvalue = at::zeros_like(dkey);
  for_blocks(z, queries, [&](const Block& block) {
    const at::Tensor query = block.queries(in.query);
    const at::Tensor key = block.keys(in.key);
    const at::Tensor value = block.keys(in.value);
    const at::Tensor dout = block.queries(dy_heads);
    const at::Tensor dout_floats = dout.to(at::kFloat);
    const at::Tensor through = (dout_floats * block.queries(y_heads).to(at::kFloat)).sum(2, true);
    const at::Tensor weights = block.scores(query, key).sub_(block.queries(log_sum)).exp_();
    block.seen_part(dvalue).add_(at::bmm(weights.to(type).transpose(1, 2), dout));
    const at::Tensor dscores = at::bmm(dout_floats, value.to(at::kFloat).transpose(1, 2))
                                   .sub_(through)
                                   .mul_(weights)
                                   .mul_(scale)
                                   .to(type);
    block.store(at::bmm(dscores, key), out.query);
    block.seen_part(dkey).add_(at::bmm(dscores.transpose(1, 2), query));
  });
  out.key.copy_(dkey.view(out.key.sizes()));
  out.value.copy_(dvalue.view(out.value.sizes()));
  return gradient;
}

}  // namespace penstock::kernels::composed
