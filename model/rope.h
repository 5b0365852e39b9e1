// Rotary position tables: the cosines and sines by which queries and keys are turned. Pure functions; any
// thread.
//
// Computed in double with a sine of its own and the logarithm and exponential of portable_math.h, which are
// chains of additions and multiplications: libm picks other code on other CPUs, and the table is part of what
// makes KV equal between machines.
#pragma once

#include <vector>

#include "model/rope_config.h"

namespace prefixd {

// Radians per position of each of the head_dim / 2 pairs: theta^(-2i/head_dim), rescaled by the rope type:
// linear divides by `factor`; llama3 divides long waves by `factor`, keeps short ones, and blends between by
// wavelength; yarn does so by the number of the pair (as in transformers, modeling_rope_utils.py).
std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim);

// [positions][2][head_dim / 2]: cosines, then sines, of position * frequency, times the attention factor.
std::vector<float> RopeTable(const RopeConfig& rope, int head_dim, int positions);

}  // namespace prefixd
