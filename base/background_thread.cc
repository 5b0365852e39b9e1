#include "base/background_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace prefixd {

void RunInBackground() {
  constexpr int kNicer = 10, kNicest = 19;
  if (sched_getscheduler(0) != SCHED_OTHER) return;
  const sched_param none{};
  (void)sched_setscheduler(0, SCHED_BATCH, &none);
  const auto thread = static_cast<id_t>(gettid());
  const int before = getpriority(PRIO_PROCESS, thread);  // the thread exists, so -1 is a niceness
  (void)setpriority(PRIO_PROCESS, thread, std::min(before + kNicer, kNicest));
}

}  // namespace prefixd
