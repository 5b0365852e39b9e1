// Relaunch: the process executes its program again. After some errors of a CUDA device no process that has
// used it may use it again, so a daemon with a lost device begins anew. It does that once: the second time it
// ends, and the service manager decides. A variable of the environment tells the two apart.
//
// The listening socket goes from one program to the next, so that no client is refused: who connects while
// the next one starts waits for it.
//
// Threads: the main thread.
#pragma once

#include <string>

#include "base/status.h"

namespace prefixd {

// Its value is the descriptor of the listening socket, a blank, and the address that was asked for.
inline constexpr char kRelaunchedVariable[] = "PREFIXD_RELAUNCHED";

// Returns whether this program was executed by Relaunch.
bool WasRelaunched();

// The listening socket that Relaunch was given for this address; the caller owns it. -1: there is none. One
// for another address, as after a change of the configuration, is closed. Call it once.
int InheritedListener(const std::string& address);

// Executes the program of this process again, with the same arguments: the process keeps its id, and all its
// other threads and its open files end, beside the standard ones and `listener`, which may be -1. Returns
// only when that fails. In the folder of deploy/bundle the program is the dynamic loader, and its arguments
// name prefixd.
Status Relaunch(int listener, const std::string& address);

}  // namespace prefixd
