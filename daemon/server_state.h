// The phase of the process.
//
// Threads: the main thread sets the phase, any thread reads it.
#pragma once

#include <atomic>
#include <string_view>

namespace prefixd {

enum class ServerPhase { kLoading, kServing, kDraining };

constexpr std::string_view ServerPhaseName(ServerPhase phase) {
  return phase == ServerPhase::kLoading ? "loading" : phase == ServerPhase::kServing ? "serving" : "draining";
}

class ServerState {
 public:
  ServerPhase phase() const { return phase_.load(std::memory_order_acquire); }
  void set_phase(ServerPhase phase) { phase_.store(phase, std::memory_order_release); }

 private:
  std::atomic<ServerPhase> phase_{ServerPhase::kLoading};
};

}  // namespace prefixd
