#include "optim/optimizer.h"

namespace penstock::optim {

std::vector<at::Tensor> Optimizer::update_batch(const std::vector<at::Tensor>& gradients,
                                                const std::vector<State*>& states,
                                                const UpdateContext& context) const {
  std::vector<at::Tensor> updates;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    updates.push_back(update(gradients[i], *states[i], context));
  }
  return updates;
}

}  // namespace penstock::optim
