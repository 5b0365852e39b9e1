#include "storage/host_lookup.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <atomic>
#include <thread>

#include "base/mutex.h"

namespace prefixd {
namespace {

const SystemClock kClock;
constexpr int64_t kSecond = 1'000'000'000;

// A name server that answers nothing until it is told to.
class Gate {
 public:
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Pass() {
    MutexLock lock(mutex_);
    while (!open_) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ GUARDED_BY(mutex_) = false;
};

TEST(HostLookup, AnAddressAsksNobody) {
  const HostLookup never = [](const char*, const char*, const addrinfo*, addrinfo**) {
    ADD_FAILURE() << "a name server is asked";
    return EAI_FAIL;
  };
  const auto v4 = LookUpHost("127.0.0.1", 6379, kClock, 0, never);
  ASSERT_TRUE(v4.ok());
  ASSERT_EQ(v4->size(), 1u);
  EXPECT_EQ((*v4)[0].address.ss_family, AF_INET);
  EXPECT_EQ(reinterpret_cast<const sockaddr_in*>(&(*v4)[0].address)->sin_port, htons(6379));
  const auto v6 = LookUpHost("::1", 1, kClock, 0, never);
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ((*v6)[0].address.ss_family, AF_INET6);
}

TEST(HostLookup, FindsNames) {
  const auto found = LookUpHost("localhost", 6379, kClock, kClock.NowNanos() + 20 * kSecond);
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  EXPECT_FALSE(found->empty());
  const auto none =
      LookUpHost("name.invalid", 1, kClock, kClock.NowNanos() + 20 * kSecond,
                 [](const char*, const char*, const addrinfo*, addrinfo**) { return EAI_NONAME; });
  EXPECT_EQ(none.status().code(), Code::kUnavailable);
}

TEST(HostLookup, ANameServerThatIsSilentCostsTheStatedTime) {
  const auto gate = std::make_shared<Gate>();
  const auto ended = std::make_shared<std::atomic<int>>(0);
  std::atomic<int> asked = 0;
  const HostLookup silent = [gate, ended](const char* host, const char* service, const addrinfo* hints,
                                          addrinfo** found) {
    gate->Pass();
    const int result = ::getaddrinfo("127.0.0.1", service, hints, found);
    (void)host;
    ++*ended;
    return result;
  };
  for (int i = 0; i < kMostLookups + 3; ++i) {
    const auto found = LookUpHost("name", 1, kClock, kClock.NowNanos() + 1'000'000, silent);
    ASSERT_EQ(found.status().code(), Code::kUnavailable);
    const bool is_too_much = found.status().message().find("have no answer yet") != std::string::npos;
    EXPECT_EQ(is_too_much, i >= kMostLookups) << found.status().message();
    asked += is_too_much ? 0 : 1;
  }
  EXPECT_EQ(asked, kMostLookups);
  gate->Open();
  while (*ended < kMostLookups) std::this_thread::yield();
  // The threads have gone, or go now.
  auto found = LookUpHost("localhost", 1, kClock, kClock.NowNanos() + 20 * kSecond);
  for (int tries = 0; tries < 1000 && !found.ok(); ++tries) {
    std::this_thread::yield();
    found = LookUpHost("localhost", 1, kClock, kClock.NowNanos() + 20 * kSecond);
  }
  EXPECT_TRUE(found.ok()) << found.status().ToString();
}

}  // namespace
}  // namespace prefixd
