// What a gated MLP does to its gate. A plain value; numerics.h defines the functions.
#pragma once

#include <cstdint>

namespace prefixd {

enum class Activation : uint8_t {
  kSilu,      // g * sigmoid(g)
  kGeluTanh,  // GELU by its tanh approximation
  kRelu,
};

}  // namespace prefixd
