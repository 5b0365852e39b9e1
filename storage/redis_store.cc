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
  if (word == "CLUSTERDOWN")
    return Unavailable(
        "the cluster is down: it lacks servers; see cluster-require-full-coverage in docs/FLEET.md");
  if (word == "MOVED" || word == "ASK") return Unavailable("the store redirects to what is no server");
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
      nodes_({.address = options_.address,
              .tls = options_.tls,
              .clock = options_.clock,
              .connect_nanos = options_.connect_nanos}),
      known_(options_.known_keys) {}

RedisStore::~RedisStore() = default;

Result<RedisReply> RedisStore::CallOne(const Command& command, size_t most_bytes, int64_t nanos) {
  PREFIXD_ASSIGN_OR_RETURN(std::vector<RedisReply> replies, Call(std::span(&command, 1), most_bytes, nanos));
  if (replies.front().kind == RedisReply::Kind::kError) return ErrorOf(replies.front());
  return std::move(replies.front());
}

// --- What is known ---

int64_t RedisStore::KnownUntil(bool present) const {
  return options_.clock->NowNanos() + (present ? options_.present_nanos : options_.absent_nanos);
}

void RedisStore::Note(const BlockKey& key, bool present) {
  MutexLock lock(mutex_);
  known_.Note(key, present, KnownUntil(present));
}

uint64_t RedisStore::Turn() const {
  MutexLock lock(mutex_);
  return known_.turn();
}

bool RedisStore::NoteAnswer(const BlockKey& key, bool present, uint64_t asked) {
  MutexLock lock(mutex_);
  return known_.NoteAnswer(key, present, KnownUntil(present), asked);
}

std::optional<bool> RedisStore::Knows(const BlockKey& key) const {
  if (IsLeftAlone(key)) return false;
  const int64_t now = options_.clock->NowNanos();
  MutexLock lock(mutex_);
  return known_.Find(key, now);
}

bool RedisStore::IsLeftAlone(const BlockKey& key) const {
  return nodes_.SomeLeftAlone() && nodes_.IsLeftAlone(Name(key));
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
    const uint64_t turn = Turn();
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies,
                             Call(commands, kSmallReply, options_.find_nanos));
    for (size_t i = at; i < end; ++i) {
      const RedisReply& reply = replies[i - at];
      if (reply.kind == RedisReply::Kind::kError) return ErrorOf(reply);
      if (reply.kind != RedisReply::Kind::kInteger && reply.kind != RedisReply::Kind::kNone)
        return WrongReply();
      NoteAnswer(keys[i], reply.integer > 0, turn);
    }
    asked = end;
    part = std::min(part * 8, kLongestLook);
  }
  return Status::Ok();
}

Status RedisStore::AskUsage() {
  PREFIXD_ASSIGN_OR_RETURN(const auto servers, nodes_.Servers(options_.call_nanos));
  uint64_t bytes = 0;
  uint64_t capacity = 0;
  Status failed = Status::Ok();
  bool has_answer = false;
  for (const auto& server : servers) {
    const Result<RedisReply> reply =
        nodes_.CallServer(*server, {"INFO", "memory"}, kSmallReply, options_.call_nanos);
    if (!reply.ok() || reply->kind == RedisReply::Kind::kError) {
      failed = reply.ok() ? ErrorOf(*reply) : reply.status();
      continue;
    }
    has_answer = true;
    bytes += FieldOf(reply->text, "used_memory").value_or(0);
    const uint64_t most = FieldOf(reply->text, "maxmemory").value_or(0);
    capacity = most == 0 || capacity == UINT64_MAX ? UINT64_MAX : capacity + most;
  }
  if (!has_answer) return failed;
  bytes_ = bytes;
  capacity_ = capacity == 0 ? UINT64_MAX : capacity;
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

// --- What a fleet uses most ---

Result<std::vector<std::string>> RedisStore::GetHeads(std::span<const BlockKey> keys, size_t bytes) {
  const std::string last = std::to_string(bytes - 1);
  std::vector<std::string> names;
  std::vector<Command> commands;
  for (const BlockKey& key : keys) names.push_back(Name(key));
  for (const std::string& name : names) commands.push_back({"GETRANGE", name, "0", last});
  const uint64_t turn = Turn();
  PREFIXD_ASSIGN_OR_RETURN(std::vector<RedisReply> replies,
                           Call(commands, keys.size() * (bytes + 64), NanosFor(keys.size() * bytes)));
  std::vector<std::string> heads(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (replies[i].kind == RedisReply::Kind::kError && ErrorOf(replies[i]).code() != Code::kCorrupt)
      return ErrorOf(replies[i]);
    if (replies[i].kind != RedisReply::Kind::kText) continue;
    heads[i] = std::move(replies[i].text);
    NoteAnswer(keys[i], !heads[i].empty(), turn);
  }
  return heads;
}

std::string RedisStore::HotListName() const {
  return "prefixd:hot:1:" + ToHex(options_.fingerprint).substr(0, 16);
}

Result<std::string> RedisStore::GetHotList(size_t most_bytes) {
  const std::string name = HotListName();
  const std::string last =
      std::to_string(most_bytes);  // a longer value is none, and no failure of the server
  PREFIXD_ASSIGN_OR_RETURN(RedisReply reply, CallOne({"GETRANGE", name, "0", last}, most_bytes + kSmallReply,
                                                     NanosFor(most_bytes)));
  if (reply.kind != RedisReply::Kind::kText) return WrongReply();
  if (reply.text.empty()) return NotFound("the store has no hot list");
  return std::move(reply.text);
}

Status RedisStore::PutHotList(std::string_view value) {
  constexpr std::string_view kMonth = "2592000";  // seconds
  const std::string name = HotListName();
  return CallOne({"SET", name, value, "EX", kMonth}, kSmallReply, NanosFor(value.size())).status();
}

// --- BlockStore ---

Result<std::string> RedisStore::Get(const BlockKey& key) {
  const std::string name = Name(key);
  // One byte more than a record may have tells a value that is none, however long it is.
  const std::string last = std::to_string(options_.max_record_bytes);
  const auto get = [&](const Command& command) {
    return CallOne(command, options_.max_record_bytes + kSmallReply, NanosFor(options_.max_record_bytes));
  };
  const uint64_t turn = Turn();
  Result<RedisReply> got = get({"GETRANGE", name, "0", last});
  // An empty record, or none.
  if (got.ok() && got->kind == RedisReply::Kind::kText && got->text.empty()) got = get({"GET", name});
  if (got.ok() && got->text.size() > options_.max_record_bytes)
    got = Corrupt("the store has something longer than a record under the name of one");
  if (got.status().code() == Code::kCorrupt) PREFIXD_RETURN_IF_ERROR(Delete(key));
  PREFIXD_RETURN_IF_ERROR(got.status());
  RedisReply& reply = *got;
  if (reply.kind == RedisReply::Kind::kNil) {
    const bool was_known = Contains(key);
    const bool is_absent = NoteAnswer(key, false, turn);
    if (was_known && is_absent && options_.on_drop) options_.on_drop(key, DropReason::kEvicted);
    return NotFound("no record of block " + ToHex(key));
  }
  if (reply.kind != RedisReply::Kind::kText) return WrongReply();
  NoteAnswer(key, true, turn);
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

struct RedisStore::ScanState {
  const Visitor& visitor;
  const std::atomic<bool>* const stop;
  const int64_t deadline;
  std::unordered_set<BlockKey> visited = {};  // SCAN may name a key again
  bool is_ended = false;                      // by the visitor
};

Status RedisStore::ScanPage(RedisNodes::Node& server, ScanState* scan, std::string* cursor,
                            std::vector<BlockKey>* keys) {
  if (scan->stop != nullptr && *scan->stop) return Cancelled("the scan of the store was stopped");
  if (options_.clock->NowNanos() >= scan->deadline)
    return ResourceExhausted("the scan of the store has taken too long");
  const std::string pattern = prefix_ + "*";
  PREFIXD_ASSIGN_OR_RETURN(
      const RedisReply page,
      nodes_.CallServer(server, {"SCAN", *cursor, "MATCH", pattern, "COUNT", kKeysOfAPage}, kPageReply,
                        options_.call_nanos));
  if (page.kind == RedisReply::Kind::kError) return ErrorOf(page);
  if (page.elements.size() != 2 || page.elements[0].kind != RedisReply::Kind::kText ||
      page.elements[1].kind != RedisReply::Kind::kArray)
    return WrongReply();
  *cursor = page.elements[0].text;
  for (const RedisReply& name : page.elements[1].elements) {
    if (!name.text.starts_with(prefix_)) continue;
    const auto key = ParseKey(std::string_view(name.text).substr(prefix_.size()));
    if (!key || !scan->visited.insert(*key).second) continue;
    keys->push_back(*key);
    if (scan->visited.size() > kMostScanned)
      return ResourceExhausted("the store names more than " + std::to_string(kMostScanned) + " blocks");
  }
  return Status::Ok();
}

Status RedisStore::VisitPage(const std::vector<BlockKey>& keys, ScanState* scan) {
  const std::string last = std::to_string(kRecordHeaderBytes - 1);
  std::vector<std::string> names;
  std::vector<Command> commands;
  for (const BlockKey& key : keys) names.push_back(Name(key));
  for (const std::string& name : names) commands.push_back({"GETRANGE", name, "0", last});
  const uint64_t turn = Turn();
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies,
                           Call(commands, keys.size() * kHeadReply, options_.call_nanos));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (replies[i].kind == RedisReply::Kind::kNone)
      return Unavailable("a server of the cluster does not answer");
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
    NoteAnswer(keys[i], true, turn);
    scan->is_ended = !scan->visitor(keys[i], head);
    if (scan->is_ended) return Status::Ok();
  }
  return Status::Ok();
}

Status RedisStore::ScanServer(RedisNodes::Node& server, ScanState* scan) {
  std::string cursor = "0";
  do {
    std::vector<BlockKey> keys;
    PREFIXD_RETURN_IF_ERROR(ScanPage(server, scan, &cursor, &keys));
    if (!keys.empty()) PREFIXD_RETURN_IF_ERROR(VisitPage(keys, scan));
  } while (cursor != "0" && !scan->is_ended);
  return Status::Ok();
}

Status RedisStore::ScanUntil(const Visitor& visitor, const std::atomic<bool>* stop) {
  PREFIXD_ASSIGN_OR_RETURN(const auto servers, nodes_.Servers(options_.call_nanos));
  ScanState scan{visitor, stop, options_.clock->NowNanos() + options_.scan_nanos};
  Status failed = Status::Ok();
  for (const auto& server : servers) {
    const Status status = ScanServer(*server, &scan);
    if (!status.ok()) failed = status;
    const bool may_go_on = status.ok() || status.code() == Code::kIo || status.code() == Code::kUnavailable;
    if (scan.is_ended || !may_go_on) break;
  }
  return failed;
}

}  // namespace prefixd
