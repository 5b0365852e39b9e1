#include "base/background_thread.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace prefixd {

void RunInBackground() {
  constexpr int kNiceness = 10;
  const sched_param none{};
  (void)sched_setscheduler(0, SCHED_BATCH, &none);
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness);
}

}  // namespace prefixd
