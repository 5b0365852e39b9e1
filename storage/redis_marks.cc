// Marks: small values that daemons leave for each other on the server.
#include <string>
#include <utility>
#include <vector>

#include "storage/redis_store.h"

namespace prefixd {
namespace {

constexpr size_t kMarkReply = 4 << 10;  // each: the longest is a lease, see docs/FORMAT.md

std::string TextOf(RedisReply&& reply) {
  return reply.kind == RedisReply::Kind::kText ? std::move(reply.text) : std::string();
}

}  // namespace

std::string RedisStore::Name(const Mark& mark) const {
  return "prefixd:" + std::string(mark.kind) + ":" + ToHex(options_.fingerprint).substr(0, 16) + ":" +
         ToHex(mark.key);
}

// A server that refuses a command, because it is full or the user may not, has no marks.
Result<std::vector<RedisReply>> RedisStore::CallForMarks(std::span<const Command> commands) {
  if (commands.empty()) return std::vector<RedisReply>();
  return Call(commands, commands.size() * kMarkReply, options_.find_nanos);
}

Result<std::vector<std::string>> RedisStore::SetMarks(std::span<const Mark> marks, SetMark when,
                                                      int64_t millis) {
  std::vector<std::string> names;
  for (const Mark& mark : marks) names.push_back(Name(mark));
  const std::string time = std::to_string(millis);
  std::vector<Command> commands;
  for (size_t i = 0; i < marks.size(); ++i) {
    commands.push_back({"SET", names[i], marks[i].value, "PX", time});
    if (when != SetMark::kAlways) commands.back().push_back(when == SetMark::kIfAbsent ? "NX" : "XX");
    commands.push_back({"GET", names[i]});
  }
  PREFIXD_ASSIGN_OR_RETURN(std::vector<RedisReply> replies, CallForMarks(commands));
  std::vector<std::string> values;
  for (size_t i = 1; i < replies.size(); i += 2) values.push_back(TextOf(std::move(replies[i])));
  return values;
}

Result<std::vector<std::string>> RedisStore::GetMarks(std::span<const Mark> marks) {
  std::vector<std::string> names;
  for (const Mark& mark : marks) names.push_back(Name(mark));
  std::vector<Command> commands;
  for (const std::string& name : names) commands.push_back({"GET", name});
  PREFIXD_ASSIGN_OR_RETURN(std::vector<RedisReply> replies, CallForMarks(commands));
  std::vector<std::string> values;
  for (RedisReply& reply : replies) values.push_back(TextOf(std::move(reply)));
  return values;
}

Status RedisStore::DeleteMarks(std::span<const Mark> marks) {
  std::vector<std::string> names;
  for (const Mark& mark : marks) names.push_back(Name(mark));
  std::vector<Command> commands;
  for (const std::string& name : names) commands.push_back({"DEL", name});
  return CallForMarks(commands).status();
}

}  // namespace prefixd
