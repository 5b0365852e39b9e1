#include "daemon/http_memory.h"

#include "daemon/http/byte_budget.h"
#include "daemon/http/server.h"

namespace prefixd {

uint64_t InflightLimitBytes(const Options& options) {
  return ByteBudget::LimitFor(static_cast<size_t>(options.max_inflight),
                              static_cast<size_t>(options.max_body));
}

uint64_t ConnectionsBytes(const Options& options) {
  return static_cast<uint64_t>(options.max_connections) * ConnectionBytes(HttpServerOptions());
}

}  // namespace prefixd
