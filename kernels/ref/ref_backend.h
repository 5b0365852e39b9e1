// `ref`: the definition of kernels/numerics.h as plain code, one thread, no speed. What the other CPU
// backends are held to.
#pragma once

#include <memory>

#include "kernels/backend.h"

namespace prefixd {

std::unique_ptr<Backend> CreateRefBackend();

}  // namespace prefixd
