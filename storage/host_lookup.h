// LookUpHost: the addresses of a host, within a time. getaddrinfo has no limit of time, so it runs in a
// thread of its own, for which nobody waits any longer than stated. Any thread.
//
// Invariant: at most kMostLookups of these threads run at once in the process. A name server that answers
// nothing costs so many threads until getaddrinfo gives up (half a minute with the defaults of resolv.conf),
// and look-ups beyond fail at once.
#pragma once

#include <netdb.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace prefixd {

inline constexpr int kMostLookups = 8;

struct HostAddress {
  sockaddr_storage address;
  socklen_t size;
};

// As getaddrinfo.
using HostLookup = std::function<int(const char*, const char*, const addrinfo*, addrinfo**)>;

// At least one address for TCP connections to the port. `host` is a name or an address; an address takes no
// thread. The deadline is a time of the clock, in nanoseconds. kUnavailable: there are none, or not in time.
Result<std::vector<HostAddress>> LookUpHost(const std::string& host, uint16_t port, const Clock& clock,
                                            int64_t deadline, const HostLookup& lookup = ::getaddrinfo);

}  // namespace prefixd
