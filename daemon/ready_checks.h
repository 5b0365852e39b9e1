// The checks that /ready shows, one for each part of the daemon. Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/disk_tier.h"
#include "daemon/remote_tier.h"
#include "daemon/server_state.h"
#include "daemon/warm_start.h"
#include "engine/engine_stats.h"

namespace prefixd {

// Returns pairs of part and state: "ok", "off", "loading", or "failed: ..." with the reason. The device has
// failed when `failed-steps` of its steps have failed in a row (daemon/limit_table.h). It is ok again after
// a step that succeeds. `lost_device` says why the CPU computes in the place of a device that was lost; then
// that has failed for as long as the process runs. Empty: it does not.
// A daemon with a remote tier has a check of it, too, and of its warm start: that has no failure, because
// what it does not load is computed.
std::vector<std::pair<std::string, std::string>> ReadyChecksOf(ServerPhase phase, const EngineStats& stats,
                                                               const DiskTierStats& disk,
                                                               std::string_view lost_device = {},
                                                               const RemoteTierStats& remote = {},
                                                               const WarmStartStats& warm = {});

}  // namespace prefixd
