#include "daemon/api/explain/miss_sentence.h"

#include <cstdio>
#include <optional>
#include <string_view>

namespace prefixd {

namespace {

// " 12 s before the request", or nothing where it is not known.
std::string Before(const std::optional<double>& when, double scheduled) {
  if (!when) return "";
  const double seconds = scheduled - *when;
  char text[64];
  std::snprintf(text, sizeof text, " %.*f s before the request began", seconds < 10 ? 1 : 0,
                seconds > 0 ? seconds : 0.0);
  return text;
}

std::string_view LowestTier(const PrefixCache::MissPlace& place) {
  if (place.resides[1]) return "host memory";
  return place.resides[3] && !place.resides[2] ? "the remote cache" : "the disk";
}

}  // namespace

std::string MissSentence(const FirstMiss& miss, double scheduled) {
  const auto& [place, reason] = miss;
  const std::string since = Before(place.lost, scheduled);
  switch (reason) {
    case MissReason::kNeverSeen:
      return "No request since prefixd started had these tokens after this prefix, or it was forgotten long "
             "ago.";
    case MissReason::kEvictedDevice:
      return "The device cache evicted the block" + since + ", and no lower tier had it.";
    case MissReason::kEvictedHost:
      return "Host memory evicted the block" + since + ", and the disk did not have it.";
    case MissReason::kEvictedDisk:
      return "The disk evicted the block" + since + ".";
    case MissReason::kEvictedRemote:
      return "The remote cache had the block and has dropped it" +
             (since.empty() ? std::string() : "; it was found to be gone" + since) + ".";
    case MissReason::kBlockTail:
      return place.resides[0] ? "The block is in the device cache; the last token of a prompt is always "
                                "computed."
                              : "These tokens are the end of the prompt and fill no block.";
    case MissReason::kOtherTenant:
      return "A prompt of another tenant had the block, and tenants share nothing.";
    case MissReason::kOtherModel:
      return "The disk has the block of another model, or of this one in another form, such as another type "
             "of KV; they share no KV.";
    case MissReason::kExpired:
      return "The record of the block on the disk was older than disk-max-age allows.";
    case MissReason::kCorrupt:
      return "The only copy of the block, on the disk or in the remote cache, was damaged.";
    case MissReason::kLoadSlower:
      return "The block is in " + std::string(LowestTier(place)) +
             ", but to load it was slower than to compute it, or failed.";
    case MissReason::kTemplateDiverged:
      return "The chat template wrote the conversation otherwise than before.";
    case MissReason::kDisabled:
      return "The request did not read the cache, or prefixd runs without one.";
  }
  return "";
}

}  // namespace prefixd
