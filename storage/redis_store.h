// RedisStore: a BlockStore on a server that speaks the Redis protocol, or on a cluster of them, which other
// daemons use as well. A record lies under a name of docs/FORMAT.md. Only commands that every such server has
// are used.
//
// It differs from other stores in what follows from sharing. The server makes room, by a policy of its own:
// capacity() and bytes() are what it said last, of everything that it has, and a drop is told when a Get
// finds no record where one was known. Contains asks no server: it says what is known from the last calls,
// for a while. Find asks it. A server that is full and evicts nothing makes a Put fail with
// kResourceExhausted.
//
// Of a cluster (redis_nodes.h), a server that fails is left alone for a while: its records are missing then,
// those of the others are not. Calls for its keys fail, and Contains says no.
//
// Threads: any. No call holds the lock while it waits for a server.
//
// Invariants
//   1. No command takes longer than connect_nanos and the time of its Options, together, whatever servers do.
//      A call sends one after the other: a Get at most three, a Find those of its parts, AskUsage one to each
//      server. A Scan asks for no page after scan_nanos.
//   2. A reply never takes more memory than a record of max_record_bytes, twice, or a page of a scan.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "storage/block_store.h"
#include "storage/known_keys.h"
#include "storage/redis_address.h"
#include "storage/redis_nodes.h"

namespace prefixd {

struct RedisStoreOptions {
  RedisAddress address;
  std::shared_ptr<const TlsClient> tls;  // of an address with TLS
  BlockKey fingerprint;                  // of the model
  const Clock* clock = nullptr;
  uint64_t max_record_bytes = uint64_t{64} << 20;
  int64_t max_age_seconds = 0;  // after which the server drops a record; 0: it does not
  size_t known_keys = 1 << 16;
  // For how long a key counts as there, or as not there, after the server has said so.
  int64_t present_nanos = 600'000'000'000;
  int64_t absent_nanos = 2'000'000'000;
  // The longest times for connecting, for a look whether records are there, and for any other call, which
  // has some more for each byte of a record.
  int64_t connect_nanos = 250'000'000;
  int64_t find_nanos = 250'000'000;
  int64_t call_nanos = 500'000'000;
  int64_t nanos_per_byte = 60;  // 16 MB per second
  int64_t scan_nanos = 600'000'000'000;
  DropListener on_drop;  // may be empty
};

class RedisStore final : public BlockStore {
 public:
  explicit RedisStore(RedisStoreOptions options);
  ~RedisStore() override;

  // kIo: the server does not answer, or not as it should. kUnavailable: there is no connection.
  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override;
  Status PutBatch(std::vector<StoreEntry> batch) override;
  Status Delete(const BlockKey& key) override;
  Status Sync() override { return Status::Ok(); }
  Status Scan(const Visitor& visitor) override { return ScanUntil(visitor, nullptr); }
  // Scan that ends with kCancelled when `stop` is true; it may be null. Holds all keys of the model that the
  // servers have, at most kMostScanned, in addition to a page of heads: kResourceExhausted when there are
  // more, or the time is up. Scans the other servers of a cluster when one fails, and then returns its error.
  Status ScanUntil(const Visitor& visitor, const std::atomic<bool>* stop);
  static constexpr size_t kMostScanned = 1 << 22;
  // Of all servers together.
  uint64_t bytes() const override { return bytes_; }
  // UINT64_MAX: a server has no limit, or has not been asked yet.
  uint64_t capacity() const override { return capacity_; }
  uint64_t max_record_bytes() const override { return options_.max_record_bytes; }

  // What is known of the key; nothing: Find would ask.
  std::optional<bool> Knows(const BlockKey& key) const;
  // Asks for the keys that are not known, or not known to be there, in growing parts, up to the first one
  // that has no record. Knows says what it found.
  enum class FindAbsent { kNo, kAgain };
  Status Find(std::span<const BlockKey> keys, FindAbsent absent = FindAbsent::kNo);
  // Small values that daemons leave for each other, see docs/FORMAT.md (redis_marks.cc). Each call sends one
  // command, or two, for each mark, all at once.
  struct Mark {
    std::string_view kind;  // "lease"
    BlockKey key;
    std::string value;
  };
  enum class SetMark { kAlways, kIfAbsent, kIfPresent };
  // Sets them for so many milliseconds. Returns the values that are there then; empty: none.
  Result<std::vector<std::string>> SetMarks(std::span<const Mark> marks, SetMark when, int64_t millis);
  // Returns the values that are there; empty: none.
  Result<std::vector<std::string>> GetMarks(std::span<const Mark> marks);
  Status DeleteMarks(std::span<const Mark> marks);

  // Whether the server of the key has failed, and is left alone while others work.
  bool IsLeftAlone(const BlockKey& key) const;
  // Whether servers of a cluster fail, and others work.
  bool WorksInPart() const { return nodes_.WorksInPart(); }
  // Asks the servers how much they hold, and how much they may.
  Status AskUsage();
  // Asks the server, or one of a cluster, how many bytes it has received and sent since its start.
  // kUnsupported: it does not say.
  struct Traffic {
    uint64_t received = 0, sent = 0;
  };
  Result<Traffic> AskTraffic();
  // Writes a value of so many bytes, which the server drops soon, and returns the seconds to read it.
  Result<double> ProbeRead(uint64_t bytes);

  // The first `bytes` bytes of the record of each key, or all of a shorter one; empty where there is none.
  Result<std::vector<std::string>> GetHeads(std::span<const BlockKey> keys, size_t bytes);
  // The value of the fleet's hot list (hot_list.h), or its first most_bytes + 1 bytes; kNotFound: there is
  // none, kCorrupt: it is no text. The server forgets it a month after the last PutHotList.
  Result<std::string> GetHotList(size_t most_bytes);
  Status PutHotList(std::string_view value);

 private:
  using Command = RedisCommand;
  struct ScanState;
  // See RedisNodes::Call: the second word of a command is its key.
  Result<std::vector<RedisReply>> Call(std::span<const Command> commands, size_t most_bytes, int64_t nanos) {
    return nodes_.Call(commands, most_bytes, nanos);
  }
  Result<RedisReply> CallOne(const Command& command, size_t most_bytes, int64_t nanos);
  void Note(const BlockKey& key, bool present);
  uint64_t Turn() const;
  // See KnownKeys::NoteAnswer.
  bool NoteAnswer(const BlockKey& key, bool present, uint64_t asked);
  int64_t KnownUntil(bool present) const;
  Status PutOne(const StoreEntry& entry);
  Status ScanServer(RedisNodes::Node& server, ScanState* scan);
  // Replaces `cursor`, which is "0" at the end. `keys`: those that no page had.
  Status ScanPage(RedisNodes::Node& server, ScanState* scan, std::string* cursor,
                  std::vector<BlockKey>* keys);
  Status VisitPage(const std::vector<BlockKey>& keys, ScanState* scan);
  int64_t NanosFor(uint64_t bytes) const {
    return options_.call_nanos + static_cast<int64_t>(bytes) * options_.nanos_per_byte;
  }
  std::string Name(const BlockKey& key) const { return prefix_ + ToHex(key); }
  std::string Name(const Mark& mark) const;
  Result<std::vector<RedisReply>> CallForMarks(std::span<const Command> commands);
  std::string HotListName() const;

  const RedisStoreOptions options_;
  const std::string prefix_;  // of the names of records
  RedisNodes nodes_;
  mutable Mutex mutex_;
  KnownKeys known_ GUARDED_BY(mutex_);
  std::atomic<uint64_t> bytes_{0}, capacity_{UINT64_MAX};
};

}  // namespace prefixd
