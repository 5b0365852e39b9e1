#include "storage/redis_protocol.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace prefixd {
namespace {

constexpr int kDeepestArray = 3;  // CLUSTER SLOTS has arrays of arrays of arrays of arrays

// --- The objects that the reader of hiredis makes of a reply ---

// Returns the place of the object: an element of its parent, or a new root. Null when there is no memory.
RedisReply* Place(const redisReadTask* task) try {
  if (task->parent == nullptr) return new RedisReply();
  return &static_cast<RedisReply*>(task->parent->obj)->elements[static_cast<size_t>(task->idx)];
} catch (const std::bad_alloc&) {
  return nullptr;
}

void FreeReply(void* root) { delete static_cast<RedisReply*>(root); }

// Null on behalf of `task`: a root that was made for it goes.
void* GiveUp(const redisReadTask* task, RedisReply* reply) {
  if (task->parent == nullptr) delete reply;
  return nullptr;
}

void* MakeText(const redisReadTask* task, char* text, size_t length) {
  RedisReply* const reply = Place(task);
  if (reply == nullptr) return nullptr;
  reply->kind = task->type == REDIS_REPLY_ERROR ? RedisReply::Kind::kError : RedisReply::Kind::kText;
  try {
    reply->text.assign(text, length);
  } catch (const std::bad_alloc&) {
    return GiveUp(task, reply);
  }
  return reply;
}

// Arrays around the object.
int Depth(const redisReadTask* task) {
  int depth = 0;
  for (const redisReadTask* outer = task->parent; outer != nullptr; outer = outer->parent) ++depth;
  return depth;
}

void* MakeArray(const redisReadTask* task, int elements) {
  if (elements < 0 || elements > RedisReply::kMostElements) return nullptr;
  if (Depth(task) > kDeepestArray) return nullptr;
  RedisReply* const reply = Place(task);
  if (reply == nullptr) return nullptr;
  reply->kind = RedisReply::Kind::kArray;
  try {
    reply->elements.resize(static_cast<size_t>(elements));
  } catch (const std::bad_alloc&) {
    return GiveUp(task, reply);
  }
  return reply;
}

void* MakeInteger(const redisReadTask* task, long long value) {
  RedisReply* const reply = Place(task);
  if (reply == nullptr) return nullptr;
  reply->kind = RedisReply::Kind::kInteger;
  reply->integer = value;
  return reply;
}

void* MakeNil(const redisReadTask* task) {
  RedisReply* const reply = Place(task);
  if (reply != nullptr) reply->kind = RedisReply::Kind::kNil;
  return reply;
}

redisReplyObjectFunctions kMakers{MakeText, MakeArray, MakeInteger, MakeNil, FreeReply};

}  // namespace

std::string PrintableReply(std::string_view text) {
  std::string shown(text.substr(0, 200));
  std::ranges::replace_if(
      shown, [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return shown;
}

Status AppendRedisCommand(const RedisCommand& command, std::string* bytes) {
  std::vector<const char*> texts;
  std::vector<size_t> lengths;
  for (const std::string_view word : command) {
    texts.push_back(word.data());
    lengths.push_back(word.size());
  }
  char* text = nullptr;
  const int length =
      redisFormatCommandArgv(&text, static_cast<int>(command.size()), texts.data(), lengths.data());
  if (length < 0) return IoError("no memory for a command");
  const std::unique_ptr<char, void (*)(void*)> formatted(text, std::free);
  bytes->append(text, static_cast<size_t>(length));
  return Status::Ok();
}

RedisReplyReader::RedisReplyReader() : reader_(redisReaderCreateWithFunctions(&kMakers)) {}

RedisReplyReader::~RedisReplyReader() {
  if (reader_ != nullptr) redisReaderFree(reader_);
}

Status RedisReplyReader::Feed(std::string_view bytes) {
  if (reader_ != nullptr && redisReaderFeed(reader_, bytes.data(), bytes.size()) == REDIS_OK)
    return Status::Ok();
  return IoError("no memory for replies of the store");
}

Result<std::unique_ptr<RedisReply>> RedisReplyReader::Next() {
  void* reply = nullptr;
  if (reader_ == nullptr) return IoError("no memory for replies of the store");
  if (redisReaderGetReply(reader_, &reply) != REDIS_OK)
    return IoError("the store sends what is no reply: " + PrintableReply(reader_->errstr));
  return std::unique_ptr<RedisReply>(static_cast<RedisReply*>(reply));
}

}  // namespace prefixd
