// EngineTest: makes engines with small limits on a small model, and requests for them. One thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/prng.h"
#include "engine/engine.h"
#include "tests/support/engine_driver.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {

class EngineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new testing_support::TempDir();
    testing_support::WriteTinyModel(folder_->path(), 1);
    loaded_ = new testing_support::LoadedRunner(
        testing_support::LoadRunner(folder_->path(), "ref", 1, {128, 32, 4, 1}));
  }
  static void TearDownTestSuite() {
    delete loaded_;
    delete folder_;
  }

  static EngineOptions Options() {
    EngineOptions options;
    options.context = 128;
    options.max_sequences = 4;
    options.step_tokens = 32;
    options.max_queue = 8;
    options.prompt_logit_rows = 1;
    options.block_tokens = 8;
    options.blocks = 100;
    return options;
  }

  std::unique_ptr<Engine> Make(const EngineOptions& options) {
    auto engine = Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_);
    PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
    return std::move(*engine);
  }

  static Request Ask(std::vector<TokenId> prompt, int max_tokens,
                     std::shared_ptr<testing_support::Recorder> recorder) {
    Request request;
    request.prompt = std::move(prompt);
    request.sampling.max_tokens = max_tokens;
    request.sampling.temperature = 0;
    request.sampling.ignore_eos = true;
    request.listener = std::move(recorder);
    return request;
  }

  static std::vector<TokenId> Prompt(int length, int seed = 0) {
    std::vector<TokenId> prompt(length);
    Prng prng(seed);
    for (TokenId& token : prompt) token = static_cast<TokenId>(1 + prng.Below(63));
    return prompt;
  }

  static void RunToEnd(Engine& engine) {
    for (int i = 0; engine.Step(); ++i) {
      engine.CheckInvariants();
      ASSERT_LT(i, 5000);
    }
    EXPECT_TRUE(engine.idle());
    const EngineStats stats = engine.Stats();
    EXPECT_EQ(stats.blocks[0].leased, 0u);
    EXPECT_EQ(stats.blocks[0].free + stats.blocks[0].cached, engine.options().blocks);
    EXPECT_EQ(stats.running + stats.waiting, 0);
  }

  ManualClock clock_;
  inline static testing_support::TempDir* folder_ = nullptr;
  inline static testing_support::LoadedRunner* loaded_ = nullptr;
};

}  // namespace prefixd
