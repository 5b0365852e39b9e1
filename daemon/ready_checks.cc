#include "daemon/ready_checks.h"

#include "daemon/limit_table.h"

namespace prefixd {

std::vector<std::pair<std::string, std::string>> ReadyChecksOf(ServerPhase phase, const EngineStats& stats,
                                                               const DiskTierStats& disk,
                                                               std::string_view lost_device,
                                                               const RemoteTierStats& remote,
                                                               const WarmStartStats& warm) {
  const std::string model = phase == ServerPhase::kLoading ? "loading" : "ok";
  std::string device = model;
  if (!lost_device.empty())
    device = "failed: the CPU computes in the place of the lost GPU: " + std::string(lost_device);
  if (stats.failed_steps_in_row >= Limit("failed-steps"))
    device = "failed: the last " + std::to_string(stats.failed_steps_in_row) + " steps ended with an error";
  const bool has_host = stats.blocks[static_cast<size_t>(Tier::kHost)].capacity() > 0;
  const auto store = [](bool on, const std::string& failure) {
    return !on ? std::string("off") : failure.empty() ? std::string("ok") : "failed: " + failure;
  };
  std::vector<std::pair<std::string, std::string>> checks = {{"model", model},
                                                             {"device", device},
                                                             {"host", has_host ? "ok" : "off"},
                                                             {"disk", store(disk.on, disk.failure)}};
  if (remote.on) checks.emplace_back("remote", store(remote.on, remote.failure));
  if (warm.phase != WarmStartStats::Phase::kOff) checks.emplace_back("warm_start", warm.Check());
  return checks;
}

}  // namespace prefixd
