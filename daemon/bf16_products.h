// How a backend of the CPU multiplies bf16 weights, and why: for the log and for `validate`. Any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kernels/numerics.h"
#include "kernels/registry.h"

namespace prefixd {

struct Bf16Products {
  std::string by;      // "the bf16 instruction", "fma" or "plain code"
  std::string reason;  // in a few words
};

// `backend` is one of `list`, and not `cuda`. All ways give the same bits in one version of the numerics.
Bf16Products DescribeBf16Products(std::string_view backend, numerics::Version version,
                                  std::span<const BackendInfo> list);

}  // namespace prefixd
