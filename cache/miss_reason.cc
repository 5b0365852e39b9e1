#include "cache/miss_reason.h"

#include <array>

namespace prefixd {

std::string_view MissReasonName(MissReason reason) {
  static constexpr std::array<std::string_view, kMissReasons> kNames = {
      "never_seen",  "evicted_device",    "evicted_host", "evicted_disk", "evicted_remote",
      "block_tail",  "other_tenant",      "other_model",  "expired",      "corrupt",
      "load_slower", "template_diverged", "disabled"};
  return kNames.at(static_cast<size_t>(reason));
}

}  // namespace prefixd
