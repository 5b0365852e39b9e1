#include "kernels/cuda/step_graphs.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace prefixd::cuda {
namespace {

// Rows that are not there cost little: a product of so few rows takes the time of its weights.
constexpr int kRows[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256};

}  // namespace

StepGraphs::~StepGraphs() {
  for (const Recorded& recorded : graphs_) runtime_->FreeGraph(recorded.graph);
}

int StepGraphs::RowsFor(int rows, int most_rows) {
  const auto* const found = std::ranges::lower_bound(kRows, rows);
  if (found == std::end(kRows) || rows > most_rows) return 0;
  return std::min(*found, most_rows);
}

Status StepGraphs::Record(const std::function<Status()>& enqueue, Graph* graph) {
  PREFIXD_RETURN_IF_ERROR(runtime_->BeginCapture(Stream::kCompute));
  const Status enqueued = enqueue();
  Result<Graph> recorded = runtime_->EndCapture(Stream::kCompute);
  if (enqueued.ok() && recorded.ok()) {
    *graph = *recorded;
    return Status::Ok();
  }
  if (recorded.ok()) runtime_->FreeGraph(*recorded);
  // What the device says last is what counts.
  if (recorded.status().code() == Code::kUnavailable || enqueued.ok()) return recorded.status();
  return enqueued;
}

Status StepGraphs::Run(const Key& key, const std::function<Status()>& enqueue) {
  const auto found = std::ranges::find(graphs_, key, &Recorded::key);
  if (found != graphs_.end()) return runtime_->LaunchGraph(Stream::kCompute, found->graph);
  if (!works_) return enqueue();
  if (graphs_.size() == kMost) {
    runtime_->FreeGraph(graphs_.front().graph);
    graphs_.pop_front();
  }
  Graph graph;
  const Status recorded = Record(enqueue, &graph);
  if (recorded.code() == Code::kUnavailable) return recorded;
  if (!recorded.ok()) {
    Log(LogLevel::kWarning, "steps have no graph; each launch is given to the device alone",
        {{"reason", recorded.message()}});
    works_ = false;
    return enqueue();
  }
  graphs_.push_back({key, graph});
  return runtime_->LaunchGraph(Stream::kCompute, graph);
}

}  // namespace prefixd::cuda
