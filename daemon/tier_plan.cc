#include "daemon/tier_plan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

#include "base/bytes.h"
#include "cache/drop_queue.h"
#include "daemon/hot_list_writer.h"
#include "daemon/limit_table.h"
#include "daemon/remote_tier.h"
#include "daemon/warm_plan.h"
#include "engine/other_models.h"
#include "storage/disk_folder.h"
#include "storage/disk_store.h"
#include "storage/known_keys.h"
#include "storage/record.h"

namespace prefixd {
namespace {

constexpr uint64_t kMostBlocks = Limit<uint64_t>("kv-blocks");

// The directory itself, or what is there already of the path to it.
std::filesystem::path ExistingPart(const std::string& dir) {
  std::error_code error;
  std::filesystem::path path = std::filesystem::absolute(dir, error);
  while (!std::filesystem::exists(path, error) && path.has_relative_path()) path = path.parent_path();
  return path;
}

// Refuses what no disk that works again would mend. Looks at what is there of the path, and makes nothing. A
// medium that fails or is read-only is no mistake: the daemon serves without it and tries again.
Status CheckDirectory(const std::string& dir) {
  const std::filesystem::path part = ExistingPart(dir);
  const auto refused = [&](const std::string& why) {
    return InvalidArgument("disk-cache-dir: '" + dir + "' cannot be used: " + part.string() + " " + why);
  };
  if (dir.starts_with("~")) {
    return InvalidArgument("disk-cache-dir: '" + dir + "' begins with ~, which only a shell replaces; give " +
                           "the whole path, or ./" + dir);
  }
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(part, error);
  if (!error && status.type() != std::filesystem::file_type::directory)
    return refused("is not a directory; give a directory, or the path of one that can be made");
  if (::faccessat(AT_FDCWD, part.c_str(), W_OK | X_OK, AT_EACCESS) != 0 &&
      (errno == EACCES || errno == EPERM)) {
    return refused("may not be written by the user with the id " + std::to_string(::geteuid()) +
                   "; give that user the permission, or another directory");
  }
  return Status::Ok();
}

// Refuses options that are given, other than their defaults, without the one that they need.
Status CheckNoneIsGiven(const Options& options, std::initializer_list<std::string_view> names,
                        const std::string& without) {
  PREFIXD_ASSIGN_OR_RETURN(const Options defaults, BuildOptions({}));
  for (const std::string_view name : names) {
    const auto is_default = [&](auto member) { return options.*member == defaults.*member; };
    if (!std::visit(is_default, FindOption(name)->member))
      return InvalidArgument(std::string(name) + " has no effect without " + without);
  }
  return Status::Ok();
}

CodecChoice CodecOf(const Options& options, KvType type) {
  if (options.disk_compression == "off") return {};
  if (options.disk_compression == "auto") return ChooseCodec(type.name());
  return {PayloadCodec::kPlanesZstd, static_cast<uint32_t>(type.element_bytes())};
}

// The capacity when the options give none: a tenth of what the file system has for the disk cache, so that
// the same is found again when the cache has filled it.
void TakeATenth(uint64_t free, uint64_t own, DiskPlan* disk) {
  const uint64_t tenth = (free + own) / 10;
  const std::string of =
      FormatSize(free + own) + (own > 0 ? " that were free at start or its own" : " that were free at start");
  disk->capacity = std::max(tenth, kMinDiskCapacity);
  disk->capacity_source = tenth >= kMinDiskCapacity
                              ? "a tenth of the " + of
                              : "the least that there is; a tenth of the " + of + " would be less";
}

Result<DiskPlan> MakeDiskPlan(const Options& options, const KvLayout& layout,
                              std::vector<std::string>* warnings) {
  DiskPlan disk;
  if (options.disk_cache_dir.empty()) {
    PREFIXD_RETURN_IF_ERROR(
        CheckNoneIsGiven(options, {"disk-cache", "disk-write-through", "disk-max-age", "disk-compression"},
                         "disk-cache-dir, which names the directory of the disk cache"));
    return disk;
  }
  PREFIXD_RETURN_IF_ERROR(CheckDirectory(options.disk_cache_dir));
  const Status usable = CheckDiskFolder(options.disk_cache_dir);
  if (usable.code() == Code::kInvalidArgument) return usable.WithContext("disk-cache-dir");
  if (!usable.ok()) warnings->push_back("disk-cache-dir: " + usable.message());
  disk.on = true;
  disk.dir = options.disk_cache_dir;
  disk.write_through = options.disk_write_through;
  disk.max_age_seconds = options.disk_max_age;
  disk.retained_percent = static_cast<int>(options.retained_share);
  disk.codec = CodecOf(options, layout.type);
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(ExistingPart(disk.dir), error);
  const uint64_t own = DiskFolderBytes(disk.dir);
  if (options.disk_cache != kAuto) {
    disk.capacity = static_cast<uint64_t>(options.disk_cache);
    disk.capacity_source = "option disk-cache";
  } else if (error) {
    return InvalidArgument("disk-cache-dir: cannot find out how much is free at '" + disk.dir +
                           "': " + error.message());
  } else {
    TakeATenth(space.available, own, &disk);
  }
  if (!error && disk.capacity > space.available + own) {
    warnings->push_back("disk-cache: " + FormatSize(disk.capacity) + " are more than the " +
                        FormatSize(space.available + own) + " that the file system of '" + disk.dir +
                        "' has for it; nothing is written while it is full: lower disk-cache, or free some");
  }
  if (RecordBytes(layout) > DiskStore::SegmentBytes(disk.capacity)) {
    return InvalidArgument("disk-cache: " + FormatSize(disk.capacity) + " (" + disk.capacity_source +
                           ") take records of at most " + FormatSize(DiskStore::SegmentBytes(disk.capacity)) +
                           ", but a block of " + std::to_string(layout.block_tokens) + " tokens takes " +
                           FormatSize(RecordBytes(layout)) + ": enlarge disk-cache or lower block-tokens");
  }
  return disk;
}

Result<RemotePlan> MakeRemotePlan(const Options& options, const KvLayout& layout) {
  RemotePlan remote;
  const TlsClientFiles files{options.remote_tls_ca, options.remote_tls_cert, options.remote_tls_key};
  const bool has_files = !(files.ca + files.certificate + files.key).empty();
  if (options.remote_cache.empty()) {
    PREFIXD_RETURN_IF_ERROR(CheckNoneIsGiven(
        options,
        {"remote-tls-ca", "remote-tls-cert", "remote-tls-key", "remote-write-rate", "remote-write-through",
         "remote-lease-seconds", "remote-max-age", "warm-start", "warm-start-seconds"},
        "remote-cache, which names the store that daemons share"));
    return remote;
  }
  Result<RedisAddress> address = ParseRedisUrl(options.remote_cache);
  if (!address.ok()) return address.status().WithContext("remote-cache");
  remote.on = true;
  remote.address = *std::move(address);
  if (has_files && !remote.address.tls)
    return InvalidArgument("remote-tls-* have no effect with redis://: give rediss:// to remote-cache");
  if (remote.address.tls) {
    Result<std::shared_ptr<const TlsClient>> tls = TlsClient::Make(files);
    if (!tls.ok()) return Status(tls.status().code(), "remote-tls-" + tls.status().message());
    remote.tls = *std::move(tls);
  }
  remote.write_rate = static_cast<uint64_t>(options.remote_write_rate);
  remote.max_age_seconds = options.remote_max_age;
  remote.write_through = options.remote_write_through;
  remote.lease_seconds = static_cast<double>(options.remote_lease_milliseconds) / 1000;
  // What is loaded at the start would be used by no request that only recomputes.
  if (options.load_policy != "recompute" && options.warm_start_seconds > 0)
    remote.warm_bytes = static_cast<uint64_t>(options.warm_start);
  remote.warm_seconds = options.warm_start_seconds;
  remote.codec = CodecOf(options, layout.type);
  return remote;
}

}  // namespace

uint64_t RecordBytes(const KvLayout& layout) {
  return kRecordHeaderBytes + static_cast<uint64_t>(layout.block_tokens) * sizeof(TokenId) +
         layout.BlockBytes();
}

Result<TierPlan> MakeTierPlan(const Options& options, const KvLayout& layout) {
  TierPlan plan;
  if (options.no_prefix_cache && (options.host_cache > 0 || !options.disk_cache_dir.empty())) {
    return InvalidArgument(std::string(options.host_cache > 0 ? "host-cache" : "disk-cache-dir") +
                           " has no effect with no-prefix-cache: leave one of them out");
  }
  if (options.no_prefix_cache && !options.remote_cache.empty())
    return InvalidArgument("remote-cache has no effect with no-prefix-cache: leave one of them out");
  const uint64_t host_blocks = static_cast<uint64_t>(options.host_cache) / layout.BlockBytes();
  if (options.host_cache > 0 && (host_blocks == 0 || host_blocks > kMostBlocks)) {
    return InvalidArgument("host-cache: " + FormatSize(static_cast<uint64_t>(options.host_cache)) + " make " +
                           std::to_string(host_blocks) + " blocks of " + FormatSize(layout.BlockBytes()) +
                           "; it takes 0, or 1 to " + std::to_string(kMostBlocks) + " blocks");
  }
  plan.host_blocks = static_cast<uint32_t>(host_blocks);
  if (options.load_policy == "load") plan.load_policy = LoadPolicy::kLoad;
  if (options.load_policy == "recompute") plan.load_policy = LoadPolicy::kRecompute;
  PREFIXD_ASSIGN_OR_RETURN(plan.disk, MakeDiskPlan(options, layout, &plan.warnings));
  PREFIXD_ASSIGN_OR_RETURN(plan.remote, MakeRemotePlan(options, layout));
  return plan;
}

uint64_t RememberedLosses(const TierPlan& plan, const KvLayout& layout, uint32_t blocks) {
  constexpr uint64_t kTurns = 4, kLeast = 1 << 15, kMost = 1 << 22;
  const uint64_t records = plan.disk.on ? plan.disk.Blocks(layout) : 0;
  return std::clamp(kTurns * (uint64_t{blocks} + plan.host_blocks + records), kLeast, kMost);
}

MemoryPlan TierMemory(const TierPlan& plan, const KvLayout& layout) {
  MemoryPlan parts;
  if (plan.host_blocks > 0) {
    parts.push_back({"host_cache_bytes", "host cache", plan.host_blocks * uint64_t{layout.BlockBytes()},
                     std::to_string(plan.host_blocks) + " KV blocks", "host-cache"});
  }
  if (plan.remote.on) {
    // What is read lies in a buffer of hiredis, in the record, and in a block on its way to the device cache.
    // What is written lies in the queue, and once more as a command.
    constexpr uint64_t kThreads = kLoadThreads + 3;
    const uint64_t token_bytes = static_cast<uint64_t>(layout.block_tokens) * sizeof(TokenId);
    const uint64_t warm =
        plan.remote.warm_bytes == 0
            ? 0
            : HotListWriter::kMostBytes + HotList::kMostBlocks * (WarmPlan::kBytesPerBlock + token_bytes);
    parts.push_back(
        {"remote_bytes", "remote cache",
         Limit<uint64_t>("remote-queue") + Limit<uint64_t>("remote-keys") * KnownKeys::kBytesPerKey +
             RemoteTier::kQuestionBytes + kThreads * ((uint64_t{2} << 20) + 3 * RecordBytes(layout)) + warm,
         "queue, known keys, questions, workers, warm start", "block-tokens"});
  }
  if (!plan.disk.on) return parts;
  // bench/store_bench measures the bytes for each record. Compression rarely halves a block.
  constexpr uint64_t kIndexBytes = 73;
  const uint64_t records = plan.disk.capacity / std::max<uint64_t>(layout.BlockBytes() / 2, 1);
  constexpr uint64_t kKeptBytes = 384;  // see KeptRecords
  const uint64_t kept = records * static_cast<uint64_t>(plan.disk.retained_percent) / 100;
  parts.push_back({"disk_index_bytes", "disk index",
                   records * kIndexBytes + kept * kKeptBytes + DropQueue::MaxMemoryBytes() +
                       OtherModels::MaxMemoryBytes(),
                   "of at most " + std::to_string(records) + " records", "disk-cache, block-tokens"});
  // The open segment, the one that is being written, and what eviction copies forward.
  constexpr uint64_t kDatabase = uint64_t{32} << 20;
  constexpr uint64_t kWorker = uint64_t{2} << 20;
  // A block on its way from or to the device cache, encoded, and in its record.
  const uint64_t workers = (kLoadThreads + kSpillThreads) * (kWorker + 3 * RecordBytes(layout));
  parts.push_back({"disk_buffer_bytes", "disk buffers",
                   3 * DiskStore::SegmentBytes(plan.disk.capacity) + kDatabase + workers,
                   "segments under way, database, workers", "disk-cache"});
  return parts;
}

}  // namespace prefixd
