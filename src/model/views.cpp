#include "model/views.h"

namespace penstock::model {
namespace {

at::Tensor view(const at::Tensor& flat, std::int64_t offset,
                const std::vector<std::int64_t>& shape) {
  return flat.narrow(0, offset, c10::multiply_integers(shape)).view(shape);
}

StageTensors views(const Layout& layout, const at::Tensor& flat,
                   std::int64_t Layout::Tensor::*offset) {
  StageTensors stage;
  for (const auto& unit : layout.units) {
    auto& tensors = stage.emplace_back();
    for (const auto& tensor : unit) tensors.push_back(view(flat, tensor.*offset, tensor.shape));
  }
  return stage;
}

}  // namespace

StageTensors weight_views(const Layout& layout, const at::Tensor& flat) {
  return views(layout, flat, &Layout::Tensor::weight_offset);
}

StageTensors gradient_views(const Layout& layout, const at::Tensor& flat) {
  return views(layout, flat, &Layout::Tensor::gradient_offset);
}

at::Tensor weight_view(const Layout::Parameter& parameter, const at::Tensor& flat) {
  return view(flat, parameter.weight_offset, parameter.spec.shape);
}

at::Tensor gradient_view(const Layout::Parameter& parameter, const at::Tensor& flat) {
  return view(flat, parameter.gradient_offset, parameter.spec.shape);
}

}  // namespace penstock::model
