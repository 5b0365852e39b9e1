#include "daemon/disk_observer.h"

namespace prefixd {

FileObserver* DiskObserver(const std::string&) { return nullptr; }

}  // namespace prefixd
