// The fast operations of the CPU: those of one instruction set, on several threads. For every
// instruction set and number of threads the results are bit for bit those of `ref` (kernels/numerics.h),
// because work is split only into rows, columns and whole attention spans. The rules for threads are those of
// kernels/operations.h.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/quant_ops.h"
#include "kernels/operations.h"

namespace prefixd {

// `name` is what Operations::name() returns. Its text, `ops` and `quant_ops` must outlive the result.
// `threads` includes the thread that calls the operations. Requires threads > 0.
std::unique_ptr<Operations> CreateCpuOperations(std::string_view name, const cpu::Ops& ops,
                                                const cpu::QuantOps& quant_ops, int threads,
                                                numerics::Version version);

}  // namespace prefixd
