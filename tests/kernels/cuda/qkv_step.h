// A step of the kernel Qkv: rows of three sequences, on both sides of a border of blocks, in blocks whose
// bytes lie beyond 32 bits. The heads of a row are those of q, then k, then v. One thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/kv_order.h"
#include "kernels/cuda/launches.h"
#include "tests/kernels/cuda/typed_array.h"

namespace prefixd::cuda_test {

struct QkvCase {
  int heads, kv_heads, head_dim, block_tokens;
  bool norm;
};

class QkvStep {
 public:
  static constexpr int kLayers = 3, kLayer = 1, kSequences = 3;
  static constexpr float kEps = 1e-6f, kScale = 0.3f;
  static constexpr std::byte kBefore{0xA5};  // what the blocks hold before the step

  struct Results {
    std::vector<float> q;           // [rows][heads][head_dim]
    std::vector<std::byte> blocks;  // of the step and the one before them, in the order of their ids
  };

  QkvStep(const QkvCase& c, KvType kv)
      : c_(c), type_(NumberType(kv)), layout_{kLayers, c.kv_heads, c.head_dim, c.block_tokens, kv} {
    stride_ = 32 / c.block_tokens + 1;
    first_block_ = (uint64_t{5} << 30) / layout_.BlockBytes();
    const auto count = Elements(kSequences, stride_);
    for (size_t i = 0; i < count; ++i) tables_.push_back(static_cast<int32_t>(first_block_ + count - i));
    x_ = Numbers(Elements(rows(), width()), DType::kF32, 10);
    norms_ = Numbers(Elements(2, c.head_dim), DType::kF32, 11);
    rope_ = Numbers(Elements(33, c.head_dim), DType::kF32, 12);
  }

  const QkvCase& params() const { return c_; }
  const KvLayout& layout() const { return layout_; }
  const std::vector<cuda::RowPlace>& places() const { return places_; }
  int rows() const { return static_cast<int>(places_.size()); }
  int heads() const { return c_.heads + 2 * c_.kv_heads; }
  int width() const { return heads() * c_.head_dim; }
  int stride() const { return stride_; }
  const std::vector<float>& x() const { return x_; }
  const std::vector<float>& rope() const { return rope_; }
  std::span<const float> q_norm() const { return std::span(norms_).first(Dim()); }
  std::span<const float> k_norm() const { return std::span(norms_).subspan(Dim()); }
  // Index of a block of Results::blocks, by its place in the table of its sequence.
  size_t BlockAt(int sequence, int index) const {
    return static_cast<size_t>(tables_[Elements(sequence, stride_) + static_cast<size_t>(index)]) -
           first_block_;
  }
  int TokenOf(int row) const { return places_[static_cast<size_t>(row)].position % c_.block_tokens; }
  // The byte of Results::blocks where the plane of head number `head` of a row begins. Requires k or v.
  size_t PlaneOf(int row, int head) const {
    const auto [position, sequence] = places_[static_cast<size_t>(row)];
    const int kv_head = head - c_.heads;
    const size_t plane = kv_head < c_.kv_heads ? layout_.KOffset(kLayer, kv_head)
                                               : layout_.VOffset(kLayer, kv_head - c_.kv_heads);
    return BlockAt(sequence, position / c_.block_tokens) * layout_.BlockBytes() + plane;
  }
  // The byte where element d of it lies. Requires elements of a DType.
  size_t ByteOf(int row, int head, int d) const {
    return PlaneOf(row, head) + cuda::PlaneOffset(TokenOf(row), d, c_.head_dim,
                                                  static_cast<int>(DTypeBytes(type_)), c_.block_tokens);
  }

  Results Compute(cuda::CudaRuntime* device) const;
  // The same in plain code, by the rules 3 and 5 of kernels/cuda/numerics.h.
  Results Expected() const;

 private:
  size_t Dim() const { return static_cast<size_t>(c_.head_dim); }
  size_t BlocksBytes() const { return (tables_.size() + 1) * layout_.BlockBytes(); }
  std::vector<float> ExpectedHead(int row, int head) const;

  const QkvCase c_;
  const DType type_;
  const KvLayout layout_;
  const std::vector<cuda::RowPlace> places_ = {{0, 0}, {1, 0}, {2, 0}, {31, 2}, {32, 2}, {9, 1}};
  int stride_ = 0;
  uint64_t first_block_ = 0;     // its id; the ids of the step follow it
  std::vector<int32_t> tables_;  // [kSequences][stride], descending
  std::vector<float> x_, norms_, rope_;
};

inline QkvStep::Results QkvStep::Compute(cuda::CudaRuntime* device) const {
  const DeviceArray<float> of_x(device, x_), of_norms(device, norms_), of_rope(device, rope_);
  const DeviceArray<cuda::RowPlace> of_places(device, places_);
  const DeviceArray<int32_t> of_tables(device, tables_);
  const size_t begin = first_block_ * layout_.BlockBytes();
  DeviceArray<std::byte> pool(device, begin + BlocksBytes());
  pool.Set(std::vector<std::byte>(BlocksBytes(), kBefore), begin);
  const TypedArray q(device, type_, Elements(rows(), c_.heads * c_.head_dim));
  const cuda::QkvParams params{
      .qkv = of_x.data(),
      .q_norm = c_.norm ? of_norms.data() : nullptr,
      .k_norm = c_.norm ? of_norms.data() + c_.head_dim : nullptr,
      .rope = of_rope.data(),
      .places = of_places.data(),
      .tables = {of_tables.data(), stride_},
      .kv = {pool.data(), layout_.BlockBytes(), c_.block_tokens, c_.kv_heads, c_.head_dim, kLayer},
      .q = q.data(),
      .eps = kEps,
      .scale = kScale,
      .rows = rows(),
      .heads = c_.heads};
  RunLaunch(*device, cuda::LaunchOf(params, layout_.type));
  return {q.Get(), pool.Get(begin, BlocksBytes())};
}

inline std::vector<float> QkvStep::ExpectedHead(int row, int head) const {
  const auto from = x_.begin() + row * width() + head * c_.head_dim;
  std::vector<float> values(from, from + c_.head_dim);
  const bool is_query = head < c_.heads;
  if (head < c_.heads + c_.kv_heads) {
    if (c_.norm) values = Normed(values, is_query ? q_norm() : k_norm(), kEps);
    const int position = places_[static_cast<size_t>(row)].position;
    Rotate(values, std::span(rope_).subspan(Elements(position, c_.head_dim), Dim()));
  }
  if (is_query)
    for (float& value : values) value = Rounded(value * kScale, type_);
  return values;
}

inline QkvStep::Results QkvStep::Expected() const {
  Results results{{}, std::vector<std::byte>(BlocksBytes(), kBefore)};
  for (int row = 0; row < rows(); ++row) {
    for (int head = 0; head < heads(); ++head) {
      const std::vector<float> values = ExpectedHead(row, head);
      if (head < c_.heads) {
        results.q.insert(results.q.end(), values.begin(), values.end());
        continue;
      }
      PutInPlane(Stored(values, layout_.type), layout_, TokenOf(row), &results.blocks[PlaneOf(row, head)]);
    }
  }
  return results;
}

}  // namespace prefixd::cuda_test
