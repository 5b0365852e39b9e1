// The tiers below device memory as the daemon makes them, for tests of engines on any backend: host memory of
// the backend, a disk tier in a store, a KvCopier where the backend has one, and threads of their own for
// loads, spills and copies. One thread owns them; they outlive the engine.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/executor.h"
#include "cache/tier_transfers.h"
#include "engine/engine.h"
#include "engine/pool_copies.h"
#include "kernels/backend.h"
#include "kernels/finite.h"
#include "storage/disk_store.h"
#include "storage/memory_store.h"

namespace prefixd::testing_support {

class EngineTiers {
 public:
  struct Options {
    KvLayout layout;
    uint32_t host_blocks = 0;  // 0: there is no host tier
    BlockKey fingerprint;      // of the engine's options
    CodecChoice codec = {};
    std::shared_ptr<BlockStore> store;  // null: a new one in memory
  };

  // Fails with the device.
  static Result<std::unique_ptr<EngineTiers>> Create(const Options& options, Backend* backend) {
    std::unique_ptr<EngineTiers> tiers(new EngineTiers(options));
    if (options.host_blocks > 0) {
      PREFIXD_ASSIGN_OR_RETURN(tiers->host_,
                               backend->AllocateHostKv(options.layout, options.host_blocks, {}));
    }
    PREFIXD_ASSIGN_OR_RETURN(tiers->copier_, backend->CreateKvCopier(options.layout));
    return tiers;
  }

  // What is on the disk. It may outlive this.
  const std::shared_ptr<BlockStore>& store() const { return store_; }
  // For Engine::Create.
  LowerTiers lower_tiers() {
    return [this](KvPool& pool, std::function<void()> wake) -> std::unique_ptr<TransferPort> {
      TierTransfers::Options transfers{.fingerprint = options_.fingerprint,
                                       .block_bytes = options_.layout.BlockBytes(),
                                       .codec = options_.codec};
      CopyFromPool(copier_.get(), &pool, &transfers);
      transfers.host_block = [this](BlockId block) {
        return std::span(host_->block(block), options_.layout.BlockBytes());
      };
      transfers.is_finite = [layout = options_.layout](std::span<const std::byte> block) {
        return AllFinite(block, layout);
      };
      transfers.wake = std::move(wake);
      transfers.clock = &clock_;
      return std::make_unique<TierTransfers>(
          std::move(transfers), store_.get(),
          TierTransfers::Executors{.loads = &loads_, .spills = &spills_, .copies = &copies_});
    };
  }

 private:
  explicit EngineTiers(const Options& options)
      : options_(options),
        store_(options.store ? options.store : std::make_shared<MemoryStore>(uint64_t{1} << 30)) {}

  const Options options_;
  const SystemClock clock_;
  const std::shared_ptr<BlockStore> store_;
  std::unique_ptr<KvPool> host_;
  std::unique_ptr<KvCopier> copier_;
  // More jobs than the cache ever starts at once, and room for deletions.
  ThreadExecutor loads_{2, 1024}, spills_{2, 1024}, copies_{2, 1024};
};

// Opens the directory of a disk tier, as a daemon that starts does. Its records are those of one fingerprint.
inline std::shared_ptr<BlockStore> OpenDisk(const std::filesystem::path& directory,
                                            const BlockKey& fingerprint, const Clock* clock) {
  auto store = DiskStore::Open(
      {.path = directory.string(), .capacity = uint64_t{1} << 28, .group = fingerprint, .clock = clock});
  PREFIXD_CHECK(store.ok()) << store.status().ToString();
  PREFIXD_CHECK((*store)->Scan([](const BlockKey&, std::string_view) { return true; }).ok());
  return std::move(*store);
}

}  // namespace prefixd::testing_support
