#pragma once
// What a run tells about itself.

#include <cstdint>
#include <vector>

namespace penstock::observe {

/// One optimizer update.
struct UpdateRecord {
  std::int64_t step = 0;     ///< Updates done, this one included (from 1).
  double loss = 0;           ///< Mean over the batch's tokens, nats per token.
  double gradient_norm = 0;  ///< Global L2 norm before clipping.
  double clip_factor = 1;    ///< What clipping scaled the gradient by, in (0, 1].
  double lr = 0;             ///< Learning rate of [optimizer] in this update.
  std::int64_t tokens = 0;   ///< Trained since the start.
  double seconds = 0;        ///< Since the start of the run, evaluations included.
  std::vector<double> busy;  ///< Each stage's share of computing since the previous record, 0..1.
};

/// One evaluation on the validation set.
struct EvalRecord {
  std::int64_t step = 0;       ///< Updates done before it.
  double val_loss = 0;         ///< Mean over the tokens, nats per token.
  std::int64_t sequences = 0;  ///< Evaluated.
  double seconds = 0;          ///< Since the start of the run, at the end of the evaluation.
  double duration = 0;         ///< Seconds the evaluation itself took.
};

}  // namespace penstock::observe
