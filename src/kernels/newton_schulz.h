#pragma once
// Approximate orthogonalisation: for G = U S V^T returns about U V^T. Each step is
// X <- a X + (b A + c A A) X with A = X X^T, so that every singular value s becomes
// a s + b s^3 + c s^5. Two sets of coefficients:
//  classic        X = G / (|G| + 1e-7); the same (a, b, c) in every step. Five steps bring what is
//                 above 0.002 |G| to 0.68 .. 1.21. Jordan et al. 2024, "Muon".
//  polar_express  X = G / (1.02 |G| + 1e-6); each step has its own, the best for the interval that
//                 the steps before it leave, and steps beyond the fifth repeat the last. Five steps
//                 bring what is above 0.001 |G| to 0.84 .. 1.15. Amsel et al. 2025, arXiv
//                 2505.16932; the margins of G are those of modded-nanogpt.

#include <ATen/ATen.h>

#include <cstdint>

namespace penstock::kernels {

enum class NewtonSchulzCoefficients { classic, polar_express };

struct NewtonSchulz {
  NewtonSchulzCoefficients coefficients = NewtonSchulzCoefficients::classic;
  std::int64_t steps = 5;                 ///< >= 1
  at::ScalarType precision = at::kFloat;  ///< fp32 or bf16: of everything after the division
};

/// gradient: one matrix [r, c] or a batch of them [k, r, c], fp32; the result is fp32 too. NaN in a
/// matrix makes all of it NaN; zero stays zero. The smaller side is worked on: plainly a step costs
/// 4 r^2 c + 2 r^3 floating-point operations for r <= c. On the CPU A and b A + c A A are computed
/// as one triangle where that is faster, and the matrices of a batch one by one, so that bits do
/// not depend on the batch; elsewhere all at once. Threads: any.
at::Tensor newton_schulz(const at::Tensor& gradient, const NewtonSchulz& options = {});

/// The same by plain products over the whole batch at once, on any device: equal but for rounding.
at::Tensor newton_schulz_plain(const at::Tensor& gradient, const NewtonSchulz& options = {});

}  // namespace penstock::kernels
