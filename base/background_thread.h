// What a thread does to stay out of the way of those that compute.
//
// Threads: the functions are about the thread that calls them.
#pragma once

namespace prefixd {

// The thread takes no processor from another thread because it wakes up, and where all are busy it gets a
// tenth of what those get that are like the thread was before. It cannot be undone. Does nothing where the
// system does not allow it, or has put the thread into another class of scheduling.
void RunInBackground();

}  // namespace prefixd
