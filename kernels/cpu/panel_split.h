// SplitPanels divides a product between threads: into units of some panels of weights by some blocks of rows,
// which threads take one by one. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prefixd::cpu {

// Units of work for each thread: small ones, so that a thread that is descheduled delays the others little.
inline constexpr int kUnitsPerThread = 4;

// Requires n >= 0 and by > 0.
constexpr int DivideUp(int64_t n, int64_t by) { return static_cast<int>((n + by - 1) / by); }

struct PanelSplit {
  int panels_at_once, blocks_at_once;  // of a unit; the last ones may be smaller
};

// `together`: panels that the kernel multiplies by many blocks at the same time. Several threads get units of
// a multiple of them. `panel_bytes`: of the weights of a panel. Requires that all arguments are above 0.
PanelSplit SplitPanels(int panels, int together, size_t panel_bytes, int blocks, int threads);

}  // namespace prefixd::cpu
