// MissReason: why a prompt token had to be computed. The metric of misses has its labels in the same order.
// Plain values; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace prefixd {

enum class MissReason : uint8_t {
  kNeverSeen,
  kEvictedDevice,
  kEvictedHost,
  kEvictedDisk,
  kEvictedRemote,
  kBlockTail,  // after the last full block of the prompt, or a cached block beyond Acquire's limit
  kOtherTenant,
  kOtherModel,  // the disk cache has it of another model, or of another form of this one
  kExpired,
  kCorrupt,     // its only copy was damaged
  kLoadSlower,  // it was left in a lower tier, or could not be read from there
  kTemplateDiverged,
  kDisabled,  // Options::reuse is false, or the lease was opened with Reads::kNo
};
inline constexpr int kMissReasons = 13;
std::string_view MissReasonName(MissReason reason);  // "never_seen", ...

}  // namespace prefixd
