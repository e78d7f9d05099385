#include "kernels/block_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "kernels/block_rows.h"
#include "kernels/blocked_product.h"

namespace penstock::kernels {
namespace {

// So many scores at once, in fp32, stay in a core's cache with what is made of them.
constexpr std::int64_t scores_at_once = 32768;
constexpr std::int64_t fewest_queries = 16;
constexpr std::int64_t most_queries = 64;

std::int64_t queries_at_once(std::int64_t tokens) {
  return std::clamp(scores_at_once / tokens / 16 * 16, fewest_queries, most_queries);
}

std::int64_t even(std::int64_t n) { return n + n % 2; }

/// Uninitialised rows.
template <class T>
class Scratch {
 public:
  Scratch(std::int64_t rows, std::int64_t columns)
      : stride_(spread_stride<T>(columns)),
        values_(at::empty({rows * stride_}, at::dtype(c10::CppTypeToScalarType<T>::value))) {}
  operator Block<T>() { return {values_.template mutable_data_ptr<T>(), stride_}; }
  operator Block<const T>() const { return {values_.template const_data_ptr<T>(), stride_}; }
  Block<const T> rows() const { return *this; }
  void zero() { values_.zero_(); }

 private:
  std::int64_t stride_;
  at::Tensor values_;
};

/// What one task works on: the heads that share a key/value head, in one sequence.
struct Group {
  std::int64_t sequence = 0;
  std::int64_t kv_head = 0;
};

/// Calls work(group) for every group, in parallel.
template <class Work>
void for_groups(const HeadShape& shape, std::int64_t sequences, at::ScalarType type, Work work) {
  at::parallel_for(0, sequences * shape.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto task = begin; task < end; ++task) {
      work(Group{task / shape.kv_heads, task % shape.kv_heads});
    }
    end_block_products(type);
  });
}

/// Finds heads in rows of [queries, keys, values].
template <class T>
class HeadRows {
 public:
  HeadRows(T* data, const HeadShape& shape, std::int64_t tokens, Group group)
      : shape_(shape), group_(group), stride_((shape.heads + 2 * shape.kv_heads) * shape.width) {
    data_ = data + group.sequence * tokens * stride_;
  }
  Block<T> query(std::int64_t head, std::int64_t token) const { return at(head, token); }
  Block<T> key() const { return at(shape_.heads + group_.kv_head, 0); }
  Block<T> value() const { return at(shape_.heads + shape_.kv_heads + group_.kv_head, 0); }

 private:
  Block<T> at(std::int64_t head, std::int64_t token) const {
    return {data_ + token * stride_ + head * shape_.width, stride_};
  }
  const HeadShape& shape_;
  Group group_;
  std::int64_t stride_;
  T* data_;
};

template <class T>
Block<T> rows_of(T* data, const HeadShape& shape, std::int64_t tokens, Group group,
                 std::int64_t head, std::int64_t token) {
  const std::int64_t stride = shape.heads * shape.width;
  return {data + (group.sequence * tokens + token) * stride + head * shape.width, stride};
}

float score_scale(const HeadShape& shape) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.width)));
}

template <class T>
class Forward {
 public:
  Forward(const at::Tensor& qkv, const HeadShape& shape, std::int64_t tokens, Attended& out)
      : shape_(shape),
        tokens_(tokens),
        qkv_(qkv.const_data_ptr<T>()),
        y_(out.y.mutable_data_ptr<T>()),
        log_sum_(out.log_sum.mutable_data_ptr<float>()) {}

  void run(Group group) {
    const HeadRows<const T> rows(qkv_, shape_, tokens_, group);
    const std::int64_t width = shape_.width;
    Scratch<T> keys(width, tokens_);
    Scratch<T> packed_values(in_pairs<T> ? even(tokens_) : 0, width);
    pack_transposed(tokens_, width, rows.key(), keys);
    Block<const T> values = rows.value();
    if constexpr (in_pairs<T>) {
      pack(tokens_, width, values, packed_values);
      values = packed_values;
    }
    const std::int64_t most = queries_at_once(tokens_);
    Scratch<float> scores(most, even(tokens_));
    Scratch<T> probabilities(in_pairs<T> ? most : 0, even(tokens_));
    Scratch<float> output(most, width);
    std::vector<float> sums(static_cast<std::size_t>(most));
    Block<const T> p;
    Block<T> p_out;
    if constexpr (in_pairs<T>) {
      p_out = probabilities;
    } else {
      p_out = scores;
    }
    p = {p_out.data, p_out.stride};

    const std::int64_t share = shape_.heads / shape_.kv_heads;
    for (auto head = group.kv_head * share; head < (group.kv_head + 1) * share; ++head) {
      float* log_sum = log_sum_ + (group.sequence * shape_.heads + head) * tokens_;
      for (std::int64_t first = 0; first < tokens_; first += most) {
        const std::int64_t count = std::min(most, tokens_ - first);
        const std::int64_t seen = first + count;
        block_product({count, seen, width}, rows.query(head, first), keys.rows(), scores,
                      Into::overwrite);
        causal_softmax<T>(count, in_pairs<T> ? even(seen) : seen, first, score_scale(shape_),
                          scores, p_out, sums.data(), log_sum + first);
        block_product({count, width, in_pairs<T> ? even(seen) : seen}, p, values, output,
                      Into::overwrite);
        divide_rows<T>(count, width, output, sums.data(),
                       rows_of(y_, shape_, tokens_, group, head, first));
      }
    }
  }

 private:
  const HeadShape& shape_;
  const std::int64_t tokens_;
  const T* qkv_;
  T* y_;
  float* log_sum_;
};

template <class T>
class Backward {
 public:
  Backward(const at::Tensor& dy, const at::Tensor& qkv, const Attended& forward,
           const HeadShape& shape, std::int64_t tokens, at::Tensor& dqkv)
      : shape_(shape),
        tokens_(tokens),
        qkv_(qkv.const_data_ptr<T>()),
        y_(forward.y.const_data_ptr<T>()),
        dy_(dy.const_data_ptr<T>()),
        log_sum_(forward.log_sum.const_data_ptr<float>()),
        dqkv_(dqkv.mutable_data_ptr<T>()) {}

  void run(Group group) const {
    const HeadRows<T> out(dqkv_, shape_, tokens_, group);
    Work work(*this, group);
    const std::int64_t share = shape_.heads / shape_.kv_heads;
    for (auto head = group.kv_head * share; head < (group.kv_head + 1) * share; ++head) {
      for (std::int64_t first = 0; first < tokens_; first += work.most) {
        work.add(head, first, out.query(head, first));
      }
    }
    store_rows<T>(tokens_, shape_.width, work.dkeys, out.key());
    store_rows<T>(tokens_, shape_.width, work.dvalues, out.value());
  }

 private:
  // Rows of `scores` and what is made of them are keys, their columns queries.
  struct Work {
    Work(const Backward& all, Group g) : a(all), group(g), rows(a.qkv_, a.shape_, a.tokens_, g) {
      transpose(a.tokens_, width, rows.key(), keys_transposed);
      if (a.tokens_ % 2 != 0) clear_column(keys_transposed, a.tokens_);
      dkeys.zero();
      dvalues.zero();
    }

    void add(std::int64_t head, std::int64_t first, Block<T> dquery_out) {
      const std::int64_t count = std::min(most, a.tokens_ - first);
      const std::int64_t seen = first + count;
      const std::int64_t columns = in_pairs<T> ? even(count) : count;
      const Block<const T> query = rows.query(head, first);
      const auto dy = rows_of(a.dy_, a.shape_, a.tokens_, group, head, first);
      const auto y = rows_of(a.y_, a.shape_, a.tokens_, group, head, first);
      dot_rows<T>(count, width, dy, y, delta.data());

      pack_transposed(count, width, query, query_transposed);
      pack_transposed(count, width, dy, dy_transposed);
      block_product({seen, count, width}, rows.key(), query_transposed.rows(), scores,
                    Into::overwrite);
      block_product({seen, count, width}, rows.value(), dy_transposed.rows(), dprobabilities,
                    Into::overwrite);
      const float* log_sum =
          a.log_sum_ + (group.sequence * a.shape_.heads + head) * a.tokens_ + first;
      softmax_gradient<T>(
          {seen, count, columns, first, score_scale(a.shape_), log_sum, delta.data()}, scores,
          dprobabilities, probabilities, dscores, dscores_paired);

      block_product({seen, width, columns}, probabilities.rows(), packed(dy, count, packed_dy),
                    dvalues, Into::add);
      block_product({seen, width, columns}, dscores.rows(), packed(query, count, packed_query),
                    dkeys, Into::add);
      block_product({width, columns, in_pairs<T> ? even(seen) : seen}, keys_transposed.rows(),
                    in_pairs<T> ? dscores_paired.rows() : dscores.rows(), dquery_transposed,
                    Into::overwrite);
      transpose(width, count, dquery_transposed.rows(), dquery);
      store_rows<T>(count, width, dquery, dquery_out);
    }

    Block<const T> packed(Block<const T> block, std::int64_t count, Scratch<T>& to) {
      if constexpr (!in_pairs<T>) return block;
      if constexpr (in_pairs<T>) pack(count, width, block, to);
      return to;
    }
    void clear_column(Block<T> block, std::int64_t column) {
      for (std::int64_t row = 0; row < width; ++row) block.data[row * block.stride + column] = T(0);
    }

    const Backward& a;
    Group group;
    HeadRows<const T> rows;
    const std::int64_t width = a.shape_.width;
    const std::int64_t most = queries_at_once(a.tokens_);
    Scratch<T> keys_transposed{width, even(a.tokens_)};
    Scratch<float> dkeys{a.tokens_, width};
    Scratch<float> dvalues{a.tokens_, width};
    Scratch<T> query_transposed{width, most};
    Scratch<T> dy_transposed{width, most};
    Scratch<T> packed_query{most, width};
    Scratch<T> packed_dy{most, width};
    Scratch<float> scores{a.tokens_, most};
    Scratch<float> dprobabilities{a.tokens_, most};
    Scratch<T> probabilities{a.tokens_, most};
    Scratch<T> dscores{a.tokens_, most};
    Scratch<T> dscores_paired{even(a.tokens_), most};
    Scratch<float> dquery_transposed{width, most};
    Scratch<float> dquery{most, width};
    std::vector<float> delta = std::vector<float>(static_cast<std::size_t>(most));
  };

  const HeadShape& shape_;
  const std::int64_t tokens_;
  const T* qkv_;
  const T* y_;
  const T* dy_;
  const float* log_sum_;
  T* dqkv_;
};

template <class T>
Attended attention_of(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences) {
  const std::int64_t tokens = qkv.size(0) / sequences;
  Attended result{at::empty({qkv.size(0), shape.heads * shape.width}, qkv.options()),
                  at::empty({sequences, shape.heads, tokens}, qkv.options().dtype(at::kFloat))};
  Forward<T> forward(qkv, shape, tokens, result);
  for_groups(shape, sequences, qkv.scalar_type(), [&](Group group) { forward.run(group); });
  return result;
}

template <class T>
at::Tensor gradient_of(const at::Tensor& dy, const at::Tensor& qkv, const Attended& forward,
                       const HeadShape& shape, std::int64_t sequences) {
  at::Tensor dqkv = at::empty_like(qkv);
  const Backward<T> backward(dy, qkv, forward, shape, qkv.size(0) / sequences, dqkv);
  for_groups(shape, sequences, qkv.scalar_type(), [&](Group group) { backward.run(group); });
  return dqkv;
}

}  // namespace

bool has_block_attention(const at::Tensor& qkv, const HeadShape& shape) {
  return qkv.is_cpu() && qkv.is_contiguous() && shape.width % 2 == 0 &&
         has_block_products(qkv.scalar_type());
}

Attended block_attention(const at::Tensor& qkv, const HeadShape& shape, std::int64_t sequences) {
  return qkv.scalar_type() == at::kFloat ? attention_of<float>(qkv, shape, sequences)
                                         : attention_of<at::BFloat16>(qkv, shape, sequences);
}

at::Tensor block_attention_backward(const at::Tensor& dy, const at::Tensor& qkv,
                                    const Attended& forward, const HeadShape& shape,
                                    std::int64_t sequences) {
  const at::Tensor rows = dy.contiguous();
  return qkv.scalar_type() == at::kFloat
             ? gradient_of<float>(rows, qkv, forward, shape, sequences)
             : gradient_of<at::BFloat16>(rows, qkv, forward, shape, sequences);
}

}  // namespace penstock::kernels
