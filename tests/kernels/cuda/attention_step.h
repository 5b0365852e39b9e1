// AttentionStep: the attention of one step on a device, over sequences whose q, K and V are functions of
// their place, and what plain code gives for it. Two steps that have a row of the same sequence at the same
// position so have the same q, K and V for it, however the rest of them looks. One owner.
//
// The KV is that of layer 1 of 3. The device finds NaN in all memory that no row may read: other layers,
// tokens after the last row and before the window of the first one. Block ids that no row needs are invalid.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "base/prng.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/launches.h"
#include "kernels/host_memory.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/kernels/cuda/reference.h"

namespace prefixd::cuda_test {

struct AttentionPiece {
  int position, rows;
  int sequence = -1;  // whose values it has; -1: the index of the piece
};

struct AttentionCase {
  int heads = 4, kv_heads = 2, head_dim = 32, block_tokens = 16, window = 0;
  std::vector<AttentionPiece> pieces;
  int by_spans = cuda::kMostRowsBySpans;
  int list_blocks = 0;    // > 0: so many blocks take the units from a list
  int shared_tokens = 0;  // of their prefixes; the pieces have one sequence then
  bool plain = false;     // the kernel that serves every shape, also where there is a faster one
  cuda::AttentionWay way = cuda::kAttentionWay;
  BlockId first_block = 1;  // ids are [first_block, ..), descending in a sequence
  size_t block_bytes = 0;   // 0: as the layout has it
  DType out = DType::kF32;  // type of the weights, to which the fold rounds
  // A token whose V is `special` in every third dimension; -1: none.
  int special_token = -1;
  float special = 0;
};

class AttentionStep {
 public:
  static constexpr int kLayers = 3, kLayer = 1;
  static constexpr BlockId kInvalid = 0xFFFFFFFF;

  AttentionStep(AttentionCase c, KvType kv) : case_(std::move(c)), kv_(kv), type_(NumberType(kv)) {
    for (size_t i = 0; i < case_.pieces.size(); ++i) {
      AttentionPiece& piece = case_.pieces[i];
      if (piece.sequence < 0) piece.sequence = static_cast<int>(i);
      rows_ += piece.rows;
      stride_ = std::max(stride_, (End(piece) - 1) / case_.block_tokens + 1);
    }
    FillTables();
  }

  ModelShape shape() const {
    return {.layers = kLayers,
            .heads = case_.heads,
            .kv_heads = case_.kv_heads,
            .head_dim = case_.head_dim,
            .windows = std::vector<int>(kLayers, case_.window)};
  }
  int rows() const { return rows_; }

  // Valid as long as this object.
  BatchView Batch() {
    sequences_.clear();
    tokens_.assign(static_cast<size_t>(rows_), 0);
    int first = 0;
    for (size_t i = 0; i < case_.pieces.size(); ++i) {
      const auto stride = static_cast<size_t>(stride_);
      const AttentionPiece& piece = case_.pieces[i];
      sequences_.push_back({first, piece.rows, piece.position, std::span(ids_).subspan(i * stride, stride)});
      first += piece.rows;
    }
    return {tokens_, sequences_};
  }

  // [rows][heads][head_dim], as the device computes it.
  std::vector<float> Compute(cuda::CudaRuntime* device) {
    cuda::AttentionPlan plan;
    PlanAttention(Batch(), shape(), case_.window, case_.block_tokens, &plan, case_.by_spans);
    const size_t block_bytes = case_.block_bytes > 0 ? case_.block_bytes : layout().BlockBytes();
    DeviceArray<std::byte> pool(device, (size_t{last_block_} + 1) * block_bytes);
    FillPool(block_bytes, &pool);
    const DeviceArray<std::byte> q(device, Queries());
    const DeviceArray<cuda::RowPlace> places(device, Places());
    const DeviceArray<int32_t> tables(device, std::vector<int32_t>(ids_.begin(), ids_.end()));
    const DeviceArray<cuda::AttentionUnit> units(device, plan.units);
    const DeviceArray<cuda::AttentionMember> members(device, plan.members);
    const DeviceArray<cuda::FoldPlace> folds(device, plan.places);
    const auto width = static_cast<size_t>(case_.head_dim);
    const DeviceArray<float> partials(device, static_cast<size_t>(plan.partials) * (width + 2));
    const cuda::AttentionParams params{
        .units = units.data(),
        .members = members.data(),
        .unit_count = 0,
        .q = q.data(),
        .places = places.data(),
        .tables = {tables.data(), stride_},
        .kv = {pool.data(), block_bytes, case_.block_tokens, case_.kv_heads, case_.head_dim, kLayer},
        .partials = partials.data(),
        .heads = case_.heads,
        .window = case_.window};
    for (cuda::AttentionParams part : LaunchesOf(plan, params)) {
      if (part.unit_count == 0) continue;
      const DeviceArray<cuda::AttentionList> list(
          device, std::vector<cuda::AttentionList>{{part.units, part.members, part.unit_count, 0}});
      if (case_.list_blocks > 0) {
        part.list = list.data();
        part.units = nullptr;
        part.unit_count = case_.list_blocks * part.team;
      }
      Launch(device,
             case_.plain ? PlainLaunchOf(part, kv_) : LaunchOf(part, kv_, device->facts(), case_.way));
    }
    return Folded(device, partials, folds);
  }

  // The same, by rule 6 of kernels/cuda/numerics.h in plain code, bit for bit.
  std::vector<float> Expected() const {
    std::vector<float> all(static_cast<size_t>(rows_ * case_.heads * case_.head_dim));
    int first_row = 0;
    for (const AttentionPiece& piece : case_.pieces) {
      for (int h = 0; h < case_.heads; ++h) {
        const int kv_head = h / (case_.heads / case_.kv_heads);
        std::vector<std::vector<float>> k, v;
        for (int t = 0; t < End(piece); ++t) {
          k.push_back(Stored(RowOf(kKey, piece.sequence, kv_head, t), kv_).numbers);
          v.push_back(Stored(RowOf(kValue, piece.sequence, kv_head, t), kv_).numbers);
        }
        for (int i = 0; i < piece.rows; ++i) {
          const int position = piece.position + i;
          const std::vector<float> q = RowOf(kQuery, piece.sequence, h, position);
          const std::vector<float> out = Attended(q, position, case_.window, type_, k, v);
          const auto at = static_cast<size_t>((first_row + i) * case_.heads + h) * out.size();
          for (size_t d = 0; d < out.size(); ++d) all[at + d] = Rounded(out[d], case_.out);
        }
      }
      first_row += piece.rows;
    }
    return all;
  }

  enum Kind : uint64_t { kQuery = 1, kKey, kValue };
  // A row of q (scaled), or of K or V before it is stored.
  std::vector<float> RowOf(Kind kind, int sequence, int head, int position) const {
    std::vector<float> row;
    // Scores of some units, so that several tokens have weight.
    const double size = kind == kQuery ? 3.0 / std::sqrt(case_.head_dim) : 1.0;
    for (int d = 0; d < case_.head_dim; ++d) {
      const uint64_t place =
          ((kind * 64 + static_cast<uint64_t>(sequence)) * 64 + static_cast<uint64_t>(head)) << 32 |
          static_cast<uint64_t>(position) << 10 | static_cast<uint64_t>(d);
      row.push_back(Rounded(static_cast<float>((ToUnitInterval(RandomAt(7, place)) * 4 - 2) * size), type_));
      if (kind == kValue && position == case_.special_token && d % 3 == 1) row.back() = case_.special;
    }
    return row;
  }
  const AttentionCase& params() const { return case_; }
  KvType kv() const { return kv_; }

 private:
  static int End(const AttentionPiece& piece) { return piece.position + piece.rows; }
  KvLayout layout() const { return shape().Kv(case_.block_tokens, kv_); }
  int FirstSeen(const AttentionPiece& piece) const {
    return numerics::WindowStart(piece.position, case_.window);
  }

  void FillTables() {
    ids_.assign(case_.pieces.size() * static_cast<size_t>(stride_), kInvalid);
    BlockId next = case_.first_block;
    for (size_t i = 0; i < case_.pieces.size(); ++i) {
      const AttentionPiece& piece = case_.pieces[i];
      const int begin = FirstSeen(piece) / case_.block_tokens,
                end = (End(piece) - 1) / case_.block_tokens + 1;
      for (int b = end; b-- > begin;) {
        const bool shared = i > 0 && (b + 1) * case_.block_tokens <= case_.shared_tokens;
        ids_[i * static_cast<size_t>(stride_) + static_cast<size_t>(b)] =
            shared ? ids_[static_cast<size_t>(b)] : next++;
      }
    }
    last_block_ = next - 1;
  }
  std::vector<cuda::RowPlace> Places() const {
    std::vector<cuda::RowPlace> places;
    for (size_t s = 0; s < case_.pieces.size(); ++s) {
      for (int i = 0; i < case_.pieces[s].rows; ++i)
        places.push_back({case_.pieces[s].position + i, static_cast<int32_t>(s)});
    }
    return places;
  }
  std::vector<std::byte> Queries() const {
    std::vector<std::byte> bytes(static_cast<size_t>(rows_ * case_.heads * case_.head_dim) *
                                 DTypeBytes(type_));
    size_t at = 0;
    for (const AttentionPiece& piece : case_.pieces) {
      for (int i = 0; i < piece.rows; ++i) {
        for (int h = 0; h < case_.heads; ++h)
          for (const float value : RowOf(kQuery, piece.sequence, h, piece.position + i))
            StoreElement(bytes.data(), type_, at++, value);
      }
    }
    return bytes;
  }

  void FillPool(size_t block_bytes, DeviceArray<std::byte>* pool) const {
    const KvLayout kv = layout();
    std::vector<std::byte> block;
    for (size_t i = 0; i < ids_.size(); ++i) {
      if (ids_[i] == kInvalid) continue;
      const AttentionPiece& piece = case_.pieces[i / static_cast<size_t>(stride_)];
      const int begin = static_cast<int>(i % static_cast<size_t>(stride_)) * case_.block_tokens;
      block.assign(kv.BlockBytes(), std::byte{0xFF});
      for (int t = std::max(begin, FirstSeen(piece)); t < std::min(begin + case_.block_tokens, End(piece));
           ++t) {
        for (int h = 0; h < case_.kv_heads; ++h) {
          PutInPlane(Stored(RowOf(kKey, piece.sequence, h, t), kv_), kv, t - begin,
                     block.data() + kv.KOffset(kLayer, h));
          PutInPlane(Stored(RowOf(kValue, piece.sequence, h, t), kv_), kv, t - begin,
                     block.data() + kv.VOffset(kLayer, h));
        }
      }
      pool->Set(block, ids_[i] * block_bytes);
    }
  }

  std::vector<float> Folded(cuda::CudaRuntime* device, const DeviceArray<float>& partials,
                            const DeviceArray<cuda::FoldPlace>& folds) const {
    const auto elements = static_cast<size_t>(rows_ * case_.heads * case_.head_dim);
    const DeviceArray<std::byte> out(device, elements * DTypeBytes(case_.out));
    const cuda::FoldParams fold{partials.data(), folds.data(), out.data(),
                                rows_,           case_.heads,  case_.head_dim};
    Launch(device, LaunchOf(fold, case_.out));
    const std::vector<std::byte> bytes = out.Get();
    std::vector<float> values(elements);
    for (size_t i = 0; i < elements; ++i) values[i] = LoadElement(bytes.data(), case_.out, i);
    return values;
  }
  static void Launch(cuda::CudaRuntime* device, const cuda::KernelLaunch& launch) {
    ASSERT_TRUE(device->Launch(Stream::kCompute, launch).ok());
    Wait(*device);
  }

  AttentionCase case_;
  const KvType kv_;
  const DType type_;
  int rows_ = 0, stride_ = 0;
  BlockId last_block_ = 0;
  std::vector<BlockId> ids_;  // [pieces][stride]
  std::vector<SequenceSpan> sequences_;
  std::vector<TokenId> tokens_;
};

}  // namespace prefixd::cuda_test
