// The operations of the backend `ref`: plain code that follows kernels/numerics.h line by line. It uses one
// thread and is not optimised. Tests compare the fast operations with it, bit for bit. Threads: as
// kernels/operations.h says.
#pragma once

#include <memory>

#include "kernels/operations.h"

namespace prefixd {

std::unique_ptr<Operations> CreateRefOperations(numerics::Version version);

}  // namespace prefixd
