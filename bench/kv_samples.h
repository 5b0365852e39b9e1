// The KV of real text, as a model computes it: the blocks that a lower cache tier would store. For
// measurements. One thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/kv_layout.h"

namespace prefixd::bench {

struct KvSamples {
  KvLayout layout = {};
  size_t blocks = 0;
  std::vector<std::byte> bytes = {};  // the blocks one after the other, layout.BlockBytes() each

  std::span<const std::byte> Block(size_t i) const {
    return std::span(bytes).subspan(i * layout.BlockBytes(), layout.BlockBytes());
  }
};

// Runs the first `tokens` tokens of each text through the model of `folder` on its own and returns the full
// blocks of 16 tokens. A shorter text gives fewer. Prints an error and ends the program with 1 when the model
// cannot be loaded or a file cannot be read.
KvSamples ComputeKvSamples(const std::string& folder, const std::vector<std::string>& text_files, int tokens,
                           DType kv_dtype, int threads);

}  // namespace prefixd::bench
