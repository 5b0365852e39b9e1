// The memory that requests and answers may take, for the plan of a daemon. Pure; any thread.
#pragma once

#include <cstdint>

#include "daemon/options.h"

namespace prefixd {

// The limit of the byte budget: requests and answers of all connections together.
uint64_t InflightLimitBytes(const Options& options);
// What the byte budget does not count, if every connection has the largest header and is read slowly; and all
// of the admin listener, where there is one.
uint64_t ConnectionsBytes(const Options& options);

}  // namespace prefixd
