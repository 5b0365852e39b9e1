// The disk store on a disk that fails: the N-th operation for all N, random faults and crashes.
// PREFIXD_FAULT_SEEDS=N runs N random worlds and every operation of the fixed workload.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/log.h"
#include "base/prng.h"
#include "tests/storage/disk_store_fault_world.h"
#include "tests/support/rounds.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using testing_support::FaultRates;
using testing_support::TempDir;

// 0: the fixed number of rounds.
uint64_t SeedsWanted() {
  const char* seeds = std::getenv("PREFIXD_FAULT_SEEDS");
  return seeds == nullptr ? 0 : std::strtoull(seeds, nullptr, 10);
}

// The first seed or operation.
uint64_t FirstWanted(uint64_t otherwise) {
  const char* first = std::getenv("PREFIXD_FAULT_FIRST");
  return first == nullptr ? otherwise : std::strtoull(first, nullptr, 10);
}

class DiskStoreFault : public testing::Test {
 protected:
  void SetUp() override {
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  }
  std::string NewPath() { return folder_.path().string() + "/" + std::to_string(paths_++) + "/cache"; }
  void Remove(const std::string& path) {
    std::filesystem::remove_all(std::filesystem::path(path).parent_path());
  }

 private:
  const TempDir folder_{"/dev/shm"};
  int paths_ = 0;
};

// A store that is nearly full, of several segments, some with dead records.
class FullStore {
 public:
  explicit FullStore(const std::string& path) : path_(path) {
    DiskWorld world(path, 1, false);
    EXPECT_TRUE(world.Open());
    for (uint64_t n = 0; n < 130; ++n) world.Put(n);
    for (uint64_t n = 0; n < 30; n += 3) world.Put(n);
    for (uint64_t n = 1; n < 30; n += 3) world.Delete(n);
    EXPECT_TRUE(world.Sync().ok());
    world.Close();
    model_ = world.model();
  }
  // A world that begins with a copy of it.
  std::unique_ptr<DiskWorld> Copy(const std::string& path, uint64_t seed) const {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::filesystem::copy(path_, path, std::filesystem::copy_options::recursive);
    return std::make_unique<DiskWorld>(path, seed, false, model_);
  }

 private:
  const std::string path_;
  DiskWorld::Model model_;
};

// Every kind of call, with eviction. Ends early when the store cannot be opened. With `recover`, the faults
// end before the store is closed, if there was one by then.
void Workload(DiskWorld* world, bool recover) {
  if (!world->Open()) return;
  for (uint64_t n = 0; n < 40; n += 5) world->Get(n);
  for (uint64_t n = 200; n < 224; ++n) {
    world->Put(n);
    world->Get(n - 1);
    if (n % 4 == 0) world->Delete(n - 190);
    if (n % 5 == 0) world->Put(n - 100);
    if (n % 3 == 0) world->Keep(n, 600);
    if (n % 8 == 0) (void)world->Sync();
    if (n % 6 == 0) {
      world->clock()->Advance(DiskStore::kSegmentAgeNanos);
      (void)world->store()->Maintain();
    }
  }
  (void)world->Sync();
  (void)world->Scan();
  if (recover && world->disk()->faults() > 0) world->ExpectRecovery();
  world->Close();
  if (!world->Open()) return;
  for (uint64_t n = 0; n < 230; n += 3) world->Get(n);
}

enum class Fault { kOnce, kFullOnce, kForever, kPowerCut, kPowerCutByChance };

void Plan(testing_support::FaultyDisk* disk, Fault fault, uint64_t n) {
  switch (fault) {
    case Fault::kOnce:
      disk->FailFrom(n, 1, Code::kIo);
      break;
    case Fault::kFullOnce:
      disk->FailFrom(n, 1, Code::kResourceExhausted);
      break;
    case Fault::kForever:
    case Fault::kPowerCut:
    case Fault::kPowerCutByChance:
      disk->FailFrom(n, UINT64_MAX, Code::kIo);
      break;
  }
}

class EveryOperation : public DiskStoreFault, public testing::WithParamInterface<Fault> {};

// The N-th operation of the workload fails, or all from it on, or it is the last one before a power cut. What
// Sync acknowledged is there, the law holds, and the store works again when the faults are over.
TEST_P(EveryOperation, MayFail) {
  const FullStore full(NewPath());
  const std::string first = NewPath();
  const auto healthy = full.Copy(first, 1);
  Workload(healthy.get(), false);
  healthy->ExpectRecovery();
  const uint64_t operations = healthy->disk()->operations();
  ASSERT_GT(operations, 300u);
  healthy->Close();
  Remove(first);
  const uint64_t step = SeedsWanted() > 0 ? 1 : operations / testing_support::Rounds(24);
  uint64_t faults = 0;
  for (uint64_t n = FirstWanted(step / 2); n < operations; n += step) {
    SCOPED_TRACE("operation " + std::to_string(n));
    const std::string path = NewPath();
    const auto world = full.Copy(path, n);
    Plan(world->disk(), GetParam(), n);
    const bool crash = GetParam() == Fault::kPowerCut || GetParam() == Fault::kPowerCutByChance;
    Workload(world.get(), !crash);
    if (crash) {
      world->Crash(GetParam() == Fault::kPowerCutByChance);
    }
    faults += world->disk()->faults();
    world->disk()->Heal();
    if (world->store() == nullptr) {
      ASSERT_TRUE(world->Open());
    }
    world->ExpectRecovery();
    world->Close();
    ASSERT_TRUE(world->Open());
    world->ExpectRecovery();
    EXPECT_EQ(world->disk()->violations(), 0u);
    world->Close();
    Remove(path);
    if (HasFailure()) return;
  }
  EXPECT_GT(faults, 0u);
}

INSTANTIATE_TEST_SUITE_P(DiskStoreFault, EveryOperation,
                         testing::Values(Fault::kOnce, Fault::kFullOnce, Fault::kForever, Fault::kPowerCut,
                                         Fault::kPowerCutByChance));

// One random step of a world.
void Step(DiskWorld* world, Prng* random) {
  const uint64_t n = random->Below(200);
  const uint64_t kind = random->Below(100);
  if (kind < 45) {
    world->Put(n);
  } else if (kind < 75) {
    world->Get(n);
  } else if (kind < 80) {
    world->Delete(n);
  } else if (kind < 85) {
    world->Keep(n, random->Chance(0.5) ? 3 : 600);
  } else if (kind < 90) {
    (void)world->Sync();
  } else if (kind < 95) {
    world->clock()->Advance(DiskStore::kSegmentAgeNanos);
    (void)world->store()->Maintain();
  } else if (kind < 97) {
    (void)world->Scan();
  } else {
    world->GetAll();
  }
}

// A world with random faults, that ends and crashes now and then. In every second one reads are damaged, too.
void RunWorld(const std::string& path, uint64_t seed, uint64_t* faults) {
  Prng random(seed);
  const bool damage = seed % 2 == 0;
  DiskWorld world(path, seed, damage);
  const auto pick = [&](double most) { return random.Chance(0.5) ? most * random.Unit() : 0; };
  for (int life = 0; life < 6; ++life) {
    // The first life fills the store.
    if (life > 0) {
      world.disk()->SetRates({.io_error = pick(0.05),
                              .disk_full = pick(0.05),
                              .slow = pick(0.05),
                              .short_read = damage ? pick(0.02) : 0,
                              .flipped_bit = damage ? pick(0.02) : 0});
    }
    for (int attempt = 0; attempt < 3 && !world.Open(); ++attempt) {
    }
    for (int step = 0; step < (life == 0 ? 250 : 80) && world.store() != nullptr; ++step)
      Step(&world, &random);
    if (random.Chance(0.5)) {
      world.Crash(random.Chance(0.5));
    } else if (world.store() != nullptr) {
      if (random.Chance(0.5)) world.ExpectRecovery();
      world.Close();
    }
    if (testing::Test::HasFailure()) return;
  }
  world.disk()->Heal();
  ASSERT_TRUE(world.Open());
  world.ExpectRecovery();
  EXPECT_EQ(world.disk()->violations(), 0u);
  *faults += world.disk()->faults();
}

TEST_F(DiskStoreFault, RandomWorldsAgreeWithTheModel) {
  const uint64_t seeds = SeedsWanted() > 0 ? SeedsWanted() : testing_support::Rounds(24);
  uint64_t faults = 0;
  for (uint64_t seed = FirstWanted(1); seed < FirstWanted(1) + seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const std::string path = NewPath();
    RunWorld(path, seed, &faults);
    Remove(path);
    if (HasFailure()) return;
  }
  EXPECT_GT(faults, seeds);
}

}  // namespace
}  // namespace prefixd
