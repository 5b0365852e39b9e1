#include "daemon/bf16_products.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

Bf16Products DescribeBf16Products(std::string_view backend, numerics::Version version,
                                  std::span<const BackendInfo> list) {
  PREFIXD_CHECK(backend != "cuda");
  if (backend == "ref") return {"plain code", "option backend"};
  if (version == numerics::Version::kCpu1) return {"fma", "option activations"};
  static constexpr std::string_view kDots = "avx512bf16";
  const auto dots = std::find_if(list.begin(), list.end(), [](const auto& b) { return b.name == kDots; });
  PREFIXD_CHECK(dots != list.end());
  if (backend == kDots) {
    if (dots->passed_over.empty()) return {"the bf16 instruction", "it has the bits of fma and is faster"};
    return {"the bf16 instruction", "option backend, although " + dots->passed_over};
  }
  if (dots->ForAuto()) return {"fma", "option backend"};
  return {"fma", std::string(kDots) + ": " + (dots->runs_here ? dots->passed_over : dots->reason)};
}

}  // namespace prefixd
