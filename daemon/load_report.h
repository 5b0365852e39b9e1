// Says how far a part of the load is: on a terminal as a progress bar, elsewhere as a log line every three
// seconds, and to the service manager, whose start timeout it extends.
//
// Threads: the one that loads.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "model/model_loader.h"

namespace prefixd {

enum class LoadPart { kWeights, kHostCache };

// `bytes` is what the bar counts to. `draws`: with the bar, and without log lines; it is gone when all of the
// part is loaded, so that log lines follow it. `clock` must outlive the result. Call it when the part begins.
LoadProgress ReportLoad(LoadPart part, uint64_t bytes, bool draws, const Clock* clock);

}  // namespace prefixd
