#include "storage/redis_connection.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <system_error>
#include <utility>

namespace prefixd {
namespace {

constexpr size_t kPiece = 64 << 10;        // bytes that are read at once
constexpr size_t kLongestLogin = 4 << 10;  // of a reply

std::string Reason(int error) { return std::system_category().message(error); }

// What a server says, for a message: short, and without control characters.
std::string Printable(std::string_view text) {
  std::string shown(text.substr(0, 200));
  std::ranges::replace_if(
      shown, [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return shown;
}

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

void* MakeArray(const redisReadTask* task, int elements) {
  if (elements < 0 || elements > RedisConnection::kMostElements) return nullptr;
  if (task->parent != nullptr && task->parent->parent != nullptr) return nullptr;  // no reply nests deeper
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

void* MakeNil(const redisReadTask* task) { return Place(task); }

redisReplyObjectFunctions kMakers{MakeText, MakeArray, MakeInteger, MakeNil, FreeReply};

}  // namespace

class RedisConnection::Reader {
 public:
  Reader() : reader_(redisReaderCreateWithFunctions(&kMakers)) {}
  ~Reader() {
    if (reader_ != nullptr) redisReaderFree(reader_);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  bool Feed(std::string_view bytes) {
    return reader_ != nullptr && redisReaderFeed(reader_, bytes.data(), bytes.size()) == REDIS_OK;
  }
  // The next whole reply; null: more bytes are needed. kIo: they are no reply.
  Result<std::unique_ptr<RedisReply>> Next() {
    void* reply = nullptr;
    if (reader_ == nullptr) return IoError("no memory for replies of the store");
    if (redisReaderGetReply(reader_, &reply) != REDIS_OK)
      return IoError("the store sends what is no reply: " + Printable(reader_->errstr));
    return std::unique_ptr<RedisReply>(static_cast<RedisReply*>(reply));
  }

 private:
  redisReader* const reader_;
};

RedisConnection::RedisConnection(int socket, const Clock* clock)
    : socket_(socket), clock_(clock), reader_(std::make_unique<Reader>()) {}

RedisConnection::~RedisConnection() {
  if (socket_ >= 0) ::close(socket_);
}

Result<std::unique_ptr<RedisConnection>> RedisConnection::Open(const RedisAddress& address,
                                                               const Clock* clock, int64_t deadline) {
  std::unique_ptr<RedisConnection> connection(new RedisConnection(-1, clock));
  const Status connected = connection->Connect(address, deadline);
  const Status status = connected.ok() ? connection->Login(address, deadline) : connected;
  if (!status.ok()) return Unavailable(address.Name() + ": " + status.message());
  return connection;
}

// Tries the addresses of the host one after the other.
Status RedisConnection::Connect(const RedisAddress& address, int64_t deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  if (const int error = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found); error != 0)
    return IoError(std::string("the host is not found: ") + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  Status failed = IoError("the host has no address");
  int64_t left = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) ++left;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next, --left) {
    const int64_t now = clock_->NowNanos();
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
    socket_ = ::socket(one->ai_family, one->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, one->ai_protocol);
    if (socket_ < 0) return IoError("no socket: " + Reason(errno));
    if (::connect(socket_, one->ai_addr, one->ai_addrlen) != 0 && errno != EINPROGRESS) {
      failed = IoError("cannot connect: " + Reason(errno));
      continue;
    }
    failed = WaitFor(POLLOUT, now + (deadline - now) / left);  // one that is silent leaves time for others
    if (!failed.ok()) continue;
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) {
      failed = IoError("cannot connect: " + Reason(error));
      continue;
    }
    const int on = 1;
    (void)::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return Status::Ok();
  }
  return failed;
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
      return IoError("the store refuses the login: " + Printable(reply.text));
  }
  return Status::Ok();
}

bool RedisConnection::IsUsable() const {
  char byte = 0;
  return ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

Status RedisConnection::WaitFor(short events, int64_t deadline) const {
  pollfd waits{.fd = socket_, .events = events, .revents = 0};
  while (true) {
    const int64_t left = deadline - clock_->NowNanos();
    if (left <= 0) return IoError("it has not answered in time");
    const timespec time{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    const int ready = ::ppoll(&waits, 1, &time, nullptr);
    if (ready > 0) return Status::Ok();
    if (ready < 0 && errno != EINTR) return IoError("poll: " + Reason(errno));
  }
}

Status RedisConnection::Send(std::string_view bytes, int64_t deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      PREFIXD_RETURN_IF_ERROR(WaitFor(POLLOUT, deadline));
    } else if (errno != EINTR) {
      return IoError("the connection is lost: " + Reason(errno));
    }
  }
  return Status::Ok();
}

Result<RedisReply> RedisConnection::ReadReply(size_t* most_bytes, int64_t deadline) {
  std::array<char, kPiece> piece;
  while (true) {
    PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<RedisReply> reply, reader_->Next());
    if (reply != nullptr) return std::move(*reply);
    const ssize_t got = ::recv(socket_, piece.data(), piece.size(), 0);
    if (got > 0) {
      if (static_cast<size_t>(got) > *most_bytes) return IoError("the store sends more than was asked for");
      *most_bytes -= static_cast<size_t>(got);
      if (!reader_->Feed({piece.data(), static_cast<size_t>(got)}))
        return IoError("no memory for replies of the store");
      // A server that never ceases to send must not outlast the deadline either.
      if (clock_->NowNanos() >= deadline) return IoError("it has not answered in time");
    } else if (got == 0) {
      return IoError("the store has closed the connection");
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      PREFIXD_RETURN_IF_ERROR(WaitFor(POLLIN, deadline));
    } else if (errno != EINTR) {
      return IoError("the connection is lost: " + Reason(errno));
    }
  }
}

Result<std::vector<RedisReply>> RedisConnection::Call(std::span<const Command> commands, size_t most_bytes,
                                                      int64_t deadline) {
  std::string bytes;
  std::vector<const char*> texts;
  std::vector<size_t> lengths;
  for (const Command& command : commands) {
    texts.clear();
    lengths.clear();
    for (const std::string_view word : command) {
      texts.push_back(word.data());
      lengths.push_back(word.size());
    }
    char* text = nullptr;
    const int length =
        redisFormatCommandArgv(&text, static_cast<int>(command.size()), texts.data(), lengths.data());
    if (length < 0) return IoError("no memory for a command");
    const std::unique_ptr<char, void (*)(void*)> formatted(text, std::free);
    bytes.append(text, static_cast<size_t>(length));
  }
  PREFIXD_RETURN_IF_ERROR(Send(bytes, deadline));
  std::vector<RedisReply> replies;
  for (size_t i = 0; i < commands.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(RedisReply reply, ReadReply(&most_bytes, deadline));
    replies.push_back(std::move(reply));
  }
  return replies;
}

}  // namespace prefixd
