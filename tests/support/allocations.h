// Counts the calls of operator new in a test program, and refuses large ones on request. Linking this library
// replaces operator new, but not under ThreadSanitizer, which has one of its own. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prefixd::testing_support {

// Whether operator new is replaced. If not, the functions below have no effect.
bool ReplacesOperatorNew();
// Returns the calls of operator new so far.
int64_t Allocations();

// From now on operator new refuses more than this number of bytes.
void RefuseAllocationsAbove(size_t bytes);

}  // namespace prefixd::testing_support
