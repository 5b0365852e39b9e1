// Faults of an emulated device under an engine with lower tiers: every call for memory finds none, once, and
// the device is lost with every call and after every piece of work. Every request ends, with its tokens or
// with the error; no token is wrong, and nothing leaks, for which the emulation looks when it is destroyed.
// Half of the engines wait for each step, the others have two in flight.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/prng.h"
#include "tests/engine/cuda_machine.h"
#include "tests/engine/engine_tiers.h"
#include "tests/support/rounds.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace prefixd {
namespace {

using cuda_emulation::EmulatedRuntime;
using testing_support::EngineTiers;
using testing_support::LoadedRunner;
using testing_support::Recorder;

constexpr int kContext = 24, kBlockTokens = 4, kVocab = 256;
// Every test takes its share of the calls, so that none takes long.
constexpr int kShards = 4;

cuda_emulation::EmulatedOptions CudaOptions(uint64_t seed) {
  return {.seed = seed + 1, .exact_products = false, .late_copies = seed % 2 == 0};
}

std::vector<TokenId> Prompt(int length, uint64_t seed) {
  std::vector<TokenId> prompt(static_cast<size_t>(length));
  Prng prng(seed);
  for (TokenId& token : prompt) token = static_cast<TokenId>(prng.Below(kVocab));
  return prompt;
}

Request Ask(std::vector<TokenId> prompt, uint64_t seed) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = 2;
  request.sampling.temperature = 0.8f;
  request.sampling.seed = seed;
  request.sampling.ignore_eos = true;
  // More than there is room for from the start: the step allocates.
  request.sampling.logprobs = 9;
  for (TokenId token = 0; token < kVocab; ++token)
    request.sampling.logit_bias.push_back({token, 0.01f * static_cast<float>(token % 7)});
  return request;
}

// In order; those of a group run together. The second continues a part of the first, within a block; the
// others push both out of the device, and the first comes back from below.
std::vector<std::vector<Request>> Groups() {
  const std::vector<TokenId> first = Prompt(14, 1);
  std::vector<TokenId> second(first.begin(), first.begin() + 10);
  second.push_back((first[10] + 1) % kVocab);
  return {{Ask(first, 1)}, {Ask(second, 2), Ask(Prompt(15, 3), 3)}, {Ask(Prompt(20, 4), 4)}, {Ask(first, 5)}};
}
size_t Count() {
  size_t count = 0;
  for (const auto& group : Groups()) count += group.size();
  return count;
}

struct Outcome {
  Status created;                                    // the model, the tiers and the engine
  std::vector<std::shared_ptr<Recorder>> recorders;  // by request
  EngineStats stats;
  uint64_t loading_memory_calls = 0;               // of the device, until the engine is there
  uint64_t calls = 0, memory_calls = 0, work = 0;  // until all requests have ended
  bool was_lost = false;                           // when `after` was asked
  Recorder after;
};

void RunToEnd(Engine& engine, bool ahead) {
  for (int turns = 0; !engine.idle(); ++turns) {
    PREFIXD_CHECK(turns < 2000) << "a request does not end";
    if (!(ahead ? engine.Advance() : engine.Step())) engine.WaitForWork(std::chrono::seconds(1));
    engine.CheckInvariants();
  }
  for (int turns = 0; engine.Stats().blocks[0].leased + engine.Stats().blocks[1].leased > 0; ++turns) {
    PREFIXD_CHECK(turns < 2000) << "a step or a transfer does not end";
    engine.WaitForWork(std::chrono::milliseconds(10));
    engine.Advance();
  }
  engine.CheckInvariants();
}

// Loads a model on the device and serves the requests.
Outcome Serve(EmulatedRuntime& runtime, const std::filesystem::path& folder, bool ahead) {
  Outcome outcome;
  Result<LoadedRunner> loaded =
      testing_support::TryLoadRunner(folder, cuda::CreateCudaBackend(&runtime), {kContext, 8, 2, 1});
  outcome.created = loaded.status();
  if (!loaded.ok()) return outcome;
  EngineOptions options;
  options.context = kContext;
  options.max_sequences = 2;
  options.step_tokens = 8;
  options.prompt_logit_rows = 1;
  options.block_tokens = kBlockTokens;
  options.blocks = 9;
  options.host_blocks = 3;
  options.disk = true;
  options.write_through = true;
  options.load_policy = LoadPolicy::kLoad;
  const auto tiers = EngineTiers::Create({.layout = loaded->model->shape().Kv(kBlockTokens, options.kv_dtype),
                                          .host_blocks = options.host_blocks},
                                         loaded->backend.get());
  outcome.created = tiers.status();
  if (!tiers.ok()) return outcome;
  const SystemClock clock;
  const auto engine =
      Engine::Create(options, loaded->model.get(), loaded->backend.get(), &clock, (*tiers)->lower_tiers());
  outcome.created = engine.status();
  if (!engine.ok()) return outcome;
  outcome.loading_memory_calls = runtime.memory_calls();
  for (const std::vector<Request>& group : Groups()) {
    for (Request request : group) {
      outcome.recorders.push_back(std::make_shared<Recorder>());
      request.listener = outcome.recorders.back();
      PREFIXD_CHECK((*engine)->Submit(std::move(request)).ok());
    }
    RunToEnd(**engine, ahead);
  }
  outcome.stats = (*engine)->Stats();
  outcome.calls = runtime.calls();
  outcome.memory_calls = runtime.memory_calls();
  outcome.work = runtime.work();
  outcome.was_lost = runtime.lost();
  const auto after = std::make_shared<Recorder>();
  Request request = Ask(Prompt(14, 1), 6);
  request.listener = after;
  PREFIXD_CHECK((*engine)->Submit(std::move(request)).ok());
  RunToEnd(**engine, ahead);
  outcome.after = *after;
  return outcome;
}

class CudaFaults : public testing::TestWithParam<int> {
 protected:
  CudaFaults() {
    // A line for each failed step would hide what a test says.
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
    testing_support::WriteTinyModel(
        folder_.path(), 1,
        {.hidden = 16, .heads = 2, .kv_heads = 1, .head_dim = 8, .intermediate = 16, .vocab = kVocab});
    EmulatedRuntime runtime(CudaOptions(0));
    expected_ = Serve(runtime, folder_.path(), ahead());
    PREFIXD_CHECK(expected_.created.ok() && expected_.recorders.size() == Count());
    for (const auto& recorder : expected_.recorders) PREFIXD_CHECK(recorder->finish == FinishReason::kLength);
  }
  static bool ahead() { return GetParam() % 2 == 1; }
  // Runs with a fault. Returns how many requests have ended with an error; all of them, if none was taken.
  size_t Check(Code code, uint64_t number, void (*arm)(EmulatedRuntime&, uint64_t)) const {
    SCOPED_TRACE(number);
    EmulatedRuntime runtime(CudaOptions(number));
    arm(runtime, number);
    const Outcome got = Serve(runtime, folder_.path(), ahead());
    if (!got.created.ok()) {
      EXPECT_EQ(got.created.code(), code) << got.created.ToString();
      return Count();
    }
    EXPECT_EQ(got.recorders.size(), Count());
    size_t errors = 0;
    for (size_t i = 0; i < got.recorders.size(); ++i) {
      const Recorder& recorder = *got.recorders[i];
      std::vector<GeneratedToken> tokens = expected_.recorders[i]->tokens;
      if (recorder.finish == FinishReason::kError) {
        ++errors;
        EXPECT_EQ(recorder.error.code(), code) << recorder.error.ToString();
        EXPECT_LT(recorder.tokens.size(), tokens.size());
        tokens.resize(std::min(tokens.size(), recorder.tokens.size()));
      } else {
        EXPECT_EQ(recorder.finish, FinishReason::kLength);
      }
      EXPECT_TRUE(testing_support::SameTokens(tokens, recorder.tokens)) << "request " << i;
    }
    if (code == Code::kResourceExhausted) {
      EXPECT_FALSE(got.was_lost);
      EXPECT_LE(got.stats.failed_steps, 1u);
    }
    if (got.was_lost) {
      EXPECT_EQ(got.after.error.code(), Code::kUnavailable);
      EXPECT_TRUE(got.after.tokens.empty());
    } else {
      EXPECT_TRUE(runtime.lost() || testing_support::SameTokens(got.after.tokens, expected_.after.tokens));
    }
    return errors;
  }
  // Checks this test's share of the numbers below `end`.
  std::vector<size_t> CheckAll(Code code, uint64_t end, void (*arm)(EmulatedRuntime&, uint64_t)) const {
    std::vector<size_t> errors;
    const int stride = kShards * (testing_support::kSanitized ? 8 : 1);
    for (auto number = static_cast<uint64_t>(GetParam()); number < end; number += stride) {
      errors.push_back(Check(code, number, arm));
      if (HasFailure()) break;
    }
    return errors;
  }

  const testing_support::TempDir folder_;
  Outcome expected_;
};

TEST_P(CudaFaults, TheRunMeetsAllOfTheBackend) {
  const EngineStats& stats = expected_.stats;
  EXPECT_EQ(stats.steps_ahead > 0, ahead());
  EXPECT_GT(stats.cache.partial_copies, 0u);
  EXPECT_GT(stats.cache.evicted_blocks[0], 0u);
  EXPECT_GT(stats.cache.loads[static_cast<size_t>(TransferResult::kOk)], 0u);
  EXPECT_GT(stats.transfers.written_bytes[static_cast<size_t>(Tier::kDisk)], 0u);
  EXPECT_GT(stats.transfers.written_bytes[static_cast<size_t>(Tier::kHost)], 0u);
  EXPECT_GE(expected_.memory_calls - expected_.loading_memory_calls, 2u) << "for more results";
  RecordProperty("calls", std::to_string(expected_.calls));
  RecordProperty("calls for memory", std::to_string(expected_.memory_calls));
  RecordProperty("pieces of work", std::to_string(expected_.work));
}

TEST_P(CudaFaults, NoMemoryForACall) {
  const auto errors =
      CheckAll(Code::kResourceExhausted, expected_.memory_calls,
               [](EmulatedRuntime& device, uint64_t n) { device.FailFrom(n, Code::kResourceExhausted); });
  EXPECT_TRUE(std::ranges::count(errors, Count()) > 0) << "a model is not loaded";
  if (!testing_support::kSanitized && GetParam() == 0) {
    // The last calls are those of steps.
    EXPECT_GT(
        Check(Code::kResourceExhausted, expected_.memory_calls - 1,
              [](EmulatedRuntime& device, uint64_t n) { device.FailFrom(n, Code::kResourceExhausted); }),
        0u);
  }
}

TEST_P(CudaFaults, ADeviceThatIsLostWithACall) {
  const auto errors = CheckAll(Code::kUnavailable, expected_.calls, [](EmulatedRuntime& device, uint64_t n) {
    device.FailFrom(n, Code::kUnavailable);
  });
  EXPECT_GT(std::ranges::count_if(errors, [](size_t n) { return n > 0 && n < Count(); }), 0);
}

TEST_P(CudaFaults, ADeviceThatIsLostWhileItWorks) {
  const auto errors = CheckAll(Code::kUnavailable, expected_.work,
                               [](EmulatedRuntime& device, uint64_t n) { device.LoseAfter(n + 1); });
  EXPECT_GT(std::ranges::count_if(errors, [](size_t n) { return n > 0 && n < Count(); }), 0);
}

// One step that needs all the memory a step may need: for a larger page, more results, and all logits, which
// the engine never asks for.
class CudaStepFaults : public testing::Test {
 protected:
  CudaStepFaults() { testing_support::WriteTinyModel(folder_.path(), 1); }

  struct Step {
    Status status;
    std::vector<float> logits;
    std::vector<GeneratedToken> tokens;
  };
  static Step Run(ModelRunner& model, KvPool& pool) {
    const std::vector<TokenId> prompt = {5, 6, 7}, banned(500000, 3);
    const BlockId block = 0;
    const SequenceSpan span{0, 3, 0, std::span(&block, 1)};
    std::vector<LogitRow> rows(3);
    for (int i = 0; i < 3; ++i) rows[static_cast<size_t>(i)] = {.row = i, .given = 0, .logprobs = 64};
    rows[2].given = -1;
    rows[2].draw.banned = banned;
    Step step;
    step.logits.assign(3 * 64, -1.0f);
    model.Launch({{prompt, std::span(&span, 1)}, rows, &pool, step.logits.data()}, {});
    step.status = model.Collect();
    for (const LogitRow& row : rows) step.tokens.push_back(row.result);
    return step;
  }
  // Runs the step twice, and fails its call `number`, if there is one. Returns both, and how many calls the
  // first one made.
  std::pair<std::array<Step, 2>, uint64_t> RunTwice(Code code, uint64_t number) const {
    EmulatedRuntime runtime(CudaOptions(number));
    const LoadedRunner loaded =
        *testing_support::TryLoadRunner(folder_.path(), cuda::CreateCudaBackend(&runtime), {16, 4, 4, 1});
    const auto pool = *loaded.backend->AllocateKv(loaded.model->shape().Kv(4, DType::kF32), 1);
    const auto calls = [&] {
      return code == Code::kResourceExhausted ? runtime.memory_calls() : runtime.calls();
    };
    const uint64_t before = calls();
    runtime.FailFrom(before + number, code);
    Step first = Run(*loaded.model, *pool);
    const uint64_t made = calls() - before;
    return {{std::move(first), Run(*loaded.model, *pool)}, made};
  }
  static void ExpectSame(const Step& got, const Step& expected) {
    EXPECT_TRUE(got.status.ok()) << got.status.ToString();
    EXPECT_EQ(got.logits, expected.logits);
    EXPECT_TRUE(testing_support::SameTokens(got.tokens, expected.tokens));
  }

  static constexpr uint64_t kNever = uint64_t{1} << 40;
  const testing_support::TempDir folder_;
};

TEST_F(CudaStepFaults, TheNextStepHasAllItsMemory) {
  const auto [expected, calls] = RunTwice(Code::kResourceExhausted, kNever);
  EXPECT_EQ(calls, 5u) << "page and results, on the device and on the host, and the logits on the host";
  ExpectSame(expected[0], expected[1]);
  for (uint64_t number = 0; number < calls; ++number) {
    SCOPED_TRACE(number);
    const auto [got, made] = RunTwice(Code::kResourceExhausted, number);
    EXPECT_EQ(made, number + 1) << "it ends with the failure";
    EXPECT_EQ(got[0].status.code(), Code::kResourceExhausted);
    ExpectSame(got[1], expected[0]);
  }
}

TEST_F(CudaStepFaults, ADeviceThatIsLostStaysLost) {
  const auto [expected, calls] = RunTwice(Code::kUnavailable, kNever);
  EXPECT_GT(calls, 30u);
  for (uint64_t number = 0; number < calls; ++number) {
    const auto [got, made] = RunTwice(Code::kUnavailable, number);
    EXPECT_EQ(got[0].status.code(), Code::kUnavailable) << number;
    EXPECT_EQ(got[1].status.code(), Code::kUnavailable) << number;
  }
}

// It has no way to say that it found none.
TEST_F(CudaStepFaults, AnUploadNeedsNoMemory) {
  EmulatedRuntime runtime(CudaOptions(0));
  const auto backend = cuda::CreateCudaBackend(&runtime);
  const auto buffer = *backend->Allocate(64);
  const std::vector<std::byte> bytes(64, std::byte{7});
  const uint64_t before = runtime.memory_calls();
  backend->Upload(*buffer, 0, bytes);
  EXPECT_EQ(runtime.memory_calls(), before);
}

INSTANTIATE_TEST_SUITE_P(Shards, CudaFaults, testing::Range(0, kShards));

}  // namespace
}  // namespace prefixd
