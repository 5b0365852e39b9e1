#include "daemon/http_memory.h"

#include "daemon/http/byte_budget.h"
#include "daemon/http/server.h"
#include "daemon/limit_table.h"

namespace prefixd {

uint64_t InflightLimitBytes(const Options& options) {
  return ByteBudget::LimitFor(static_cast<size_t>(options.max_inflight),
                              static_cast<size_t>(options.max_body));
}

uint64_t ConnectionsBytes(const Options& options) {
  const size_t connection = ConnectionBytes(HttpServerOptions());
  const size_t tls = options.tls_cert.empty() ? 0 : Limit<size_t>("tls-record-bytes");
  const uint64_t bytes = static_cast<uint64_t>(options.max_connections) * (connection + tls);
  if (options.admin_listen.empty()) return bytes;
  return bytes + Limit<uint64_t>("admin-connections") * connection +
         ByteBudget::LimitFor(Limit<size_t>("admin-inflight"), kSmallBodyBytes);
}

}  // namespace prefixd
