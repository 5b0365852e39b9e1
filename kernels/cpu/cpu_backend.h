// The fast CPU backends: the ops of one instruction set, spread over threads. Same bits as `ref`, whatever
// the set and the number of threads (kernels/numerics.h): work is split over rows, columns and whole spans
// only.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/backend.h"
#include "kernels/cpu/ops.h"

namespace prefixd {

std::unique_ptr<Backend> CreateCpuBackend(std::string_view name, const cpu::Ops& ops, int threads);

}  // namespace prefixd
