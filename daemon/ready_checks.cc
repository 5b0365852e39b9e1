#include "daemon/ready_checks.h"

#include "daemon/limit_table.h"

namespace prefixd {

std::vector<std::pair<std::string, std::string>> ReadyChecksOf(ServerPhase phase, const EngineStats& stats,
                                                               const DiskTierStats& disk,
                                                               std::string_view lost_device) {
  const std::string model = phase == ServerPhase::kLoading ? "loading" : "ok";
  std::string device = model;
  if (!lost_device.empty())
    device = "failed: the CPU computes in the place of the lost GPU: " + std::string(lost_device);
  if (stats.failed_steps_in_row >= Limit("failed-steps"))
    device = "failed: the last " + std::to_string(stats.failed_steps_in_row) + " steps ended with an error";
  const bool has_host = stats.blocks[static_cast<size_t>(Tier::kHost)].capacity() > 0;
  std::string disk_check = !disk.on ? "off" : disk.failure.empty() ? "ok" : "failed: " + disk.failure;
  return {{"model", model}, {"device", device}, {"host", has_host ? "ok" : "off"}, {"disk", disk_check}};
}

}  // namespace prefixd
