// LoadBenchFolder, of a build without `model`, which needs a library for JSON.
#include "bench/bench_model.h"

namespace prefixd::bench {

Result<BenchModel> LoadBenchFolder(const std::string&, Backend&, int) {
  return Unsupported("this build reads no model folder; use --preset");
}

}  // namespace prefixd::bench
