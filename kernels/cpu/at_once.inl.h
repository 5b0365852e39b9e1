// Cuts work into parts of about the same size. Pure functions; any thread.

namespace prefixd::PREFIXD_ISA {

// Returns how many of n things to take at once: at most `most`, and about as many each time.
PREFIXD_INLINE int AtOnce(int n, int most) {
  const int times = (n + most - 1) / most;
  return (n + times - 1) / times;
}

}  // namespace prefixd::PREFIXD_ISA
