// A random PrefixUse for the simulators. Most are empty.
#pragma once

#include "base/prng.h"
#include "cache/retention.h"

namespace prefixd {

inline PrefixUse RandomUse(Prng& random, int tokens) {
  PrefixUse use;
  if (!random.Chance(0.3)) return use;
  int end = 0;
  for (uint64_t left = 1 + random.Below(3); left > 0 && end < tokens; --left) {
    end += 1 + static_cast<int>(random.Below(static_cast<uint64_t>(tokens - end)));
    use.breakpoints.push_back({end, 0.01 * static_cast<double>(1 << random.Below(12))});
  }
  if (random.Chance(0.2)) use.write_limit = end;
  use.owner = random.Below(3);
  if (random.Chance(0.3)) use.hint = static_cast<SessionHint>(1 + random.Below(3));
  return use;
}

}  // namespace prefixd
