// The fast CPU backends: the operations of one instruction set, spread over threads. They give the same bits
// as `ref` for every instruction set and number of threads (kernels/numerics.h), because they split work over
// rows, columns and whole attention spans only. Threads: as kernels/backend.h says.
#pragma once

#include <memory>
#include <string_view>

#include "kernels/backend.h"
#include "kernels/cpu/ops.h"

namespace prefixd {

// `name` is what Backend::name() returns; it and `ops` must outlive the backend. Requires threads > 0; the
// number includes the caller's thread.
std::unique_ptr<Backend> CreateCpuBackend(std::string_view name, const cpu::Ops& ops, int threads);

}  // namespace prefixd
