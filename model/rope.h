// Rotary position tables: the cosines and sines that rotate queries and keys. Pure functions; any thread.
//
// The tables are computed in double, with a sine of our own and the logarithm and exponential of
// kernels/portable_math.h. libm selects different code on different CPUs, but the table must be the same on
// every machine, because stored KV depends on it.
#pragma once

#include <vector>

#include "model/rope_config.h"

namespace prefixd {

// Returns the radians per position of each of the head_dim / 2 pairs: theta^(-2i/head_dim), rescaled by the
// rope type as in modeling_rope_utils.py of transformers. linear divides by `factor`. llama3 divides long
// waves by `factor`, keeps short ones, and interpolates between them by wavelength. yarn does the same by
// the index of the pair.
std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim);

// Returns [positions][2][head_dim / 2]: the cosines, then the sines, of position * frequency, each times the
// attention factor.
std::vector<float> RopeTable(const RopeConfig& rope, int head_dim, int positions);

}  // namespace prefixd
