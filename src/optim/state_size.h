#pragma once
// How much memory optimizers need, found without taking it.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "config/config.h"
#include "optim/optimizer.h"
#include "optim/routing.h"

namespace penstock::optim {

/// Bytes of all tensors and numbers of `state`.
std::int64_t bytes(const State& state);

/// Anything that makes the state of a parameter from its weight, meta tensors included.
using StateMaker = std::function<State(const at::Tensor& weight)>;

/// Bytes of the state for an fp32 weight of this shape, asked for with a meta tensor.
std::int64_t state_bytes(const StateMaker& init, const std::vector<std::int64_t>& shape);
/// Of an optimizer.
std::int64_t state_bytes(const Optimizer& optimizer, const std::vector<std::int64_t>& shape);

/// What updating one parameter keeps in memory.
struct ParameterState {
  std::string name;
  std::string optimizer;
  std::vector<std::int64_t> shape;
  std::int64_t bytes = 0;
};

/// Of every parameter, in their order; of the optimizers only.
std::vector<ParameterState> state_of(const config::Config& config,
                                     const std::vector<ParameterInfo>& parameters,
                                     const std::vector<Route>& routes);

/// Throws a UserError where the states and `other` bytes (weights, gradients, the correction's
/// state) are more than `memory` bytes. It tells what each optimizer would take and which parameter
/// takes most.
void require_state_fits(const std::vector<ParameterState>& states, std::int64_t other,
                        std::int64_t memory);

}  // namespace penstock::optim
