#include "engine/device.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include "base/error.h"

namespace penstock::engine {
namespace {

/// Into the global namespace, where the library registers its kernels; never unloaded.
void load_cuda() {
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr) return;
  const char* reason = dlerror();
  throw user_error("device",
                   "train.device = \"cuda\" needs LibTorch's CUDA library, which cannot be loaded "
                   "({}); set train.device = \"cpu\", or give a LibTorch 2.11 with CUDA and its "
                   "libraries in PENSTOCK_TORCH_ROOT",
                   reason == nullptr ? "no reason given" : reason);
}

}  // namespace

at::Device usable_device(config::DeviceKind kind) {
  if (kind == config::DeviceKind::cpu) return at::kCPU;
  load_cuda();
  const bool registered = c10::impl::hasDeviceGuardImpl(at::kCUDA);
  if (!registered || c10::impl::getDeviceGuardImpl(at::kCUDA)->deviceCount() == 0) {
    throw user_error("device",
                     "train.device = \"cuda\", but no GPU can be used here; set train.device = "
                     "\"cpu\", or check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES");
  }
  return {at::kCUDA, 0};
}

StageStream::StageStream(at::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.setDevice(device);
  guard.getDefaultStream(device).synchronize();  // what the stage starts with was made there
  stream_ = guard.getStreamFromGlobalPool(device);
  guard.exchangeStream(*stream_);
}

void StageStream::finish() const {
  if (stream_) stream_->synchronize();
}

void StageStream::use(const at::Tensor& tensor) const {
  if (!stream_ || !tensor.defined()) return;
  const c10::impl::VirtualGuardImpl guard(stream_->device_type());
  guard.recordDataPtrOnStream(tensor.storage().data_ptr(), *stream_);
}

}  // namespace penstock::engine
