// Random weights of the quantised formats, for measurements that ask nothing of them but their format. Pure
// function; any thread.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/weight_format.h"

namespace prefixd::bench {

// Returns blocks with so many elements, which are whole blocks: codes and factors of random bits, and scales
// and offsets with which no number is beyond 0.04 and their mean is about 0. The same ones at every call.
// Requires a quantised format.
std::vector<std::byte> RandomBlocks(WeightFormat format, size_t elements);

}  // namespace prefixd::bench
