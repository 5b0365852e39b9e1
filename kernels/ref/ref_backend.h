// The backend `ref`: plain code that follows kernels/numerics.h line by line. It uses one thread and is not
// optimised. Tests compare the other CPU backends with it, bit for bit. Threads: as kernels/backend.h says.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace prefixd {

std::unique_ptr<Backend> CreateRefBackend();

}  // namespace prefixd
