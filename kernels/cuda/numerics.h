// The numerics of the CUDA backend, version "gpu-1". A device of compute capability 9.0 and the emulation
// give these bits, because the products of the tensor cores are those of bench/gpu/mma_model.h there; the
// compute capability is part of the version that the fingerprint has. Values and pure functions, for host and
// device.
//
// T is the type of the weights (bf16, f16 or f32), H that of the KV, and f16 where the KV has 8 bits.
// Arithmetic is f32, rounded to nearest even; nothing is contracted. `round` narrows to the type of what is
// written.
//
//   1. Gemm with 16-bit weights: x is rounded to T before. Each output is one accumulator from +0, to which
//      mma.m16n8k16 adds 16 products at a time, k ascending; a last step of fewer is filled with zeros. With
//      f32 weights: acc = fma(x[k], w[k], acc), k ascending. Then, if there is a bias, acc = acc + bias; then
//      y = acc, or y = y + acc. A library may compute it where it is found to have these bits (products.h).
//   2. Sums along a row are made by 32 lanes. Lane l adds the terms l, l + 32, ... in ascending order; then
//      s[l] = s[l] + s[l ^ 16], and the same with 8, 4, 2 and 1.
//   3. RmsNorm of a row or a head: the sum of x*x by rule 2 with s = fma(x, x, s); scale = 1 / sqrt(sum / dim
//      + eps); out = round((x * scale) * weight).
//   4. Exp, Silu, GeluTanh and Relu are those of kernels/numerics.h, rules 5 and below.
//   5. Rope as there, rule 6. q' = q * scale comes after it. q', k and v are rounded to H (8 bits: rule 6).
//   6. Attention, of a query row at position p, over tiles of 64 tokens and spans of 256, both aligned to
//      position 0. Scores of a tile are products as in rule 1, over head_dim; those of tokens that the row
//      does not see are -inf. m' = max(m, scores). While m' is -inf nothing changes. c = Exp(m - m'), or 0
//      when m is -inf; P = Exp(score - m'), or 0 for a score of -inf. The sum of P of a tile: token t is
//      added to partial sum (t mod 8) / 2, ascending from +0, and the four are added as (s0 + s2) + (s1 +
//      s3). l = l * c + that sum; o = o * c, and then o += round(P) V by mma.m16n8k16, 16 tokens at a time,
//      ascending, where the V of a token that the row does not see is 0, whatever the block holds. A span
//      begins with m = -inf, l = 0, o = 0, and gives (m, l, o). The spans of which the row sees a token are
//      folded in ascending order: the total (M, L, O) is that of the first one, and then M' = max(M, m); a =
//      Exp(M - M'); b = Exp(m - M'); L = fma(l, b, L * a); O = fma(o, b, O * a); M = M'. out = round(O * (1 /
//      L)). With f32 KV the products are chains of fma as in rule 1, the second one over the tokens that the
//      row sees, and P is not rounded. K and V of q8_0 are stored by rule 10 of kernels/numerics.h, as on the
//      CPU, and their numbers s * q are rounded to f16: the rest is as with f16 KV that has these numbers. So
//      it is with fp8 (rule 11 there), whose numbers f16 has.
//   7. Gemm with quantised weights is rule 9 of kernels/numerics.h for version cpu-4, with x as f32: what a
//      norm, an activation or attention gives is quantised before it is rounded to anything. So the bits of
//      the product are those of the CPU. Then bias and y as in rule 1. An embedding is d * q.
//   8. Draws are those of kernels/sampling.h. Log probabilities are those of kernels/logit_row.h, but for the
//      order of their sum in f64: thread t of 256 adds the weights of the tokens t, t + 256, ... in ascending
//      order, and then the 256 sums are added in ascending order.
#pragma once

#include <string_view>

namespace prefixd::cuda {

inline constexpr std::string_view kNumericsVersion = "gpu-1";
inline constexpr int kTileTokens = 64;
inline constexpr int kSpanTokens = 256;

}  // namespace prefixd::cuda
