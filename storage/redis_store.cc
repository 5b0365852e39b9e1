#include "storage/redis_store.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace prefixd {
namespace {

constexpr size_t kSmallReply = 16 << 10;
constexpr size_t kFirstLook = 8;  // keys; each further look is for 8 times as many
constexpr size_t kLongestLook = 512;
constexpr size_t kPageReply = 1 << 20;
constexpr std::string_view kKeysOfAPage = "256";
constexpr size_t kHeadReply = kRecordHeaderBytes + 64;

Status WrongReply() { return IoError("the store answers with what was not asked for"); }

// What an error of the server means. Its text is not passed on: it may have anything.
Status ErrorOf(const RedisReply& reply) {
  const std::string word = reply.text.substr(0, reply.text.find(' '));
  if (word == "OOM") return ResourceExhausted("the store is full, and evicts nothing");
  if (word == "NOAUTH" || word == "NOPERM" || word == "WRONGPASS")
    return Unavailable("the store refuses the command: " + word + "; give a user that may read and write " +
                       "the keys prefixd:*");
  if (word == "WRONGTYPE") return Corrupt("the store has something else under the name of a record");
  if (word == "MOVED" || word == "ASK") return Unavailable("the store is a cluster, which is not supported");
  const bool is_word = std::ranges::all_of(word, [](char c) { return c >= 'A' && c <= 'Z'; });
  return IoError("the store answers with an error" + (is_word ? ": " + word.substr(0, 20) : ""));
}

std::optional<BlockKey> ParseKey(std::string_view hex) {
  BlockKey key;
  const auto read = [](std::string_view digits, uint64_t* number) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *number, 16);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (hex.size() != 32 || !read(hex.substr(0, 16), &key.high) || !read(hex.substr(16), &key.low))
    return std::nullopt;
  return key;
}

// The number of a line `name:NUMBER` of INFO.
std::optional<uint64_t> FieldOf(std::string_view info, std::string_view name) {
  const std::string line = "\n" + std::string(name) + ":";
  const size_t at = info.find(line);
  if (at == std::string_view::npos) return std::nullopt;
  uint64_t number = 0;
  const char* const begin = info.data() + at + line.size();
  if (std::from_chars(begin, info.data() + info.size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

}  // namespace

RedisStore::RedisStore(RedisStoreOptions options)
    : options_(std::move(options)),
      prefix_("prefixd:1:" + ToHex(options_.fingerprint).substr(0, 16) + ":"),
      known_(options_.known_keys) {
  PREFIXD_CHECK(options_.clock != nullptr);
}

RedisStore::~RedisStore() = default;

// --- Connections ---

Result<std::unique_ptr<RedisConnection>> RedisStore::TakeConnection() {
  {
    MutexLock lock(mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<RedisConnection> connection = std::move(idle_.back());
      idle_.pop_back();
      if (connection->IsUsable()) return connection;
    }
  }
  return RedisConnection::Open(options_.address, options_.clock,
                               options_.clock->NowNanos() + options_.connect_nanos);
}

Result<std::vector<RedisReply>> RedisStore::Call(std::span<const Command> commands, size_t most_bytes,
                                                 int64_t nanos) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<RedisConnection> connection, TakeConnection());
  Result<std::vector<RedisReply>> replies =
      connection->Call(commands, most_bytes, options_.clock->NowNanos() + nanos);
  std::vector<std::unique_ptr<RedisConnection>> closed;  // after the lock
  MutexLock lock(mutex_);
  if (replies.ok()) {
    idle_.push_back(std::move(connection));
  } else {
    closed.swap(idle_);
  }
  return replies;
}

Result<RedisReply> RedisStore::CallOne(const Command& command, size_t most_bytes, int64_t nanos) {
  PREFIXD_ASSIGN_OR_RETURN(std::vector<RedisReply> replies, Call(std::span(&command, 1), most_bytes, nanos));
  if (replies.front().kind == RedisReply::Kind::kError) return ErrorOf(replies.front());
  return std::move(replies.front());
}

// --- What is known ---

void RedisStore::Note(const BlockKey& key, bool present) {
  const int64_t now = options_.clock->NowNanos();
  MutexLock lock(mutex_);
  known_.Note(key, present, now + (present ? options_.present_nanos : options_.absent_nanos));
}

std::optional<bool> RedisStore::Knows(const BlockKey& key) const {
  const int64_t now = options_.clock->NowNanos();
  MutexLock lock(mutex_);
  return known_.Find(key, now);
}

bool RedisStore::Contains(const BlockKey& key) const { return Knows(key).value_or(false); }

Status RedisStore::Find(std::span<const BlockKey> keys, FindAbsent absent) {
  size_t part = kFirstLook;
  size_t asked = 0;
  for (size_t at = 0; at < keys.size();) {
    const std::optional<bool> known = Knows(keys[at]);
    if (known == false && (absent == FindAbsent::kNo || at < asked)) return Status::Ok();
    if (known == true) {
      ++at;
      continue;
    }
    const size_t end = std::min(keys.size(), at + part);
    std::vector<std::string> names;
    std::vector<Command> commands;
    for (size_t i = at; i < end; ++i) names.push_back(Name(keys[i]));
    for (const std::string& name : names) commands.push_back({"EXISTS", name});
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies,
                             Call(commands, kSmallReply, options_.find_nanos));
    for (size_t i = at; i < end; ++i) {
      const RedisReply& reply = replies[i - at];
      if (reply.kind == RedisReply::Kind::kError) return ErrorOf(reply);
      if (reply.kind != RedisReply::Kind::kInteger) return WrongReply();
      Note(keys[i], reply.integer > 0);
    }
    asked = end;
    part = std::min(part * 8, kLongestLook);
  }
  return Status::Ok();
}

Status RedisStore::AskUsage() {
  PREFIXD_ASSIGN_OR_RETURN(const RedisReply reply,
                           CallOne({"INFO", "memory"}, kSmallReply, options_.call_nanos));
  const std::optional<uint64_t> used = FieldOf(reply.text, "used_memory");
  const std::optional<uint64_t> most = FieldOf(reply.text, "maxmemory");
  if (used) bytes_ = *used;
  if (most) capacity_ = *most == 0 ? UINT64_MAX : *most;
  return Status::Ok();
}

Result<RedisStore::Traffic> RedisStore::AskTraffic() {
  PREFIXD_ASSIGN_OR_RETURN(const RedisReply reply,
                           CallOne({"INFO", "stats"}, kSmallReply, options_.call_nanos));
  const std::optional<uint64_t> received = FieldOf(reply.text, "total_net_input_bytes");
  const std::optional<uint64_t> sent = FieldOf(reply.text, "total_net_output_bytes");
  if (!received || !sent) return Unsupported("the store does not tell its traffic");
  return Traffic{.received = *received, .sent = *sent};
}

Result<double> RedisStore::ProbeRead(uint64_t bytes) {
  const std::string name = "prefixd:probe:" + ToHex(options_.fingerprint).substr(0, 16);
  const std::string value(bytes, 'p');
  double best = 0;
  PREFIXD_RETURN_IF_ERROR(CallOne({"SET", name, value, "EX", "10"}, kSmallReply, NanosFor(bytes)).status());
  for (int tries = 0; tries < 3; ++tries) {
    const double begun = options_.clock->NowSeconds();
    PREFIXD_ASSIGN_OR_RETURN(const RedisReply reply,
                             CallOne({"GET", name}, bytes + kSmallReply, NanosFor(bytes)));
    // Another daemon may probe as well.
    if (reply.kind != RedisReply::Kind::kText || reply.text.empty()) return WrongReply();
    const double seconds = (options_.clock->NowSeconds() - begun) / static_cast<double>(reply.text.size());
    best = best == 0 ? seconds : std::min(best, seconds);
  }
  return best * static_cast<double>(bytes);
}

// --- BlockStore ---

Result<std::string> RedisStore::Get(const BlockKey& key) {
  const std::string name = Name(key);
  Result<RedisReply> got =
      CallOne({"GET", name}, options_.max_record_bytes + kSmallReply, NanosFor(options_.max_record_bytes));
  if (got.status().code() == Code::kCorrupt) PREFIXD_RETURN_IF_ERROR(Delete(key));
  PREFIXD_RETURN_IF_ERROR(got.status());
  RedisReply& reply = *got;
  if (reply.kind == RedisReply::Kind::kNil) {
    const bool was_known = Contains(key);
    Note(key, false);
    if (was_known && options_.on_drop) options_.on_drop(key, DropReason::kEvicted);
    return NotFound("no record of block " + ToHex(key));
  }
  if (reply.kind != RedisReply::Kind::kText) return WrongReply();
  Note(key, true);
  return std::move(reply.text);
}

Status RedisStore::PutBatch(std::vector<StoreEntry> batch) {
  for (const StoreEntry& entry : batch) {
    if (entry.record.size() > options_.max_record_bytes)
      return ResourceExhausted("a record of " + FormatSize(entry.record.size()) + " is larger than " +
                               FormatSize(options_.max_record_bytes));
  }
  for (const StoreEntry& entry : batch) PREFIXD_RETURN_IF_ERROR(PutOne(entry));
  return Status::Ok();
}

Status RedisStore::PutOne(const StoreEntry& entry) {
  const std::string name = Name(entry.key);
  const std::string seconds = std::to_string(options_.max_age_seconds);
  Command command{"SET", name, entry.record};
  if (options_.max_age_seconds > 0) command.insert(command.end(), {"EX", seconds});
  const Result<RedisReply> reply = CallOne(command, kSmallReply, NanosFor(entry.record.size()));
  PREFIXD_RETURN_IF_ERROR(reply.status());
  if (reply->kind != RedisReply::Kind::kText) return WrongReply();
  Note(entry.key, true);
  return Status::Ok();
}

Status RedisStore::Delete(const BlockKey& key) {
  const std::string name = Name(key);
  PREFIXD_RETURN_IF_ERROR(CallOne({"DEL", name}, kSmallReply, options_.call_nanos).status());
  Note(key, false);
  return Status::Ok();
}

// --- Scan ---

Status RedisStore::ScanPage(std::string* cursor, std::vector<BlockKey>* keys) {
  const std::string pattern = prefix_ + "*";
  PREFIXD_ASSIGN_OR_RETURN(
      const RedisReply page,
      CallOne({"SCAN", *cursor, "MATCH", pattern, "COUNT", kKeysOfAPage}, kPageReply, options_.call_nanos));
  if (page.elements.size() != 2 || page.elements[0].kind != RedisReply::Kind::kText ||
      page.elements[1].kind != RedisReply::Kind::kArray)
    return WrongReply();
  *cursor = page.elements[0].text;
  for (const RedisReply& name : page.elements[1].elements) {
    if (!name.text.starts_with(prefix_)) continue;
    if (const auto key = ParseKey(std::string_view(name.text).substr(prefix_.size()))) keys->push_back(*key);
  }
  return Status::Ok();
}

Status RedisStore::Scan(const Visitor& visitor) {
  const std::string last = std::to_string(kRecordHeaderBytes - 1);
  std::unordered_set<BlockKey> visited;  // SCAN may name a key again
  std::string cursor = "0";
  do {
    std::vector<BlockKey> keys;
    PREFIXD_RETURN_IF_ERROR(ScanPage(&cursor, &keys));
    std::erase_if(keys, [&](const BlockKey& key) { return !visited.insert(key).second; });
    if (keys.empty()) continue;
    std::vector<std::string> names;
    std::vector<Command> commands;
    for (const BlockKey& key : keys) names.push_back(Name(key));
    for (const std::string& name : names) commands.push_back({"GETRANGE", name, "0", last});
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies,
                             Call(commands, keys.size() * kHeadReply, options_.call_nanos));
    for (size_t i = 0; i < keys.size(); ++i) {
      if (replies[i].kind == RedisReply::Kind::kError) {
        const Status error = ErrorOf(replies[i]);
        if (error.code() != Code::kCorrupt) return error;
        PREFIXD_RETURN_IF_ERROR(Delete(keys[i]));
        continue;
      }
      std::string head = replies[i].text;
      if (head.empty()) {  // an empty record, or none any more
        const Result<std::string> record = Get(keys[i]);
        if (record.status().code() == Code::kNotFound) continue;
        PREFIXD_RETURN_IF_ERROR(record.status());
        head = record->substr(0, kRecordHeaderBytes);
      }
      Note(keys[i], true);
      if (!visitor(keys[i], head)) return Status::Ok();
    }
  } while (cursor != "0");
  return Status::Ok();
}

}  // namespace prefixd
