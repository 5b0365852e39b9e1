// HostBackend: the backend of the CPU. It computes with the Operations of one instruction set, on memory in
// plain RAM. Threads: as kernels/backend.h says.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "kernels/operations.h"

namespace prefixd {

std::unique_ptr<Backend> CreateHostBackend(std::unique_ptr<Operations> operations);

}  // namespace prefixd
