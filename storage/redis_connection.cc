#include "storage/redis_connection.h"

#include <array>
#include <string>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr size_t kPiece = 64 << 10;        // bytes that are read at once
constexpr size_t kLongestLogin = 4 << 10;  // of a reply

}  // namespace

Result<std::unique_ptr<RedisConnection>> RedisConnection::Open(const RedisAddress& address,
                                                               const Clock* clock, int64_t deadline,
                                                               const TlsClient* tls) {
  PREFIXD_CHECK(address.tls == (tls != nullptr)) << address.Name();
  Result<std::unique_ptr<ServerSocket>> socket =
      ServerSocket::Connect(address.host, address.port, tls, clock, deadline);
  if (!socket.ok()) return Unavailable(address.Name() + ": " + socket.status().message());
  std::unique_ptr<RedisConnection> connection(new RedisConnection(*std::move(socket)));
  const Status status = connection->Login(address, deadline);
  if (!status.ok()) return Unavailable(address.Name() + ": " + status.message());
  return connection;
}

Status RedisConnection::Login(const RedisAddress& address, int64_t deadline) {
  const std::string database = std::to_string(address.database);
  std::vector<Command> commands;
  if (!address.user.empty()) {
    commands.push_back({"AUTH", address.user, address.password});
  } else if (!address.password.empty()) {
    commands.push_back({"AUTH", address.password});
  }
  if (address.database != 0) commands.push_back({"SELECT", database});
  if (commands.empty()) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<RedisReply> replies, Call(commands, kLongestLogin, deadline));
  for (const RedisReply& reply : replies) {
    if (reply.kind == RedisReply::Kind::kError)
      return IoError("the store refuses the login: " + PrintableReply(reply.text));
  }
  return Status::Ok();
}

Result<RedisReply> RedisConnection::ReadReply(size_t* most_bytes, int64_t deadline) {
  std::array<char, kPiece> piece;
  while (true) {
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<RedisReply> reply, reader_.Next());
    if (reply != nullptr) return std::move(*reply);
    PREFIXD_ASSIGN_OR_RETURN(const size_t got, socket_->Receive(piece, deadline));
    if (got > *most_bytes) return IoError("the store sends more than was asked for");
    *most_bytes -= got;
    PREFIXD_RETURN_IF_ERROR(reader_.Feed({piece.data(), got}));
  }
}

Result<std::vector<RedisReply>> RedisConnection::Call(std::span<const Command> commands, size_t most_bytes,
                                                      int64_t deadline) {
  std::string bytes;
  for (const Command& command : commands) PREFIXD_RETURN_IF_ERROR(AppendRedisCommand(command, &bytes));
  PREFIXD_RETURN_IF_ERROR(socket_->Send(bytes, deadline));
  std::vector<RedisReply> replies;
  for (size_t i = 0; i < commands.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(RedisReply reply, ReadReply(&most_bytes, deadline));
    replies.push_back(std::move(reply));
  }
  return replies;
}

}  // namespace prefixd
