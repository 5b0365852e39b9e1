// The model fingerprint: two processes may share KV exactly when theirs are equal. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hashing/block_key.h"

namespace prefixd {

// All that makes the KV of a token sequence what it is.
struct ModelIdentity {
  BlockKey weights;               // WeightsHasher over all tensors
  std::string architecture;       // canonical text of everything in the config that enters the forward pass
  std::string kv_dtype;
  int block_tokens = 0;
  std::string kv_layout;          // name of the order inside a block
  std::string numerics_version;   // one for all CPU backends
};

BlockKey Fingerprint(const ModelIdentity& identity);

// XXH3-128 over named tensors, fed in any number of pieces; tensors must come in one order (sorted by name).
class WeightsHasher {
 public:
  WeightsHasher();
  ~WeightsHasher();
  void BeginTensor(std::string_view name, std::string_view dtype, std::span<const int64_t> shape);
  void Update(std::span<const std::byte> bytes);
  BlockKey Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace prefixd
