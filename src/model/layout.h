#pragma once
// Where the parameters of a stage lie in its flat buffers.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/partition.h"
#include "model/units.h"

namespace penstock::model {

/// A stage keeps its weights in one flat buffer per version and its gradients in another, so that
/// whole-stage operations are single sweeps and stacked parameters are single matrices. Offsets
/// are in elements and aligned to 64, so that kernels meet the same alignment in every partition.
///
/// A tied head on the same stage as the embedding uses the embedding's weights, but accumulates
/// its gradient apart, so that sums are formed in the same order for every number of stages.
struct Layout {
  struct Tensor {
    std::vector<std::int64_t> shape;
    std::int64_t weight_offset = 0;
    std::int64_t gradient_offset = 0;
  };
  struct Parameter {
    model::Parameter spec;
    std::size_t number = 0;  // in the whole model, in the order of the chain; tied ones share it
    std::int64_t weight_offset = 0;
    std::int64_t gradient_offset = 0;
    bool updated = true;  // false: the weights are another parameter's
  };

  UnitRange range;
  std::vector<std::vector<Tensor>> units;  // by unit of the range, then by tensor
  std::vector<Parameter> parameters;
  std::int64_t weight_count = 0;
  std::int64_t gradient_count = 0;
};

Layout layout(const std::vector<Unit>& chain, UnitRange range, bool tied);

/// How many numbers layout() gives out for the whole chain.
std::size_t parameter_numbers(const std::vector<Unit>& chain, bool tied);

}  // namespace penstock::model
