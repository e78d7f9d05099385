#pragma once
// What optimizers that orthogonalise their direction share: the options and the batch.

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "config/config.h"
#include "config/option.h"
#include "kernels/newton_schulz.h"

namespace penstock::optim {

/// The scale of an orthogonalised r x c matrix.
enum class Scale { original, match_rms_adamw, spectral };

/// original sqrt(max(1, r/c)), match_rms_adamw 0.2 sqrt(max(r, c)), spectral sqrt(r/c).
double scale_factor(Scale scale, const at::Tensor& matrix);

/// Base of such an optimizer's options.
struct OrthogonalizationOptions {
  kernels::NewtonSchulzCoefficients ns_coefficients = kernels::NewtonSchulzCoefficients::classic;
  std::int64_t ns_steps = 5;
  config::Precision ns_precision = config::Precision::fp32;
};

/// momentum <- mu momentum + (1 - mu) gradient; returns momentum + lead (momentum - the one
/// before). Nesterov's direction, (1 - mu) gradient + mu momentum, is a lead of mu.
at::Tensor advance(at::Tensor& momentum, const at::Tensor& gradient, double mu, double lead);

/// Of each direction [r, c], all of one shape: on the CPU one by one, elsewhere all at once. The
/// same bits as one alone on the CPU.
std::vector<at::Tensor> orthogonalize(const std::vector<at::Tensor>& directions,
                                      const OrthogonalizationOptions& options);

/// Declares ns_steps, ns_coefficients and ns_precision for `Options`, which derives from
/// OrthogonalizationOptions.
template <class Options>
void add_orthogonalization(config::OptionTable<Options>& table) {
  using config::Precision;
  using Coefficients = kernels::NewtonSchulzCoefficients;
  table
      .integer("ns_steps", &Options::ns_steps, 5, config::Range::between(1, 100),
               "Newton-Schulz steps")
      .choice("ns_coefficients", static_cast<Coefficients Options::*>(&Options::ns_coefficients),
              Coefficients::classic,
              {{"classic", Coefficients::classic}, {"polar_express", Coefficients::polar_express}},
              "the same quintic in every step, or the best one for each")
      .choice("ns_precision", static_cast<Precision Options::*>(&Options::ns_precision),
              Precision::fp32, {{"fp32", Precision::fp32}, {"bf16", Precision::bf16}},
              "precision of the orthogonalisation");
}

/// Declares `scale`, a member of Options.
template <class Options>
void add_scale(config::OptionTable<Options>& table, Scale default_value) {
  table.choice("scale", &Options::scale, default_value,
               {{"original", Scale::original},
                {"match_rms_adamw", Scale::match_rms_adamw},
                {"spectral", Scale::spectral}},
               "size of the update for an r x c matrix: sqrt(max(1, r/c)), "
               "0.2 sqrt(max(r, c)), sqrt(r/c)");
}

}  // namespace penstock::optim
