#include "kernels/cpu/panel_split.h"

#include <algorithm>

namespace prefixd::cpu {
namespace {

// A unit of few blocks of rows covers at least this many bytes of weights (three quarters of them where they
// are compressed): it waits for memory, and the prefetchers of the hardware need long runs.
constexpr size_t kMinUnitWeightBytes = size_t{128} << 10;
constexpr int kFewBlocks = 4;

// The panels that the busiest of some threads multiplies, if all are equally fast.
int PanelsOfBusiest(int panels, int at_once, int threads) {
  const int units = DivideUp(panels, at_once), left_out = units * at_once - panels;
  const bool ends_alone = units % threads == 1;  // the last unit, which may be smaller
  return DivideUp(units, threads) * at_once - (ends_alone ? left_out : 0);
}

}  // namespace

PanelSplit SplitPanels(int panels, int together, size_t panel_bytes, int blocks, int threads) {
  if (threads == 1) return {panels, blocks};
  const auto long_run = static_cast<int>((kMinUnitWeightBytes + panel_bytes - 1) / panel_bytes);
  const bool few = blocks <= kFewBlocks;
  if (few) together = 1;  // kernels take the panels one by one then
  const int least = few ? long_run : together;
  const int wanted = threads * std::clamp(panels / (threads * least), 1, kUnitsPerThread);
  const int most = DivideUp(DivideUp(panels, wanted), together) * together;
  // Up to half as many at once may leave the busiest thread less to do.
  int best = most;
  for (int at_once = most - together; at_once >= std::max(least, most / 2); at_once -= together) {
    if (PanelsOfBusiest(panels, at_once, threads) < PanelsOfBusiest(panels, best, threads)) best = at_once;
  }
  // Fewer panels than the threads need: split by rows as well.
  const int columns = DivideUp(panels, best);
  const int units = few ? threads : threads * kUnitsPerThread;
  return {best, DivideUp(blocks, std::clamp(units / columns, 1, blocks))};
}

}  // namespace prefixd::cpu
