// Shared code of the kernel tests: seeded data, the backends under test, and bit-for-bit comparison. One
// thread.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "base/prng.h"
#include "kernels/host_memory.h"
#include "kernels/numerics.h"
#include "kernels/registry.h"
#include "tests/support/rounds.h"

namespace prefixd::kernel_testing {

inline std::unique_ptr<Operations> MakeOperations(std::string_view name, int threads,
                                                  numerics::Version version = numerics::kLatest) {
  auto operations = CreateOperations(name, threads, version);
  PREFIXD_CHECK(operations.ok()) << operations.status().ToString();
  return std::move(*operations);
}

// A fixture with the operations of one fast backend and of `ref`. Skips the test, with the name of the
// backend, where that does not run.
class CompareWithRef : public testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  void SetUp() override {
    const auto& [name, threads] = GetParam();
    for (const BackendInfo& info : ListBackends()) {
      if (info.name == name && !info.runs_here) GTEST_SKIP() << "backend " << name << " " << info.reason;
    }
    fast = MakeOperations(name, threads);
    ref = MakeOperations("ref", 1);
    ASSERT_EQ(fast->name(), name);
    ASSERT_EQ(fast->threads(), threads);
  }
  std::unique_ptr<Operations> fast, ref;
};

// The same, with the operations of the first version of the numerics beside those of the latest.
class CompareVersionsWithRef : public CompareWithRef {
 protected:
  void SetUp() override {
    CompareWithRef::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    fast_1 = MakeOperations(std::get<0>(GetParam()), std::get<1>(GetParam()), numerics::Version::kCpu1);
    ref_1 = MakeOperations("ref", 1, numerics::Version::kCpu1);
    ASSERT_EQ(fast_1->version(), numerics::Version::kCpu1);
    ASSERT_EQ(fast->version(), numerics::Version::kCpu4);
  }
  std::unique_ptr<Operations> fast_1, ref_1;
};

inline std::string ParamName(const testing::TestParamInfo<std::tuple<std::string, int>>& info) {
  return std::get<0>(info.param) + "_threads" + std::to_string(std::get<1>(info.param));
}

// Backends and their threads. Sanitizers run each backend with one number of threads, which splits its work.
inline std::vector<std::tuple<std::string, int>> FastBackends() {
  if (testing_support::kSanitized) return {{"avx2", 3}, {"avx512", 2}};
  return {{"avx2", 1}, {"avx2", 2}, {"avx2", 3}, {"avx512", 1}, {"avx512", 2}, {"avx512", 3}};
}

// `avx512bf16` is `avx512` but for its products of bf16 weights, which gemm_test and dots_test compare.
#define PREFIXD_FOR_FAST_BACKENDS(fixture)                                                             \
  INSTANTIATE_TEST_SUITE_P(Cpu, fixture, testing::ValuesIn(::prefixd::kernel_testing::FastBackends()), \
                           ::prefixd::kernel_testing::ParamName)

// Returns mostly values around 1, and sometimes tiny, subnormal, zero or large ones.
inline float RandomFloat(Prng& prng) {
  const float sign = prng.Chance(0.5) ? -1.0f : 1.0f;
  const uint64_t kind = prng.Below(64);
  const float unit = static_cast<float>(prng.Unit());
  if (kind == 0) return sign * 0.0f;
  if (kind == 1) return sign * unit * 1e-40f;
  if (kind == 2) return sign * unit * 1e-6f;
  if (kind == 3) return sign * unit * 100.0f;
  return sign * unit;
}

// Numbers that flush, overflow, cancel or are special, whose products do so, too.
inline float AwkwardFloat(Prng& prng) {
  static constexpr float kInf = std::numeric_limits<float>::infinity();
  const float sign = prng.Chance(0.5) ? -1.0f : 1.0f;
  const float unit = 1 + static_cast<float>(prng.Below(8)) / 8;
  const auto power = [&](int exponent) {
    return std::ldexp(unit, exponent + static_cast<int>(prng.Below(5)));
  };
  switch (prng.Below(256)) {
    case 0:
      return sign * kInf;
    case 1:
      return std::numeric_limits<float>::quiet_NaN();
    case 2:
      return sign * power(124);  // some are infinite in bf16, and many of their products
    default:
      break;
  }
  switch (prng.Below(8)) {
    case 0:
      return sign * 0.0f;
    case 1:
      return sign * power(-130);  // subnormal, or just not
    case 2:
      return sign * power(-77);  // products below half of the last bit of 2^-126
    case 3:
    case 4:
      return sign * power(-65);  // products about 2^-126
    case 5:
      return sign * power(60);
    default:
      return sign * unit;  // sums of equal products of either sign cancel
  }
}

using Number = float (*)(Prng&);

inline std::vector<float> Numbers(Number number, Prng& prng, size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = number(prng);
  return values;
}
inline std::vector<float> RandomFloats(Prng& prng, size_t n) { return Numbers(RandomFloat, prng, n); }
inline std::vector<float> AwkwardFloats(Prng& prng, size_t n) { return Numbers(AwkwardFloat, prng, n); }

// Returns n random elements of a stored type.
inline std::vector<std::byte> RandomElements(Prng& prng, DType dtype, size_t n) {
  std::vector<std::byte> bytes(n * DTypeBytes(dtype));
  for (size_t i = 0; i < n; ++i) StoreElement(bytes.data(), dtype, i, RandomFloat(prng));
  return bytes;
}

// Compares bits, except that all NaNs are equal: the numerics do not define the bits of a NaN.
inline bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

inline testing::AssertionResult SameBits(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size())
    return testing::AssertionFailure() << got.size() << " values, not " << want.size();
  for (size_t i = 0; i < got.size(); ++i) {
    if (!SameBits(got[i], want[i])) {
      return testing::AssertionFailure() << "[" << i << "] of " << got.size() << ": " << got[i] << " (0x"
                                         << std::hex << std::bit_cast<uint32_t>(got[i]) << "), not "
                                         << want[i] << " (0x" << std::bit_cast<uint32_t>(want[i]) << ")";
    }
  }
  return testing::AssertionSuccess();
}

inline std::unique_ptr<Matrix> PackOrDie(Operations& operations, const std::vector<std::byte>& data,
                                         DType dtype, int rows, int cols) {
  const MatrixSource source = {data.data(), dtype, rows, cols};
  auto matrix = operations.Pack({&source, 1});
  PREFIXD_CHECK(matrix.ok()) << matrix.status().ToString();
  return std::move(*matrix);
}

inline std::unique_ptr<KvPool> AllocateKvOrDie(const KvLayout& layout, uint32_t blocks,
                                               KvOrder order = KvOrder::kGroups) {
  auto pool = AllocateHostKv(layout, blocks, order);
  PREFIXD_CHECK(pool.ok()) << pool.status().ToString();
  return std::move(*pool);
}

constexpr DType kAllDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr KvType kAllKvTypes[] = {KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8_0};
constexpr Activation kAllActivations[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu};
// Head sizes of real models, and sizes that are not whole vectors.
constexpr int kHeadDims[] = {2, 6, 16, 40, 48, 64, 80, 96, 112, 128, 192, 256};

// A batch that owns the memory that its view points to. Block ids are assigned in a shuffled order.
class TestBatch {
 public:
  explicit TestBatch(uint32_t pool_blocks, Prng& prng) : free_(pool_blocks) {
    std::iota(free_.begin(), free_.end(), 0);
    for (size_t i = free_.size(); i > 1; --i) std::swap(free_[i - 1], free_[prng.Below(i)]);
  }
  void Add(int position, int rows, int block_tokens) {
    std::vector<BlockId> table;
    for (int t = 0; t < position + rows; t += block_tokens) {
      PREFIXD_CHECK(!free_.empty());
      table.push_back(free_.back());
      free_.pop_back();
    }
    Add(position, rows, std::move(table));
  }
  void Add(int position, int rows, std::vector<BlockId> table) {
    sequences_.push_back({this->rows(), rows, position, {}});
    tables_.push_back(std::move(table));
    tokens_.resize(tokens_.size() + rows, 0);
  }
  // Replaces the first block ids of the last sequence by invalid ones: a backend that reads those blocks
  // crashes.
  void InvalidateBlocks(int count) { std::fill_n(tables_.back().begin(), count, ~BlockId{0}); }
  int rows() const { return static_cast<int>(tokens_.size()); }
  const std::vector<BlockId>& table(size_t sequence) const { return tables_[sequence]; }
  std::vector<TokenId>& tokens() { return tokens_; }
  BatchView view() {
    for (size_t i = 0; i < sequences_.size(); ++i) sequences_[i].blocks = tables_[i];
    return {tokens_, sequences_};
  }

 private:
  std::vector<BlockId> free_;
  std::vector<std::vector<BlockId>> tables_;
  std::vector<SequenceSpan> sequences_;
  std::vector<TokenId> tokens_;
};

}  // namespace prefixd::kernel_testing
