#include "daemon/ready_checks.h"

#include "daemon/limit_table.h"

namespace prefixd {

std::vector<std::pair<std::string, std::string>> ReadyChecksOf(ServerPhase phase, const EngineStats& stats) {
  const std::string model = phase == ServerPhase::kLoading ? "loading" : "ok";
  std::string device = model;
  if (stats.failed_steps_in_row >= Limit("failed-steps"))
    device = "failed: the last " + std::to_string(stats.failed_steps_in_row) + " steps ended with an error";
  return {{"model", model}, {"device", device}, {"host", "off"}, {"disk", "off"}};
}

}  // namespace prefixd
