// SplitPanels divides a product between threads: into units of some panels of weights by some blocks of rows,
// which threads take one by one. Pure; any thread.
#pragma once

#include <cstddef>

namespace prefixd::cpu {

struct PanelSplit {
  int panels_at_once, blocks_at_once;  // of a unit; the last ones may be smaller
};

// `together`: panels that the kernel multiplies by many blocks at the same time. Several threads get units of
// a multiple of them. `panel_bytes`: of the weights of a panel. Requires that all arguments are above 0.
PanelSplit SplitPanels(int panels, int together, size_t panel_bytes, int blocks, int threads);

}  // namespace prefixd::cpu
