// The model fingerprint: two processes may share KV exactly when their fingerprints are equal. Fingerprint is
// a pure function; a WeightsHasher has one owner.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "hashing/block_key.h"

namespace prefixd {

// Everything that determines the KV bytes of a token sequence.
struct ModelIdentity {
  BlockKey weights;          // from a WeightsHasher over all tensors
  std::string architecture;  // canonical text of every config value that the forward pass uses
  std::string kv_dtype;
  int block_tokens = 0;          // > 0
  std::string kv_layout;         // name of the memory layout of a block
  std::string numerics_version;  // the same for all CPU backends
  // The format to which the weights were quantised while they were loaded. Empty: they are as in the files.
  std::string quantization;
};

BlockKey Fingerprint(const ModelIdentity& identity);

// XXH3-128 over named tensors. They may come in any order: the result is that of their order by name. No name
// comes twice. The bytes of a tensor may come in any number of pieces. Finish is the last call.
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
