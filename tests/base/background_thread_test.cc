#include "base/background_thread.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

namespace prefixd {
namespace {

int Niceness() { return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())); }

// What a thread is after RunInBackground that was made nicer by `nicer` before.
struct Seen {
  int policy = -1, before = 0, after = 0;
};
Seen RunIn(int policy, int nicer) {
  Seen seen;
  std::thread([&] {
    const sched_param none{};
    EXPECT_EQ(sched_setscheduler(0, policy, &none), 0);
    EXPECT_EQ(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), std::min(Niceness() + nicer, 19)), 0);
    seen.before = Niceness();
    RunInBackground();
    seen.after = Niceness();
    seen.policy = sched_getscheduler(0);
  }).join();
  return seen;
}

// Also where the whole process was made nice.
TEST(RunInBackground, IsNicerThanTheOthers) {
  const int here = Niceness();
  for (const int nicer : {0, 3, 12}) {
    const Seen seen = RunIn(SCHED_OTHER, nicer);
    EXPECT_EQ(seen.policy, SCHED_BATCH);
    EXPECT_EQ(seen.after, std::min(seen.before + 10, 19));
  }
  EXPECT_EQ(Niceness(), here) << "other threads stay as they are";
}

TEST(RunInBackground, LeavesAnotherClassAlone) {
  const Seen seen = RunIn(SCHED_IDLE, 0);
  EXPECT_EQ(seen.policy, SCHED_IDLE);
  EXPECT_EQ(seen.after, seen.before);
}

}  // namespace
}  // namespace prefixd
