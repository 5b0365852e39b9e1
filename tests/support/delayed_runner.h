// DelayedRunner: a runner whose steps end when a test says so, well or with an error. One thread.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "base/check.h"
#include "kernels/backend.h"
#include "kernels/host_memory.h"
#include "tests/kernels/forwarding_backend.h"

namespace prefixd::testing_support {

class DelayedRunner final : public kernel_testing::ForwardingRunner {
 public:
  // `to`, which computes on the CPU, must outlive the runner.
  explicit DelayedRunner(ModelRunner& to) : ForwardingRunner(to), to_(to) {}

  void Launch(const StepInput& input, std::function<void()> on_done) override {
    PREFIXD_CHECK(!input_) << "a step is in flight already";
    input_ = input;
    on_done_ = std::move(on_done);
    ++launches;
  }
  bool in_flight() const { return input_.has_value(); }
  bool Done() const override { return result_.has_value(); }
  Status Collect() override {
    if (!result_) End(Status::Ok());
    input_.reset();
    return *std::exchange(result_, std::nullopt);
  }
  uint64_t progress() const override { return 0; }

  // Ends the step in flight. After an error its results are nonsense, and so is the KV that it stored.
  void End(const Status& status) {
    PREFIXD_CHECK(in_flight() && !Done());
    to_.Launch(*input_, {});
    PREFIXD_CHECK(to_.Collect().ok());
    if (!status.ok()) Spoil();
    result_ = status;
    if (on_done_) on_done_();
  }

  int launches = 0;

 private:
  void Spoil() {
    for (LogitRow& row : input_->logit_rows) row.result = GeneratedToken{0, 0, {}};
    const KvLayout& layout = input_->pool->layout();
    for (const SequenceSpan& sequence : input_->batch.sequences) {
      for (int p = sequence.position; p < sequence.position + sequence.rows; ++p) {
        std::byte* block = input_->pool->block(sequence.blocks[static_cast<size_t>(p / layout.block_tokens)]);
        const size_t token = static_cast<size_t>(p % layout.block_tokens);
        const size_t tokens = static_cast<size_t>(layout.block_tokens);
        const size_t dims = static_cast<size_t>(layout.head_dim);
        for (int layer = 0; layer < layout.layers; ++layer) {
          for (int head = 0; head < layout.kv_heads; ++head) {
            for (size_t d = 0; d < dims; ++d) {
              StoreElement(block + layout.KOffset(layer, head), layout.dtype, d * tokens + token, 1e6f);
              StoreElement(block + layout.VOffset(layer, head), layout.dtype, token * dims + d, 1e6f);
            }
          }
        }
      }
    }
  }

  ModelRunner& to_;
  std::optional<StepInput> input_;
  std::function<void()> on_done_;
  std::optional<Status> result_;
};

}  // namespace prefixd::testing_support
