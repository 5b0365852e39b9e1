#include "bench/kernel_products.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/prng.h"
#include "bench/random_blocks.h"
#include "kernels/registry.h"

namespace prefixd::bench {
namespace {

constexpr size_t kFromMemory = size_t{128} << 20;  // bytes of matrices, more than caches have

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(1);
}

std::vector<float> RandomRows(int rows, int cols) {
  Prng prng(3);
  std::vector<float> x(static_cast<size_t>(rows) * static_cast<size_t>(cols));
  for (float& value : x) value = static_cast<float>(prng.Unit() - 0.5);
  return x;
}

}  // namespace

std::unique_ptr<Matrix> RandomMatrix(Operations& operations, WeightFormat format, int rows, int cols) {
  if (!format.quantized()) return OrDie(operations.MakeDummy({format, rows, cols, 1, 0.03f}));
  const std::vector<std::byte> blocks =
      RandomBlocks(format, static_cast<size_t>(rows) * static_cast<size_t>(cols));
  const MatrixSource source{blocks.data(), format, rows, cols};
  return OrDie(operations.Pack({&source, 1}));
}

void CheckProducts(Operations& operations, WeightFormat format, int cols) {
  constexpr int kSome = 333;
  const auto ref = OrDie(CreateOperations("ref", 1));
  const auto of_ref = RandomMatrix(*ref, format, kSome, cols);
  const auto matrix = RandomMatrix(operations, format, kSome, cols);
  for (const int rows : {1, 29}) {
    const std::vector<float> x = RandomRows(rows, cols);
    std::vector<float> want(static_cast<size_t>(rows) * kSome), got(want.size());
    ref->Gemm(*of_ref, x.data(), rows, want.data(), GemmOutput::kStore);
    operations.Gemm(*matrix, x.data(), rows, got.data(), GemmOutput::kStore);
    if (std::memcmp(want.data(), got.data(), want.size() * sizeof(float)) == 0) continue;
    std::fprintf(stderr, "products of %d rows of %s are not those of ref\n", rows,
                 std::string(format.name()).c_str());
    std::exit(1);
  }
}

void RunProducts(Report& report, Operations& operations, WeightFormat weights, const Ceilings& ceilings,
                 ProductSizes sizes, int runs) {
  const auto [tokens, outputs, terms] = sizes;
  CheckProducts(operations, weights, terms);
  const size_t bytes = weights.RowBytes(terms) * static_cast<size_t>(outputs);
  std::vector<std::unique_ptr<Matrix>> matrices;
  for (size_t have = 0; have < kFromMemory; have += bytes)
    matrices.push_back(RandomMatrix(operations, weights, outputs, terms));
  const double read = ceilings.read.On(operations.threads());
  const double peak = ceilings.ProductPeak(std::string(operations.name()), weights, operations.threads());
  for (const int rows : {1, 4, tokens}) {
    const std::vector<float> x = RandomRows(rows, terms);
    std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(outputs));
    const bool all = rows < tokens;
    const Timing t = Measure(runs, [&] {
      for (size_t i = 0; i < (all ? matrices.size() : 1); ++i)
        operations.Gemm(*matrices[i], x.data(), rows, y.data(), GemmOutput::kStore);
    });
    const double products = all ? static_cast<double>(matrices.size()) : 1;
    const double read_bytes = products * static_cast<double>(matrices[0]->read_bytes());
    const double flop = products * 2.0 * rows * outputs * terms;
    report.Add(std::string(weights.name()) + ", " + std::to_string(rows) + " rows", t.median / products * 1e3,
               "ms",
               {{"outputs", outputs},
                {"terms", terms},
                {"gflops", flop / t.median / 1e9},
                {"gb_per_s", read_bytes / t.median / 1e9},
                {"of_peak_best", peak > 0 ? flop / t.best / peak : 0},
                {"of_read_best", read > 0 ? read_bytes / t.best / read : 0}});
  }
}

}  // namespace prefixd::bench
