#include "daemon/http/heap.h"

#include <malloc.h>

namespace prefixd {

void LimitKeptHeap() {
  // By default glibc raises both thresholds to the size of what was freed, up to 32 and 64 MiB. Every arena
  // (one per thread at first) may then keep that much free memory. Fixed thresholds give large texts and
  // lists memory of their own, which is unmapped when it is freed.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
  // Small pieces that are freed are merged at once. By default glibc leaves them lying and merges all of them
  // in one call later, which takes 10 ms for each million of them, whichever thread makes the call.
  mallopt(M_MXFAST, 0);
}

void TrimHeap() {
  // Small JSON values lie between others, so freeing them leaves holes that only this call returns.
  malloc_trim(0);
}

}  // namespace prefixd
