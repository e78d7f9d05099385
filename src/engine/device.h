#pragma once
// Where the stages compute.

#include <ATen/ATen.h>
#include <c10/core/Stream.h>

#include <optional>

#include "config/config.h"

namespace penstock::engine {

/// The configured device, ready to be used. LibTorch's CUDA library is loaded here, at run time and
/// only when it is asked for; call this before the first tensor operation of the process.
/// Errors: UserError where the library or a GPU is missing.
at::Device usable_device(config::DeviceKind kind);

/// On a GPU, one stage's stream of work, made current on the thread that constructs it, which is to
/// be the stage's own. On the CPU it does nothing.
class StageStream {
 public:
  explicit StageStream(at::Device device);

  /// Waits until everything queued so far is done: before other stages see its results.
  void finish() const;
  /// Keeps the memory of a tensor from another stage's stream until this stream is done with it.
  void use(const at::Tensor& tensor) const;

 private:
  std::optional<c10::Stream> stream_;
};

}  // namespace penstock::engine
