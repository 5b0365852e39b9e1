// A short measurement for `validate`: how fast this machine would compute a prompt, and how fast it would
// copy the prompt's KV instead. It tells whether a lower tier would pay; a daemon measures its real rates
// while it runs. It takes about 0.2 seconds, and a second where a processor computes below 1 GFLOP/s.
//
// Threads: any; one at a time.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "daemon/serve_plan.h"

namespace prefixd {

struct ProbedRates {
  double flops = 0;       // of matrix products, per second, on the compute threads or the device
  double copy_bytes = 0;  // of one thread from RAM to RAM, or from RAM to the device, per second

  // A token costs 2 FLOP per parameter. Attention comes on top: it grows with the context.
  double PrefillTokensPerSecond(int64_t parameters) const {
    return flops / (2 * static_cast<double>(parameters));
  }
};

// Multiplies 64 rows by a small matrix, packed by the backend, and copies a buffer. The best of several runs
// counts. The matrix has the format of the model's weights, and is as wide as its hidden state, but at most
// 768. The backend `cuda` multiplies and copies as its device is fast. Returns the errors of CreateOperations
// or of the device, and kResourceExhausted.
Result<ProbedRates> ProbeRates(const ServePlan& plan);

}  // namespace prefixd
