// The kernels of kernels/cuda/attention_kernels.h, and the plan that cuts a step into their units.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/prng.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/launches.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/reference.h"

namespace prefixd {
namespace {

using cuda::LaunchOf;
using cuda_test::DeviceArray;

struct Piece {
  int position, rows;  // of a sequence
};

struct Case {
  int heads = 4, kv_heads = 2, head_dim = 32, block_tokens = 16, window = 0;
  std::vector<Piece> pieces;
  int by_spans = cuda::kMostRowsBySpans;
};

// The sequences of a step over one layer of a pool, with random q, k and v.
class Step {
 public:
  Step(const Case& c, DType type) : case_(c), type_(type), prng_(static_cast<uint64_t>(c.head_dim)) {
    for (const Piece& piece : c.pieces) {
      lengths_.push_back(piece.position + piece.rows);
      stride_ = std::max(stride_, (lengths_.back() - 1) / c.block_tokens + 1);
      rows_ += piece.rows;
    }
    const auto blocks = c.pieces.size() * static_cast<size_t>(stride_);
    for (size_t i = 0; i < blocks; ++i) ids_.push_back(static_cast<BlockId>(blocks - i));  // 1 .. blocks
    for (size_t s = 0; s < c.pieces.size(); ++s) {
      std::vector<std::vector<std::vector<float>>> k, v;
      for (int h = 0; h < c.kv_heads; ++h) {
        k.push_back(RandomRows(lengths_[s]));
        v.push_back(RandomRows(lengths_[s]));
      }
      k_.push_back(std::move(k));
      v_.push_back(std::move(v));
    }
    q_ = RandomRows(rows_ * c.heads);
  }

  ModelShape shape() const {
    return {.layers = 1,
            .heads = case_.heads,
            .kv_heads = case_.kv_heads,
            .head_dim = case_.head_dim,
            .windows = {case_.window}};
  }
  KvLayout layout() const { return shape().Kv(case_.block_tokens, type_); }

  // The sequences and tokens are valid as long as this object.
  BatchView Batch() {
    sequences_.clear();
    tokens_.assign(static_cast<size_t>(rows_), 0);
    int first = 0;
    for (size_t s = 0; s < case_.pieces.size(); ++s) {
      const Piece& piece = case_.pieces[s];
      sequences_.push_back(
          {first, piece.rows, piece.position,
           std::span(ids_).subspan(s * static_cast<size_t>(stride_), static_cast<size_t>(stride_))});
      first += piece.rows;
    }
    return {tokens_, sequences_};
  }

  // [rows][heads][head_dim]
  std::vector<float> Compute(cuda::CudaRuntime* device) {
    cuda::AttentionPlan plan;
    PlanAttention(Batch(), shape(), case_.window, &plan, case_.by_spans);
    const DeviceArray<std::byte> pool(device, Pool()), q(device, Encoded(q_));
    const std::vector<cuda::RowPlace> places = Places();
    const DeviceArray<cuda::RowPlace> of_places(device, places);
    const DeviceArray<int32_t> tables(device, std::vector<int32_t>(ids_.begin(), ids_.end()));
    const DeviceArray<cuda::AttentionUnit> units(device, plan.units);
    const DeviceArray<cuda::FoldPlace> folds(device, plan.places);
    const auto width = static_cast<size_t>(case_.head_dim);
    const DeviceArray<float> partials(device, static_cast<size_t>(plan.partials) * (width + 2));
    const DeviceArray<float> out(device, static_cast<size_t>(rows_ * case_.heads) * width);
    const cuda::AttentionParams params{
        .units = units.data(),
        .unit_count = static_cast<int32_t>(plan.units.size()),
        .q = q.data(),
        .places = of_places.data(),
        .tables = {tables.data(), stride_},
        .kv = {pool.data(), layout().BlockBytes(), case_.block_tokens, case_.kv_heads, case_.head_dim, 0},
        .partials = partials.data(),
        .heads = case_.heads,
        .window = case_.window};
    Launch(device, LaunchOf(params, type_));
    const cuda::FoldParams fold{partials.data(), folds.data(), out.data(),
                                rows_,           case_.heads,  case_.head_dim};
    Launch(device, LaunchOf(fold, DType::kF32));
    return out.Get();
  }

  std::vector<float> Expected() const {
    std::vector<float> all;
    for (int row = 0; row < rows_; ++row) {
      const auto [position, sequence] = Places()[static_cast<size_t>(row)];
      for (int h = 0; h < case_.heads; ++h) {
        const auto kv_head = static_cast<size_t>(h / (case_.heads / case_.kv_heads));
        const auto s = static_cast<size_t>(sequence);
        const std::vector<float> one =
            cuda_test::Attended(q_[static_cast<size_t>(row * case_.heads + h)], position, case_.window, type_,
                                k_[s][kv_head], v_[s][kv_head]);
        all.insert(all.end(), one.begin(), one.end());
      }
    }
    return all;
  }

 private:
  static void Launch(cuda::CudaRuntime* device, const cuda::KernelLaunch& launch) {
    ASSERT_TRUE(device->Launch(cuda::Stream::kCompute, launch).ok());
    cuda_test::Wait(*device);
  }

  std::vector<std::vector<float>> RandomRows(int rows) {
    std::vector<std::vector<float>> all(static_cast<size_t>(rows));
    for (auto& row : all) {
      for (int d = 0; d < case_.head_dim; ++d)
        row.push_back(cuda_test::Rounded(static_cast<float>(prng_.Below(2001)) / 500.0f - 2.0f, type_));
    }
    return all;
  }
  std::vector<cuda::RowPlace> Places() const {
    std::vector<cuda::RowPlace> places;
    for (size_t s = 0; s < case_.pieces.size(); ++s) {
      for (int i = 0; i < case_.pieces[s].rows; ++i)
        places.push_back({case_.pieces[s].position + i, static_cast<int32_t>(s)});
    }
    return places;
  }
  void Put(float value, std::byte* at) const {
    const uint16_t half = type_ == DType::kF32 ? uint16_t{0} : cuda_test::BitsOf(value, type_);
    std::memcpy(at, type_ == DType::kF32 ? static_cast<const void*>(&value) : &half, DTypeBytes(type_));
  }
  std::vector<std::byte> Encoded(const std::vector<std::vector<float>>& rows) const {
    std::vector<std::byte> bytes;
    for (const auto& row : rows) {
      for (const float value : row) {
        bytes.resize(bytes.size() + DTypeBytes(type_));
        Put(value, bytes.data() + bytes.size() - DTypeBytes(type_));
      }
    }
    return bytes;
  }
  // What no token fills is NaN.
  std::vector<std::byte> Pool() const {
    std::vector<std::byte> pool((ids_.size() + 1) * layout().BlockBytes(), std::byte{0xFF});
    for (size_t s = 0; s < lengths_.size(); ++s) {
      for (int t = 0; t < lengths_[s]; ++t) {
        const size_t block =
            ids_[s * static_cast<size_t>(stride_) + static_cast<size_t>(t / case_.block_tokens)];
        for (int h = 0; h < case_.kv_heads; ++h) {
          for (int d = 0; d < case_.head_dim; ++d) {
            const size_t at = block * layout().BlockBytes() +
                              cuda::PlaneOffset(t % case_.block_tokens, d, case_.head_dim,
                                                static_cast<int>(DTypeBytes(type_)), case_.block_tokens);
            const auto head = static_cast<size_t>(h), token = static_cast<size_t>(t),
                       dim = static_cast<size_t>(d);
            Put(k_[s][head][token][dim], pool.data() + at + layout().KOffset(0, h));
            Put(v_[s][head][token][dim], pool.data() + at + layout().VOffset(0, h));
          }
        }
      }
    }
    return pool;
  }

  const Case case_;
  const DType type_;
  Prng prng_;
  int rows_ = 0, stride_ = 0;
  std::vector<int> lengths_;
  std::vector<BlockId> ids_;
  std::vector<std::vector<std::vector<std::vector<float>>>> k_, v_;  // [sequence][kv head][token][dim]
  std::vector<std::vector<float>> q_;
  std::vector<SequenceSpan> sequences_;
  std::vector<TokenId> tokens_;
};

class CudaAttention : public testing::TestWithParam<DType> {
 protected:
  void Check(const Case& c) {
    const auto device = cuda_test::NewDevice();
    Step step(c, GetParam());
    const std::vector<float> got = step.Compute(device.get()), expected = step.Expected();
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(expected[i]))
          << "element " << i << " is " << got[i] << ", not " << expected[i] << "; heads " << c.heads << " / "
          << c.kv_heads << ", head_dim " << c.head_dim << ", window " << c.window;
    }
  }
};

TEST_P(CudaAttention, OneRow) {
  Check({.pieces = {{0, 1}}});
  Check({.pieces = {{63, 1}}});
  Check({.pieces = {{64, 1}}});
  Check({.pieces = {{300, 1}}});
}

TEST_P(CudaAttention, GroupsOfHeads) {
  Check({.heads = 1, .kv_heads = 1, .pieces = {{17, 3}}});
  Check({.heads = 3, .kv_heads = 1, .pieces = {{17, 7}}});
  Check({.heads = 7, .kv_heads = 1, .head_dim = 16, .pieces = {{5, 3}}});
  Check({.heads = 16, .kv_heads = 2, .head_dim = 16, .pieces = {{5, 3}}});
  Check({.heads = 24, .kv_heads = 1, .head_dim = 8, .pieces = {{5, 2}}});
}

TEST_P(CudaAttention, HeadDimsAndBlocks) {
  Check({.heads = 2, .kv_heads = 1, .head_dim = 64, .block_tokens = 8, .pieces = {{70, 2}}});
  Check({.heads = 2, .kv_heads = 1, .head_dim = 128, .block_tokens = 64, .pieces = {{3, 2}}});
  Check({.heads = 2, .kv_heads = 1, .head_dim = 96, .block_tokens = 128, .pieces = {{130, 1}}});
  Check({.heads = 2, .kv_heads = 1, .head_dim = 10, .block_tokens = 4, .pieces = {{20, 4}}});
}

TEST_P(CudaAttention, WindowsAtTheBordersOfTiles) {
  for (const int window : {1, 5, 63, 64, 65, 100}) Check({.window = window, .pieces = {{126, 4}}});
  Check({.window = 40, .pieces = {{290, 2}}});
}

TEST_P(CudaAttention, SeveralSequences) { Check({.pieces = {{0, 20}, {31, 1}, {257, 1}, {5, 9}}}); }

// How a step is cut into units changes no bit: both equal the plain code.
TEST_P(CudaAttention, UnitsOfOneSpanAndOfAllAreTheSame) {
  for (const int by_spans : {0, 1000}) {
    Check({.pieces = {{510, 3}}, .by_spans = by_spans});
    Check({.window = 300, .pieces = {{600, 2}}, .by_spans = by_spans});
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaAttention, testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

// --- The plan ---

TEST(AttentionPlan, EveryRowHeadAndSpanIsInOneUnit) {
  Prng prng(3);
  for (int round = 0; round < 200; ++round) {
    Case c{.heads = 0, .block_tokens = 16};
    c.kv_heads = static_cast<int>(prng.Between(1, 3));
    c.heads = c.kv_heads * static_cast<int>(prng.Between(1, 20));
    c.head_dim = 2;
    c.window = prng.Chance(0.5) ? 0 : static_cast<int>(prng.Between(1, 600));
    for (uint64_t i = prng.Between(1, 5); i > 0; --i)
      c.pieces.push_back({static_cast<int>(prng.Below(1000)), static_cast<int>(prng.Between(1, 40))});
    Step step(c, DType::kF32);
    const BatchView batch = step.Batch();
    cuda::AttentionPlan plan;
    PlanAttention(batch, step.shape(), c.window, &plan);
    std::set<std::tuple<int, int, int>> seen;  // row, head, span
    std::set<int> partials;
    for (const cuda::AttentionUnit& unit : plan.units) {
      ASSERT_LE(unit.rows * unit.heads, cuda::kUnitRows);
      for (int i = 0; i < unit.rows * unit.heads; ++i) {
        ASSERT_TRUE(partials.insert(unit.partial + i).second);
        const int row = unit.first_row + i / unit.heads, head = unit.head + i % unit.heads;
        for (int span = unit.first_span; span < unit.first_span + unit.spans; ++span)
          ASSERT_TRUE(seen.insert({row, head, span}).second);
        const cuda::FoldPlace place = plan.places[static_cast<size_t>(row * c.heads + head)];
        ASSERT_EQ((unit.partial + i - place.first) % place.stride, 0);
        ASSERT_LT((unit.partial + i - place.first) / place.stride, place.count);
      }
    }
    ASSERT_EQ(static_cast<int32_t>(partials.size()), plan.partials);
    for (const SequenceSpan& sequence : batch.sequences) {
      for (int i = 0; i < sequence.rows; ++i) {
        const int position = sequence.position + i;
        for (int span = numerics::WindowStart(position, c.window) / 256; span <= position / 256; ++span)
          for (int head = 0; head < c.heads; ++head)
            ASSERT_TRUE(seen.contains({sequence.first_row + i, head, span}));
      }
    }
    const cuda::AttentionBound bound = cuda::BoundAttention(step.shape(), {1040, batch.rows(), batch.rows()});
    ASSERT_LE(plan.units.size(), bound.units);
    ASSERT_LE(static_cast<size_t>(plan.partials), bound.partials);
  }
}

}  // namespace
}  // namespace prefixd
