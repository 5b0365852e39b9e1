// The engine with lower tiers that are slow: what comes back from them gives the same tokens, the engine
// thread sleeps while it waits, and what fails is computed.
#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "engine/pool_copies.h"
#include "storage/memory_store.h"
#include "tests/engine/engine_fixture.h"
#include "tests/support/rounds.h"
#include "tests/support/slow_tiers.h"

namespace prefixd {
namespace {

using testing_support::Recorder;
using testing_support::SlowTiers;

// A MemoryStore whose reads take a while, or fail.
class SlowStore final : public BlockStore {
 public:
  Result<std::string> Get(const BlockKey& key) override {
    ++reads;
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    while (hangs) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (reads_fail) return IoError("the test says so");
    Result<std::string> record = records_.Get(key);
    if (record.ok()) {
      const DecodedHead head = DecodeRecordHead(std::as_bytes(std::span(*record)));
      ++(head.head.codec == PayloadCodec::kRaw ? raw_reads : compressed_reads);
    }
    if (record.ok() && damage_every > 0 && reads % damage_every == 0) (*record)[record->size() / 2] ^= 1;
    return record;
  }
  bool Contains(const BlockKey& key) const override { return records_.Contains(key); }
  Status PutBatch(std::vector<StoreEntry> batch) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(put_delay_ms));
    return records_.PutBatch(std::move(batch));
  }
  Status Delete(const BlockKey& key) override { return records_.Delete(key); }
  Status Sync() override { return records_.Sync(); }
  Status Scan(const Visitor& visitor) override { return records_.Scan(visitor); }
  uint64_t bytes() const override { return records_.bytes(); }
  uint64_t capacity() const override { return records_.capacity(); }
  uint64_t max_record_bytes() const override { return records_.max_record_bytes(); }

  std::atomic<bool> reads_fail{false}, hangs{false};
  std::atomic<int> delay_ms{0}, put_delay_ms{0}, damage_every{0}, reads{0}, raw_reads{0}, compressed_reads{0};

 private:
  MemoryStore records_{uint64_t{1} << 30};
};

class SlowTiersTest : public EngineTest {
 protected:
  std::unique_ptr<Engine> MakeWithTiers(EngineOptions options) {
    options.disk = true;
    options.write_through = true;
    const LowerTiers lower = [&](KvPool& pool, std::function<void()> wake) {
      copier_ = *loaded_->backend->CreateKvCopier(pool.layout());
      TierTransfers::Options transfers{.fingerprint = options.fingerprint,
                                       .block_bytes = pool.layout().BlockBytes(),
                                       .codec = codec_,
                                       .wake = std::move(wake),
                                       .clock = tiers_clock_};
      CopyFromPool(copier_.get(), &pool, &transfers);
      return std::make_unique<SlowTiers>(transfers, options.host_blocks, &store_, &executor_);
    };
    auto engine = Engine::Create(options, loaded_->model.get(), loaded_->backend.get(), &clock_, lower);
    PREFIXD_CHECK(engine.ok()) << engine.status().ToString();
    return std::move(*engine);
  }

  // Runs the engine as its thread does until the requests are answered. Returns how many steps it took that
  // computed nothing.
  static int Serve(Engine& engine) {
    int empty_steps = 0;
    while (!engine.idle()) {
      if (engine.Step()) continue;
      ++empty_steps;
      engine.WaitForWork(std::chrono::seconds(10));
    }
    return empty_steps;
  }
  // Waits until no transfer runs.
  static void Settle(Engine& engine) {
    for (int i = 0; i < 100; ++i) {
      engine.Step();
      engine.WaitForWork(std::chrono::milliseconds(2));
    }
    engine.CheckInvariants();
    EXPECT_EQ(engine.Stats().blocks[0].leased, 0u);
  }
  static std::shared_ptr<Recorder> Submit(Engine& engine, const std::vector<TokenId>& prompt) {
    return testing_support::Submit(engine, Ask(prompt, 4, nullptr));
  }
  static int From(const Recorder& recorder, TokenSource source) {
    return recorder.usage.tokens[static_cast<size_t>(source)];
  }

  SlowStore store_;
  CodecChoice codec_;
  const Clock* tiers_clock_ = nullptr;  // null: that of SlowTiers
  std::unique_ptr<KvCopier> copier_;
  ThreadExecutor executor_{4, 256};
};

double ThreadCpuSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST_F(SlowTiersTest, TheEngineSleepsWhileItWaitsForATransfer) {
  EngineOptions options = Options();
  options.blocks = 17;
  options.load_policy = LoadPolicy::kLoad;
  const auto engine = MakeWithTiers(options);
  const std::vector<TokenId> prompt = Prompt(33, 1);  // four blocks of 8, and one token
  const auto cold = Submit(*engine, prompt);
  Serve(*engine);
  Settle(*engine);
  for (int other = 2; other < 8; ++other) {  // these evict it
    Submit(*engine, Prompt(100, other));
    Serve(*engine);
    Settle(*engine);
  }
  store_.delay_ms = 1000;
  store_.reads = 0;
  const double cpu = ThreadCpuSeconds();
  const auto begin = std::chrono::steady_clock::now();
  const auto warm = Submit(*engine, prompt);
  const int empty_steps = Serve(*engine);
  const double used = ThreadCpuSeconds() - cpu;
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::cout << "engine thread: " << 1000 * used << " ms of CPU in " << wall << " s (" << 100 * used / wall
            << " %), " << empty_steps << " empty steps\n";
  EXPECT_EQ(store_.reads, 4);
  EXPECT_LE(empty_steps, 2 * 4 + 2) << "it wakes once for each transfer, not again and again";
  EXPECT_EQ(From(*warm, TokenSource::kDisk), 32);
  EXPECT_EQ(From(*warm, TokenSource::kComputed), 1);
  EXPECT_TRUE(testing_support::SameTokens(warm->tokens, cold->tokens));
  engine->CheckInvariants();
}

// Each of the threads that load may have begun a read when the first one fails.
TEST_F(SlowTiersTest, ADiskThatDoesNotReadCostsAtMostAReadForEachThread) {
  ManualClock clock;
  tiers_clock_ = &clock;
  EngineOptions options = Options();
  options.blocks = 17;
  const auto engine = MakeWithTiers(options);
  const auto cold = Submit(*engine, Prompt(100, 1));  // 12 blocks of 8, and 4 tokens
  Serve(*engine);
  for (int other = 2; other < 8; ++other) {  // these evict it
    Settle(*engine);
    Submit(*engine, Prompt(100, other));
    Serve(*engine);
  }
  Settle(*engine);
  store_.reads_fail = true;
  for (int i = 0; i < 3; ++i) {
    const auto warm = Submit(*engine, Prompt(100, 1));
    Serve(*engine);
    EXPECT_TRUE(testing_support::SameTokens(warm->tokens, cold->tokens));
    EXPECT_EQ(From(*warm, TokenSource::kDisk), 0);
    Submit(*engine, Prompt(100, 2 + i));  // which the disk has as well
    Serve(*engine);
    EXPECT_GE(store_.reads, 1);
    EXPECT_LE(store_.reads, 4);
  }
  Settle(*engine);
  store_.reads_fail = false;
  store_.reads = 0;
  clock.Advance(1'000'000'000);
  const auto warm = Submit(*engine, Prompt(100, 7));
  Serve(*engine);
  EXPECT_GT(From(*warm, TokenSource::kDisk), 0);
  EXPECT_GT(store_.reads, 0);
  Settle(*engine);
}

TEST_F(SlowTiersTest, ACancelWhileATransferRunsLeavesNothingLeased) {
  EngineOptions options = Options();
  options.blocks = 17;
  const auto engine = MakeWithTiers(options);
  for (int i = 1; i < 7; ++i) {
    Submit(*engine, Prompt(100, i));
    Serve(*engine);
    Settle(*engine);
  }
  store_.delay_ms = 50;
  auto recorder = std::make_shared<Recorder>();
  const RequestId id = *engine->Submit(Ask(Prompt(100, 1), 4, recorder));
  EXPECT_FALSE(engine->Step()) << "the first block comes from the disk";
  engine->Cancel(id);
  Serve(*engine);
  EXPECT_EQ(recorder->finish, FinishReason::kCancelled);
  store_.delay_ms = 0;
  Settle(*engine);
}

TEST_F(SlowTiersTest, OtherRequestsComputeWhileOneLoads) {
  EngineOptions options = Options();
  options.blocks = 34;
  const auto engine = MakeWithTiers(options);
  for (int i = 1; i < 9; ++i) {
    Submit(*engine, Prompt(100, i));
    Serve(*engine);
    Settle(*engine);
  }
  store_.delay_ms = 200;
  const auto loads = Submit(*engine, Prompt(100, 1));
  EXPECT_FALSE(engine->Step());
  const auto computes = Submit(*engine, Prompt(30, 99));
  while (!computes->finished()) {
    if (!engine->Step()) engine->WaitForWork(std::chrono::seconds(1));
  }
  EXPECT_FALSE(loads->finished());
  Serve(*engine);
  EXPECT_GT(From(*loads, TokenSource::kDisk), 0);
}

// Loads hold a quarter of the pool, and the request needs more than the rest. Those that no thread has begun
// give their blocks back.
TEST_F(SlowTiersTest, ADiskThatHangsDoesNotKeepTheBlocksOfALargeRequest) {
  EngineOptions options = Options();
  options.blocks = 20;
  const auto engine = MakeWithTiers(options);
  for (int i = 1; i < 6; ++i) {
    Submit(*engine, Prompt(100, i));
    Serve(*engine);
    Settle(*engine);
  }
  std::vector<TokenId> prompt = Prompt(100, 1);
  const std::vector<TokenId> more = Prompt(24, 99);
  prompt.insert(prompt.end(), more.begin(), more.end());  // 16 blocks, with its answer
  store_.hangs = true;
  const auto large = Submit(*engine, prompt);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!large->finished() && std::chrono::steady_clock::now() < end) {
    if (!engine->Step()) engine->WaitForWork(std::chrono::milliseconds(10));
    clock_.Advance(100'000'000);
    engine->CheckInvariants();
  }
  EXPECT_TRUE(large->finished());
  EXPECT_EQ(From(*large, TokenSource::kDisk), 0);
  EXPECT_EQ(store_.reads, 4) << "one for each thread";
  store_.hangs = false;
  Serve(*engine);
  Settle(*engine);
}

// Spills hold blocks as well, and what is withdrawn is not written.
TEST_F(SlowTiersTest, ALargeRequestWaitsForTheSpillsOfADiskThatWorks) {
  EngineOptions options = Options();
  options.blocks = 20;
  const auto engine = MakeWithTiers(options);
  store_.put_delay_ms = 10;
  for (int i = 1; i <= 5; ++i) {
    const auto request = Submit(*engine, Prompt(124, i));  // 16 blocks, with its answer
    Serve(*engine);
    EXPECT_TRUE(request->finished());
  }
  Settle(*engine);
  EXPECT_EQ(engine->Stats()
                .transfers.errors[static_cast<size_t>(Tier::kDisk)][static_cast<size_t>(TierError::kBusy)],
            0u);
}

// Random prompt trees through a device pool that holds little of them, a host tier that holds more, and a
// disk with damaged records: the tokens and log probabilities are those of an engine without a cache.
TEST_F(SlowTiersTest, WhatComesBackGivesTheSameBits) {
  uint64_t from_host = 0, from_disk = 0, failed = 0;
  for (uint64_t seed = 1; seed <= static_cast<uint64_t>(testing_support::Rounds(16)); ++seed) {
    SCOPED_TRACE(seed);
    Prng prng(seed);
    EngineOptions options = Options();
    options.context = 64;
    options.blocks = static_cast<uint32_t>(prng.Between(9, 20));
    options.host_blocks = prng.Chance(0.5) ? static_cast<uint32_t>(prng.Between(4, 40)) : 0;
    options.fingerprint = BlockKey{seed, 0};  // so that no seed finds the records of another
    EngineOptions plain = Options();
    plain.prefix_cache = false;
    codec_ = prng.Chance(0.5) ? CodecChoice{} : CodecChoice{PayloadCodec::kPlanesZstd, 4};
    const auto tiered = MakeWithTiers(options);
    const auto bare = Make(plain);
    store_.damage_every = 7;
    std::vector<std::vector<TokenId>> prompts;
    for (int round = 0; round < 12; ++round) {
      std::vector<std::shared_ptr<Recorder>> here, there;
      for (int i = 0; i < 3; ++i) {
        std::vector<TokenId> prompt =
            Prompt(static_cast<int>(prng.Between(1, 20)), static_cast<int>(prng.Below(1000)));
        if (!prompts.empty() && prng.Chance(0.8)) {
          std::vector<TokenId> longer = prompts[prng.Below(prompts.size())];
          longer.insert(longer.end(), prompt.begin(), prompt.end());
          prompt = std::move(longer);
        }
        if (prompt.size() > 58) prompt.resize(58);
        prompts.push_back(prompt);
        here.push_back(Submit(*tiered, prompt));
        there.push_back(Submit(*bare, prompt));
      }
      Serve(*tiered);
      Serve(*bare);
      tiered->CheckInvariants();
      for (size_t i = 0; i < here.size(); ++i) {
        EXPECT_TRUE(testing_support::SameTokens(here[i]->tokens, there[i]->tokens))
            << "request " << i << " of round " << round;
        from_host += static_cast<uint64_t>(From(*here[i], TokenSource::kHost));
        from_disk += static_cast<uint64_t>(From(*here[i], TokenSource::kDisk));
        EXPECT_EQ(here[i]->usage.total(), static_cast<int>(prompts[prompts.size() - 3 + i].size()));
      }
    }
    failed += tiered->Stats().cache.loads[static_cast<size_t>(TransferResult::kCorrupt)];
  }
  EXPECT_GT(from_host, 0u);
  EXPECT_GT(from_disk, 0u);
  EXPECT_GT(failed, 0u);
  EXPECT_GT(store_.raw_reads, 0);
  EXPECT_GT(store_.compressed_reads, 0);
}

}  // namespace
}  // namespace prefixd
