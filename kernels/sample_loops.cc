#include "kernels/sample_loops.h"

#define PREFIXD_ISA plain
#include "kernels/cpu/sample_loops.inl.h"

namespace prefixd {

const SampleLoops& PlainSampleLoops() {
  static constexpr SampleLoops kLoops = {plain::LargestLogits, plain::SetWeights, plain::AnyCanWin,
                                         plain::SumWeights};
  return kLoops;
}

}  // namespace prefixd
