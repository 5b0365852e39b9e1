// Parses any bytes as a config.json. The parser rejects them with a message that names the file, or returns
// sizes within the limits, for which shapes and counts do not overflow.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "model/config.h"
#include "model/rope.h"
#include "model/weights.h"

namespace {

void CheckConfig(const prefixd::ModelConfig& config) {
  PREFIXD_CHECK(config.heads % config.kv_heads == 0 && config.head_dim % 2 == 0);
  PREFIXD_CHECK(config.hidden >= 1 && config.hidden <= prefixd::kConfigLimits.hidden);
  PREFIXD_CHECK(config.layers >= 1 && config.layers <= prefixd::kConfigLimits.layers);
  for (const prefixd::TokenId id : config.eos) PREFIXD_CHECK(id >= 0 && id < config.vocab) << id;
  PREFIXD_CHECK(!prefixd::CanonicalArchitecture(config).empty());
  PREFIXD_CHECK(prefixd::KvBytesPerToken(config, prefixd::DType::kF32) > 0);
  PREFIXD_CHECK(prefixd::ParameterCount(config) > 0);
  PREFIXD_CHECK(config.windows.size() == static_cast<size_t>(config.layers));
  for (const int window : config.windows)
    PREFIXD_CHECK(window >= 0 && window < config.max_positions) << window;
  PREFIXD_CHECK(config.max_positions >= 2 && config.max_positions <= prefixd::kConfigLimits.max_positions);
  for (const auto& [name, text] : prefixd::DescribeConfig(config)) PREFIXD_CHECK(!text.empty()) << name;
  for (const float entry : prefixd::RopeTable(config.rope, config.head_dim, 2)) {
    PREFIXD_CHECK(std::isfinite(entry)) << entry;
  }
  for (const double frequency : prefixd::RopeFrequencies(config.rope, config.head_dim)) {
    PREFIXD_CHECK(std::isfinite(frequency) && frequency >= 0 && frequency <= 1.0000001) << frequency;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = prefixd::ParseModelConfig({reinterpret_cast<const char*>(data), size});
  if (config.ok()) {
    CheckConfig(*config);
  } else {
    PREFIXD_CHECK(config.status().message().starts_with("config.json")) << config.status().message();
  }
  return 0;
}
