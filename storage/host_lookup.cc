#include "storage/host_lookup.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include "base/mutex.h"

namespace prefixd {
namespace {

std::atomic<int> running_lookups = 0;

Result<std::vector<HostAddress>> Ask(const HostLookup& lookup, const std::string& host, uint16_t port,
                                     int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = lookup(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0)
    return Unavailable(std::string("the host is not found: ") + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  std::vector<HostAddress> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_addrlen > sizeof(sockaddr_storage)) continue;
    HostAddress& address = addresses.emplace_back();
    std::memcpy(&address.address, one->ai_addr, one->ai_addrlen);
    address.size = one->ai_addrlen;
  }
  if (addresses.empty()) return Unavailable("the host has no address");
  return addresses;
}

// Belongs to the thread that asks and to the one that waits; the last of them frees it.
struct Answer {
  Mutex mutex;
  CondVar changed;
  std::optional<Result<std::vector<HostAddress>>> addresses GUARDED_BY(mutex);
};

}  // namespace

Result<std::vector<HostAddress>> LookUpHost(const std::string& host, uint16_t port, const Clock& clock,
                                            int64_t deadline, const HostLookup& lookup) {
  Result<std::vector<HostAddress>> numeric = Ask(::getaddrinfo, host, port, AI_NUMERICHOST);
  if (numeric.ok()) return numeric;
  if (running_lookups.fetch_add(1) >= kMostLookups) {
    --running_lookups;
    return Unavailable("the host is not looked up: " + std::to_string(kMostLookups) +
                       " look-ups of hosts have no answer yet; see to the name server");
  }
  const auto answer = std::make_shared<Answer>();
  try {
    std::thread([answer, lookup, host, port] {
      Result<std::vector<HostAddress>> addresses = Ask(lookup, host, port, 0);
      {
        MutexLock lock(answer->mutex);
        answer->addresses = std::move(addresses);
      }
      --running_lookups;
      answer->changed.NotifyAll();
    }).detach();
  } catch (const std::system_error& error) {
    --running_lookups;
    return Unavailable(std::string("no thread to look up the host: ") + error.what());
  }
  MutexLock lock(answer->mutex);
  while (!answer->addresses) {
    const int64_t left = deadline - clock.NowNanos();
    if (left <= 0) return Unavailable("the host is not found in time: the name server does not answer");
    answer->changed.WaitFor(answer->mutex, std::chrono::nanoseconds(left));
  }
  return *std::move(answer->addresses);
}

}  // namespace prefixd
