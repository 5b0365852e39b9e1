#include "bench/step_products.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/prng.h"

namespace prefixd::bench {
namespace {

constexpr int kLayers = 30, kHidden = 576, kQkv = 960, kFfn = 1536;

std::unique_ptr<Matrix> RandomMatrix(Operations& operations, Prng& prng, int rows, int cols) {
  std::vector<uint16_t> data(static_cast<size_t>(rows) * cols);
  for (uint16_t& value : data) value = static_cast<uint16_t>(0x3C80 | (prng.Next() & 0x807F));
  const MatrixSource source = {data.data(), DType::kBF16, rows, cols};
  auto packed = operations.Pack({&source, 1});
  if (packed.ok()) return *std::move(packed);
  std::fprintf(stderr, "%s\n", packed.status().ToString().c_str());
  std::exit(1);
}

}  // namespace

double TimeStepProducts(Report& report, Operations& operations, int rows, int vocab, int runs) {
  Prng prng(1);
  std::vector<std::unique_ptr<Matrix>> layers;
  for (int layer = 0; layer < kLayers; ++layer) {
    layers.push_back(RandomMatrix(operations, prng, kQkv, kHidden));
    layers.push_back(RandomMatrix(operations, prng, kHidden, kHidden));
    layers.push_back(RandomMatrix(operations, prng, 2 * kFfn, kHidden));
    layers.push_back(RandomMatrix(operations, prng, kHidden, kFfn));
  }
  const auto head = RandomMatrix(operations, prng, vocab, kHidden);
  const std::vector<float> x(static_cast<size_t>(rows) * kFfn, 0.5f);
  std::vector<float> y(static_cast<size_t>(rows) * std::max(vocab, 2 * kFfn));
  const Timing t = Measure(runs, [&] {
    for (const auto& matrix : layers) operations.Gemm(*matrix, x.data(), rows, y.data(), GemmOutput::kStore);
    operations.Gemm(*head, x.data(), rows, y.data(), GemmOutput::kStore);
  });
  report.Add("products of a step", t.median * 1e3, "ms", {{"best", t.best * 1e3}});
  return t.best;
}

}  // namespace prefixd::bench
