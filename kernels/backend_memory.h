// The pieces of backend memory: RAM on a CPU, device memory on a GPU. Only the backend that made a piece
// dereferences a pointer to it. The holder of a piece owns it and destroys it before the backend. The thread
// that owns the backend uses them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/check.h"
#include "base/status.h"
#include "base/types.h"
#include "kernels/kv_layout.h"
#include "kernels/kv_place.h"
#include "kernels/weight_format.h"

namespace prefixd {

// 64-byte aligned and zeroed at allocation.
class Buffer {
 public:
  virtual ~Buffer() = default;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  float* f32() const { return static_cast<float*>(data_); }

 protected:
  Buffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  size_t bytes_;
};

// A weight matrix in the backend's own packed layout: `rows` outputs by `cols` inputs.
class Matrix {
 public:
  virtual ~Matrix() = default;
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  virtual size_t bytes() const = 0;
  // The bytes of them that a product reads.
  virtual size_t read_bytes() const { return bytes(); }
  // The matrices of which this one is a stack (kernels/stacked_matrix.h). Empty: it is none.
  virtual std::span<const std::unique_ptr<Matrix>> parts() const { return {}; }

 protected:
  Matrix(int rows, int cols) : rows_(rows), cols_(cols) {}
  int rows_, cols_;
};

// A matrix in host memory, row-major [rows][cols], at any alignment.
struct MatrixSource {
  const void* data;  // not null
  WeightFormat format;
  int rows;  // > 0
  int cols;  // > 0; they fit the format
};

// A matrix of dummy weights (kernels/dummy_weights.h), [rows][cols]: element i has the index i.
struct DummyMatrix {
  WeightFormat format;
  int rows;  // > 0
  int cols;  // > 0; they fit the format
  uint64_t seed = 0;
  float largest = 0;  // > 0, finite
};

// In which order a pool has the layers of its blocks.
enum class KvOrder : uint8_t {
  kBlocks,  // [block][layer]: a block is contiguous
  kGroups,  // [group][layer][block of the group]: so is a layer of a group of kKvGroup blocks
};

// A step reads one layer of many blocks, and memory gives a run of this many blocks faster than the same
// blocks one by one (bench/README.md, model_bench). Longer runs gain little, and what a sequence uses of a
// pool would lie in more pages.
inline constexpr uint32_t kKvGroup = 16;  // a power of two

// KV memory for a fixed number of blocks.
class KvPool {
 public:
  virtual ~KvPool() = default;
  const KvLayout& layout() const { return layout_; }
  uint32_t blocks() const { return blocks_; }
  KvOrder order() const { return order_; }
  // Returns backend memory of one layer of one block, layout().LayerBytes() long. Requires id < blocks() and
  // layer < layout().layers.
  std::byte* layer(BlockId id, int layer) const {
    if (order_ == KvOrder::kBlocks) return Block(id) + CheckedLayer(layer) * layout_.LayerBytes();
    PREFIXD_CHECK(id < blocks_) << "block " << id << " of " << blocks_;
    const KvPlace at = place(layer);
    if (id >= at.rest_first) return at.rest + (id - at.rest_first) * at.block_bytes;
    return at.begin + (id >> at.group_shift) * at.group_bytes + (id & at.group_mask) * at.block_bytes;
  }
  // Returns where that memory is for all blocks. Requires a pool that kernels use: it is in one piece.
  KvPlace place(int layer) const {
    const bool groups = order_ == KvOrder::kGroups;
    const size_t in_group = groups ? kKvGroup : 1, bytes = layout_.LayerBytes(), at = CheckedLayer(layer);
    const uint32_t rest = blocks_ % static_cast<uint32_t>(in_group), first = blocks_ - rest;
    return {.begin = base_ + at * in_group * bytes,
            .group_bytes = in_group * layout_.BlockBytes(),
            .block_bytes = bytes,
            .group_shift = groups ? static_cast<uint32_t>(std::countr_zero(kKvGroup)) : 0,
            .group_mask = groups ? kKvGroup - 1 : 0,
            .rest_first = first,
            .rest = base_ + first * layout_.BlockBytes() + at * rest * bytes};
  }
  // Returns backend memory of one block, layout().BlockBytes() long. Requires the order kBlocks.
  std::byte* block(BlockId id) const {
    PREFIXD_CHECK(order_ == KvOrder::kBlocks) << "the layers of block " << id << " lie apart";
    return Block(id);
  }

 protected:
  KvPool(KvLayout layout, uint32_t blocks, KvOrder order = KvOrder::kBlocks)
      : layout_(layout), blocks_(blocks), order_(order) {}
  // Returns the memory of a block. Requires the order kBlocks.
  virtual std::byte* Block(BlockId id) const {
    PREFIXD_CHECK(id < blocks_) << "block " << id << " of " << blocks_;
    return base_ + static_cast<size_t>(id) * layout_.BlockBytes();
  }
  size_t CheckedLayer(int layer) const {
    PREFIXD_CHECK(layer >= 0 && layer < layout_.layers) << "layer " << layer << " of " << layout_.layers;
    return static_cast<size_t>(layer);
  }
  KvLayout layout_;
  uint32_t blocks_;
  KvOrder order_;
  std::byte* base_ = nullptr;
};

// Copies blocks between a pool of AllocateKv and memory of the host that holds a whole block, which a copy
// takes without a detour: that of AllocateHostKv, and that which Stage lends. A call returns when its copy
// has ended, and comes after every CopyBlock that returned before. It touches no block that a step in flight
// uses: the caller sees to that. Any thread.
class KvCopier {
 public:
  static constexpr size_t kMostBuffers = 8;  // blocks that Stage lends at one time
  virtual ~KvCopier() = default;
  // Lends memory of the host for a block, until the last copy of the result is destroyed. Waits while all of
  // it is lent, so a thread asks for one block at a time.
  virtual std::shared_ptr<std::byte> Stage() = 0;
  // Both sides have the bytes of a block; that of the host is of AllocateHostKv or of Stage. kUnavailable:
  // the device failed.
  virtual Status Read(const KvPool& pool, BlockId from, std::span<std::byte> to) = 0;
  virtual Status Write(std::span<const std::byte> from, KvPool& pool, BlockId to) = 0;
};

}  // namespace prefixd
