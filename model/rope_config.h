// Reads the rotary position settings of config.json: one of the scalings in modeling_rope_utils.py of
// transformers, its parameters, and the number of positions that it supports. Plain values; any thread.
//
// Invariant: two RopeConfigs from ParseRopeConfig with the same CanonicalRope give the same table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace prefixd {

class JsonFields;

enum class RopeType : uint8_t {
  kDefault,
  kLinear,
  kDynamic,  // served only up to the length where it equals kDefault
  kLlama3,
  kYarn,
};

// Fields that a type does not use keep their defaults, so equal configs are equal functions.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;           // all but default
  double low_freq_factor = 0;  // llama3
  double high_freq_factor = 0;
  int original_context = 0;     // llama3, yarn: context that the unscaled model was trained on
  double beta_fast = 0;         // yarn: pairs with more turns in the original context are kept;
  double beta_slow = 0;         //   pairs with fewer turns are divided by factor
  bool truncate = true;         //   round the limits between them to whole pairs
  double attention_factor = 1;  //   multiplies the cosines and sines
  // GGUF: the frequency of each pair is divided by its number, too, as files have the scaling of llama3.
  // Empty: it is not.
  std::vector<float> divisors;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

struct ParsedRope {
  RopeConfig rope;
  int context = 0;             // longest sequence, in positions
  std::string context_reason;  // the source of that number, for messages
};

// Reads rope_theta with rope_scaling beside it (published checkpoints), rope_parameters (newest
// transformers), or neither. `max_positions` is max_position_embeddings. kInvalidArgument: a value that
// makes no sense. kUnsupported: a type or a key that prefixd does not compute.
Result<ParsedRope> ParseRopeConfig(const JsonFields& config, int max_positions);

// Returns the name of a type in config.json, as in "yarn".
std::string_view RopeTypeName(RopeType type);

// Returns a canonical text, as in "linear theta=10000 factor=4". Each number has one text.
std::string CanonicalRope(const RopeConfig& rope);

}  // namespace prefixd
