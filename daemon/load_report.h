// Says how far the load of a model is: on a terminal as a progress bar, elsewhere as a log line every three
// seconds, and to the service manager, whose start timeout it extends.
//
// Threads: the one that loads.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "model/model_loader.h"

namespace prefixd {

// `weight_bytes` is what the bar counts to. `draws`: with the bar, and without log lines; it is gone when the
// weights are loaded, so that log lines follow it. `clock` must outlive the result.
LoadProgress ReportLoad(uint64_t weight_bytes, bool draws, const Clock* clock);

}  // namespace prefixd
