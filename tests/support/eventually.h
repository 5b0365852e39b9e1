// Waiting for what another thread or process does. Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace prefixd::testing_support {

// Until it is true; a minute is more than any machine needs. Returns false when it never was.
inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 6000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace prefixd::testing_support
