// What the C library's heap keeps of freed memory. The byte budget counts bytes that are in use; these calls
// keep the memory of the process close to it, and no call of the heap merges at once what many have freed.
//
// Threads: any.
#pragma once

namespace prefixd {

// Called once, before requests are served.
void LimitKeptHeap();
// Returns freed pages to the operating system. Takes some milliseconds, so it is called after large work
// only, on a worker thread.
void TrimHeap();

}  // namespace prefixd
