#include "kernels/sample_loops.h"

#include "kernels/cpu/vec_plain.h"
// It uses the header above.
#include "kernels/cpu/sample_loops.inl.h"

namespace prefixd {

const SampleLoops& PlainSampleLoops() {
  static constexpr SampleLoops kLoops = {plain::LargestLogits, plain::SetWeights, plain::HalvedWords,
                                         plain::SumWeights};
  return kLoops;
}

}  // namespace prefixd
