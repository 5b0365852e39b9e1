// Rotary positions as config.json asks for them: which of the scalings of transformers' modeling_rope_utils,
// with which numbers, and how many positions it is good for. Plain values; any thread.
//
// Invariant of what ParseRopeConfig returned: two RopeConfigs with the same CanonicalRope give the same
// table.
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace prefixd {

class JsonFields;

enum class RopeType : uint8_t {
  kDefault,
  kLinear,
  kDynamic,  // the default, and served only as far as it is that
  kLlama3,
  kYarn,
};

// What a type does not use stays at its default, so that equality is equality of the function.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;           // all but default
  double low_freq_factor = 0;  // llama3
  double high_freq_factor = 0;
  int original_context = 0;     // llama3, yarn: what the unscaled model was trained on
  double beta_fast = 0;         // yarn: turns within the original context above which a pair is kept,
  double beta_slow = 0;         //   and below which it is divided by factor
  bool truncate = true;         //   whether the borders between them are whole pairs
  double attention_factor = 1;  //   cosines and sines are multiplied by it

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

struct ParsedRope {
  RopeConfig rope;
  int context = 0;             // positions that a sequence may have
  std::string context_reason;  // where that number comes from
};

// rope_theta with rope_scaling beside it (published checkpoints), rope_parameters (newest transformers), or
// nothing. `max_positions` is max_position_embeddings. kInvalidArgument for a value that makes no sense,
// kUnsupported for a type or a key that prefixd does not compute.
Result<ParsedRope> ParseRopeConfig(const JsonFields& config, int max_positions);

// "yarn", as config.json spells it.
std::string_view RopeTypeName(RopeType type);

// "linear theta=10000 factor=4": one spelling of every number.
std::string CanonicalRope(const RopeConfig& rope);

}  // namespace prefixd
