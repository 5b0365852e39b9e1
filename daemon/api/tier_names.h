// What metrics, answers and documents call the tiers and the sources of prompt tokens, in the order of their
// enums. Constants; any thread.
#pragma once

#include <array>
#include <string_view>

#include "cache/tier.h"
#include "engine/request.h"

namespace prefixd {

inline constexpr std::array<std::string_view, kTiers> kTierNames = {"device", "host", "disk", "remote"};
inline constexpr std::array<std::string_view, kTokenSources> kSourceNames = {"computed", "device", "host",
                                                                             "disk",     "shared", "remote"};

}  // namespace prefixd
