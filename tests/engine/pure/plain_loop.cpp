#include <algorithm>
#include <cmath>

#include "engine/pure/fake_run.h"

namespace penstock::tests {
namespace {

using schedule::PipelineShape;

class PlainLoop {
 public:
  PlainLoop(const FakeRun& run, const Definition& rule)
      : run_(run),
        rule_(rule),
        model_(run.model()),
        layers_(static_cast<std::size_t>(model_.layers)),
        weights_(layers_),
        stage_of_(layers_) {
    const auto& schedule = schedule::find(run.schedule);
    for (int p = 0; p < run.shape.pieces(); ++p) {
      const auto range = layers_of(p, run.shape.pieces(), model_.layers);
      for (int layer = range.first; layer < range.end; ++layer) {
        const auto i = static_cast<std::size_t>(layer);
        weights_[i] = {first_weight(layer)};
        stage_of_[i] = schedule::place_of(schedule.placement, run.shape, p).stage;
      }
    }
    result_.skipped.resize(static_cast<std::size_t>(run.shape.stages));
  }

  FakeResult run() {
    for (std::int64_t batch = 0; batch < run_.batches; ++batch) {
      Gradients sums;
      sums.layers.resize(layers_);
      for (int j = 0; j < run_.shape.micro_batches; ++j) add_micro_batch(batch, j, sums);
      update(batch, sums);
      evaluate(batch + 1);
    }
    result_.weights.layers.clear();
    for (const auto& versions : weights_) result_.weights.layers.push_back(versions.back());
    result_.weights.tied_input = tied_input_.back();
    result_.weights.tied_output = tied_output_.back();
    return result_;
  }

 private:
  struct Gradients {
    std::vector<Payload> layers;
    TiedGradient tied_input{};
    TiedGradient tied_output{};
    double loss = 0;
  };

  static Payload at(const std::vector<Payload>& versions, std::int64_t version) {
    return versions.at(static_cast<std::size_t>(version));
  }

  void add_micro_batch(std::int64_t batch, int j, Gradients& sums) {
    const std::int64_t i = batch * run_.shape.micro_batches + j;
    std::vector<std::int64_t> forward;
    std::vector<std::int64_t> backward;
    for (const int stage : stage_of_) {
      forward.push_back(rule_.forward(stage, run_.shape, i));
      backward.push_back(rule_.backward(stage, run_.shape, i));
    }
    std::vector<Payload> inputs;
    Payload x = (sample(batch, j) + at(tied_input_, forward.front())) % modulus;
    for (std::size_t layer = 0; layer < layers_; ++layer) {
      inputs.push_back(x);
      x = forward_through(x, at(weights_[layer], forward[layer]));
    }
    x = (x + at(tied_output_, forward.back())) % modulus;
    sums.loss += loss_of(x);
    add_tied_output(sums.tied_output, x);
    Payload g = x;
    for (std::size_t layer = layers_; layer-- > 0;) {
      sums.layers[layer] = (sums.layers[layer] + weight_gradient(inputs[layer], g)) % modulus;
      g = backward_through(g, at(weights_[layer], backward[layer]));
    }
    add_tied_input(sums.tied_input, g);
  }

  /// Whether the batch has something in it that is not finite: in the gradients of this stage, or
  /// anywhere where `stage` is -1.
  bool is_poisoned(std::int64_t batch, int stage) const {
    return std::ranges::any_of(model_.poisons, [&](const Poison& poison) {
      if (poison.batch != batch) return false;
      if (stage < 0) return true;
      return poison.in == Poison::In::gradient &&
             stage_of_.at(static_cast<std::size_t>(poison.layer)) == stage;
    });
  }

  void update(std::int64_t batch, const Gradients& sums) {
    const bool together = rule_.updates_together;
    TiedGradient both = sums.tied_input;
    for (std::size_t i = 0; i < tied_size; ++i) both[i] += sums.tied_output[i];
    double square = 0;
    if (together) {
      for (const float part : both) square += static_cast<double>(part) * static_cast<double>(part);
    }
    for (const Payload g : sums.layers) square += norm_part(g) * norm_part(g);
    const double norm = std::sqrt(square);
    result_.sums = with_total(result_.sums, norm, sums.loss, !is_poisoned(batch, -1));
    std::vector<bool> skips;
    for (int s = 0; s < run_.shape.stages; ++s) {
      skips.push_back(is_poisoned(batch, together ? -1 : s));
      if (skips.back()) result_.skipped[static_cast<std::size_t>(s)].push_back(batch);
    }
    for (std::size_t layer = 0; layer < layers_; ++layer) {
      const Payload old = weights_[layer].back();
      const bool skip = skips[static_cast<std::size_t>(stage_of_[layer])];
      const Payload next =
          next_weight(old, sums.layers[layer], static_cast<int>(layer), together ? whole(norm) : 0);
      weights_[layer].push_back(skip ? old : next);
    }
    const auto push = [&](std::vector<Payload>& versions, const TiedGradient& own, int stage) {
      const Payload old = versions.back();
      const Payload next = next_tied(old, together ? both : own);
      versions.push_back(skips[static_cast<std::size_t>(stage)] ? old : next);
    };
    push(tied_input_, sums.tied_input, stage_of_.front());
    push(tied_output_, sums.tied_output, stage_of_.back());
  }

  void evaluate(std::int64_t version) {
    const auto& plan = run_.evaluation;
    const bool due = plan.every > 0 && version % plan.every == 0;
    if (!due && version != run_.batches) return;
    for (std::int64_t j = 0; j < plan.micro_batches; ++j) {
      Payload x = (validation_sample(j) + tied_input_.back()) % modulus;
      for (const auto& versions : weights_) x = forward_through(x, versions.back());
      result_.evaluations.emplace_back(version, (x + tied_output_.back()) % modulus);
    }
  }

  const FakeRun& run_;
  const Definition& rule_;
  const FakeModel model_;
  const std::size_t layers_;
  std::vector<std::vector<Payload>> weights_;  // of each layer, all versions
  std::vector<Payload> tied_input_{FakeWeights{}.tied_input};
  std::vector<Payload> tied_output_{FakeWeights{}.tied_output};
  std::vector<int> stage_of_;  // layers
  FakeResult result_;
};

}  // namespace

const std::vector<Definition>& definitions() {
  const auto newest = [](int, PipelineShape shape, std::int64_t i) {
    return i / shape.micro_batches;
  };
  const auto one_older = [](int, PipelineShape shape, std::int64_t i) {
    return std::max<std::int64_t>(i / shape.micro_batches - 1, 0);
  };
  // FIFO delay of d-1-s micro-batches.
  const auto by_depth = [](int stage, PipelineShape shape, std::int64_t i) {
    return std::max<std::int64_t>(i - (shape.stages - 1 - stage), 0) / shape.micro_batches;
  };
  static const std::vector<Definition> all{{"1f1b", newest, newest},
                                           {"2bw", one_older, one_older},
                                           {"2bw-ahead", one_older, one_older},
                                           {"gpipe", newest, newest},
                                           {"interleaved", newest, newest},
                                           {"zb-h1", newest, newest},
                                           {"zb-v", newest, newest},
                                           {"pipedream", by_depth, by_depth, false},
                                           {"paci", by_depth, newest, false}};
  return all;
}

Definition definition_of(const FakeRun& run) {
  Definition rule = *std::ranges::find(definitions(), run.schedule, &Definition::schedule);
  const auto with_phases = [sync = run.sync, final_begin = run.final_begin](auto delayed) {
    return [=](int stage, PipelineShape shape, std::int64_t i) {
      const std::int64_t batch = i / shape.micro_batches;
      if (batch < sync || batch >= final_begin) return batch;
      return sync + delayed(stage, shape, i - sync * shape.micro_batches);
    };
  };
  rule.forward = with_phases(rule.forward);
  rule.backward = with_phases(rule.backward);
  return rule;
}

FakeResult plain_loop(const FakeRun& run, const Definition& rule) {
  return PlainLoop(run, rule).run();
}

FakeResult plain_loop(const FakeRun& run) { return plain_loop(run, definition_of(run)); }

std::vector<PipelineShape> shapes_of(const schedule::Schedule& schedule, int most_stages) {
  std::vector<PipelineShape> result;
  for (const int d : {1, 2, 3, 5, 8}) {
    for (const int m : {1, d, d + 1, 2 * d, 2 * d + 3}) {
      for (const int chunks : {1, 2, 3}) {
        const PipelineShape shape{d, m, chunks};
        if (d > most_stages || !schedule.complaint(shape).empty()) continue;
        if (std::ranges::find(result, shape) == result.end()) result.push_back(shape);
      }
    }
  }
  return result;
}

}  // namespace penstock::tests
