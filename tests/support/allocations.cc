#include "tests/support/allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define PREFIXD_KEEP_OPERATOR_NEW
#endif
#endif

namespace prefixd::testing_support {

#ifdef PREFIXD_KEEP_OPERATOR_NEW
bool ReplacesOperatorNew() { return false; }
int64_t Allocations() { return 0; }
void RefuseAllocationsAbove(size_t) {}

}  // namespace prefixd::testing_support
#else
namespace {

std::atomic<int64_t> allocations{0};
std::atomic<size_t> largest{SIZE_MAX};

void* Allocate(size_t bytes) noexcept {
  ++allocations;
  return bytes > largest.load() ? nullptr : std::malloc(bytes > 0 ? bytes : 1);
}

}  // namespace

bool ReplacesOperatorNew() { return true; }
int64_t Allocations() { return allocations.load(); }
void RefuseAllocationsAbove(size_t bytes) { largest = bytes; }

}  // namespace prefixd::testing_support

void* operator new(size_t bytes) {
  void* const p = prefixd::testing_support::Allocate(bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return prefixd::testing_support::Allocate(bytes);
}
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  return prefixd::testing_support::Allocate(bytes);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
#endif
