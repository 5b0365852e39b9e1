// The fast CPU backends. Each runs the operations of one instruction set on several threads. For every
// instruction set and number of threads the results are bit for bit those of `ref` (kernels/numerics.h),
// because work is split only into rows, columns and whole attention spans. The rules for threads are those of
// kernels/backend.h.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/backend.h"
#include "kernels/cpu/ops.h"

namespace prefixd {

// `name` is what Backend::name() returns. The text of `name`, and `ops`, must outlive the backend. `threads`
// includes the thread that calls the backend. Requires threads > 0.
std::unique_ptr<Backend> CreateCpuBackend(std::string_view name, const cpu::Ops& ops, int threads);

}  // namespace prefixd
