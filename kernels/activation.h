// Activation names the function that a gated MLP applies to its gate. kernels/numerics.h defines the
// functions. A plain value; any thread.
#pragma once

#include <cstdint>

namespace prefixd {

enum class Activation : uint8_t {
  kSilu,      // g * sigmoid(g)
  kGeluTanh,  // GELU in its tanh approximation
  kRelu,      // max(g, 0)
};

}  // namespace prefixd
