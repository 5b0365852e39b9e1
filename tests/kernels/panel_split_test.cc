// How a product is divided between threads: every part once, in units that leave no thread much behind.
#include "kernels/cpu/panel_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace prefixd::cpu {
namespace {

constexpr size_t kPanelBytes = 9792;  // q8_0, 576 columns

int DivideUp(int n, int by) { return (n + by - 1) / by; }

// The panels of each thread, if all are equally fast.
std::vector<int> PanelsOfThreads(int panels, const PanelSplit& split, int threads) {
  std::vector<int> done(static_cast<size_t>(threads));
  for (int first = 0; first < panels; first += split.panels_at_once)
    *std::min_element(done.begin(), done.end()) += std::min(split.panels_at_once, panels - first);
  return done;
}

TEST(SplitPanels, UnitsHaveWhatIsMultipliedTogether) {
  for (int panels = 1; panels <= 200; ++panels) {
    for (const int together : {1, 2, 3}) {
      for (const int blocks : {1, 2, 43, 86}) {
        for (const int threads : {1, 2, 3, 8, 64}) {
          const PanelSplit split = SplitPanels(panels, together, kPanelBytes, blocks, threads);
          ASSERT_GE(split.panels_at_once, 1);
          ASSERT_GE(split.blocks_at_once, 1);
          ASSERT_LE(split.blocks_at_once, blocks);
          if (threads > 1 && blocks > 4) {
            ASSERT_EQ(split.panels_at_once % together, 0) << panels << " panels, " << threads << " threads";
          }
        }
      }
    }
  }
}

TEST(SplitPanels, ManyRowsOfTheMatricesOfALlamaLeaveNoThreadBehind) {
  for (const int panels : {36, 60, 192}) {  // o and down, qkv, gate and up of llama-135m, in q8_0
    const PanelSplit split = SplitPanels(panels, 2, kPanelBytes, 86, 2);
    EXPECT_EQ(PanelsOfThreads(panels, split, 2), std::vector<int>(2, panels / 2)) << panels;
    EXPECT_GE(DivideUp(panels, split.panels_at_once), 6) << panels;  // a slow thread takes fewer
    EXPECT_EQ(split.blocks_at_once, 86);
  }
}

TEST(SplitPanels, FewRowsReadLongRunsOfWeights) {
  for (const int blocks : {1, 4}) {
    for (const int panels : {36, 60, 192, 2000}) {
      const PanelSplit split = SplitPanels(panels, 2, kPanelBytes, blocks, 2);
      EXPECT_GE(split.panels_at_once * kPanelBytes, size_t{128} << 10) << panels;
      EXPECT_LE(PanelsOfThreads(panels, split, 2)[0], DivideUp(panels, 2) + 2) << panels;
      EXPECT_EQ(split.blocks_at_once, blocks);
    }
  }
}

TEST(SplitPanels, FewRowsAreSharedAmongManyThreads) {
  for (const int threads : {8, 12, 16, 24}) {
    for (const int panels : {36, 60, 192}) {
      const PanelSplit split = SplitPanels(panels, 2, kPanelBytes, 1, threads);
      const std::vector<int> of_threads = PanelsOfThreads(panels, split, threads);
      EXPECT_EQ(*std::max_element(of_threads.begin(), of_threads.end()), DivideUp(panels, threads))
          << panels << " panels, " << threads << " threads";
    }
  }
}

TEST(SplitPanels, FewPanelsAreSplitByRowsAsWell) {
  const PanelSplit split = SplitPanels(2, 1, kPanelBytes, 40, 4);
  EXPECT_EQ(split.panels_at_once, 1);
  EXPECT_EQ(split.blocks_at_once, 5);
}

}  // namespace
}  // namespace prefixd::cpu
