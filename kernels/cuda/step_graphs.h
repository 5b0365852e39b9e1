// StepGraphs: the launches of steps that decode, as graphs of CUDA: the host then gives a step to the device
// in one call, and the device begins each launch of it sooner. A graph has its params from its recording, so
// it serves steps whose arrays lie where they lay then, and up to as many rows: rows that are not there have
// no sequence (RowPlace), and units are found through a list (AttentionList).
//
// A graph is recorded by the first step that could use it. Where that fails, the launches are given to the
// stream one by one, then and from then on.
//
// Threads: one at a time.
//
// Invariants
//   1. There are at most kMost graphs. A step that needs one more frees the oldest.
//   2. A graph is freed only when no step that it was launched for is in flight: its owner uses it for one
//      step at a time.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>

#include "base/status.h"
#include "kernels/cuda/runtime.h"
#include "kernels/kv_layout.h"

namespace prefixd::cuda {

class StepGraphs {
 public:
  static constexpr size_t kMost = 32;

  // What the params of the launches depend on.
  struct Key {
    int rows = 0;
    bool teams = false;           // of units of attention
    const void* page = nullptr;   // where the arrays of the step begin
    const void* drawn = nullptr;  // results of the step before
    const void* pool = nullptr;   // its first block
    KvLayout layout;
    friend bool operator==(const Key&, const Key&) = default;
  };

  explicit StepGraphs(CudaRuntime* runtime) : runtime_(runtime) {}
  ~StepGraphs();
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // The rows of the graph that serves a step of `rows` rows, where a step has at most `most_rows`; 0: none
  // does.
  static int RowsFor(int rows, int most_rows);

  // Gives to Stream::kCompute what `enqueue` gives to it: launches and products, with params that depend on
  // nothing but the key. Returns its error, or one of the runtime.
  Status Run(const Key& key, const std::function<Status()>& enqueue);

 private:
  struct Recorded {
    Key key;
    Graph graph;
  };
  // Sets *graph. An error but kUnavailable says why there is none.
  Status Record(const std::function<Status()>& enqueue, Graph* graph);

  CudaRuntime* const runtime_;
  std::deque<Recorded> graphs_;  // the oldest first
  bool works_ = true;            // no recording has failed
};

}  // namespace prefixd::cuda
