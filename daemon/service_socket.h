// The listening socket that a service manager made before it started this process (socket activation,
// sd_listen_fds(3)). Clients that connect while no process runs wait in its queue, so a restart refuses
// nobody.
//
// Threads: the main thread, before others start.
#pragma once

#include <string>

#include "base/status.h"

namespace prefixd {

// Returns the socket, close-on-exec, which the service manager keeps open as well; -1: it has passed none.
// kInvalidArgument: what it has passed is not one listening socket, or not one of `address`; the message says
// what to change. After a Relaunch the socket is InheritedListener's, and this returns -1.
Result<int> ServiceListener(const std::string& address);

// Whether the service manager passed sockets to this process, also before a Relaunch.
bool HasServiceListener();

}  // namespace prefixd
