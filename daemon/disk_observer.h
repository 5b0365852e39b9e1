// DiskObserver: who watches the file operations on a disk cache. prefixd has nobody. The program
// prefixd_fault is linked from the same objects with another definition of this function, in
// tests/support/fault_observer.cc, whose observer injects faults. Main thread.
#pragma once

#include <string>

#include "storage/file_observer.h"

namespace prefixd {

// The observer of the cache in `directory`; null: none. It lives as long as the process.
FileObserver* DiskObserver(const std::string& directory);

}  // namespace prefixd
