// Caller: whose request it is. The middleware finds the key of a request once, and the handlers read the
// caller in HttpRequest::caller; it is null where no key is required.
//
// Threads: any.
#pragma once

#include <memory>
#include <string>

#include "daemon/api/api_key.h"
#include "daemon/api/rate_limit.h"

namespace prefixd {

struct Caller {
  ApiKey key;
  std::string tenant;                // TenantOf(key)
  std::shared_ptr<RateLimit> rates;  // of the tenant
};

}  // namespace prefixd
