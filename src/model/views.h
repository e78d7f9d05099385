#pragma once
// The tensors of a stage as views of its flat buffers.

#include <ATen/ATen.h>

#include <vector>

#include "model/layout.h"

namespace penstock::model {

/// tensors[unit][tensor], in the order of Layout::units.
using UnitTensors = std::vector<at::Tensor>;
using StageTensors = std::vector<UnitTensors>;

StageTensors weight_views(const Layout& layout, const at::Tensor& flat);
StageTensors gradient_views(const Layout& layout, const at::Tensor& flat);

at::Tensor weight_view(const Layout::Parameter& parameter, const at::Tensor& flat);
at::Tensor gradient_view(const Layout::Parameter& parameter, const at::Tensor& flat);

}  // namespace penstock::model
