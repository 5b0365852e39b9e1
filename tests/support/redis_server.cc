#include "tests/support/redis_server.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "base/check.h"
#include "storage/redis_connection.h"
#include "tests/support/loopback_listener.h"

extern char** environ;

namespace prefixd {

uint16_t FreePort() { return LoopbackListener().port(); }

std::string RedisServer::Missing() {
  std::istringstream path(std::getenv("PATH") == nullptr ? "" : std::getenv("PATH"));
  for (std::string folder; std::getline(path, folder, ':');) {
    if (::access((folder + "/redis-server").c_str(), X_OK) == 0) return "";
  }
  return "redis-server is not installed";
}

RedisServer::RedisServer(std::vector<std::string> options, std::shared_ptr<const TlsClient> tls)
    : tls_(std::move(tls)) {
  for (int tries = 0; tries < 5; ++tries) {  // another process may take the port
    if (Start(options)) return;
  }
  PREFIXD_CHECK(false) << "redis-server does not start";
}

bool RedisServer::Start(const std::vector<std::string>& options) {
  port_ = FreePort();
  bus_port_ = FreePort();
  const std::string port = std::to_string(port_);
  std::vector<std::string> words{"redis-server", "--bind", "127.0.0.1",    "--port", tls_ ? "0" : port,
                                 "--save",       "",       "--appendonly", "no",     "--logfile",
                                 "/dev/null"};
  if (tls_ != nullptr) words.insert(words.end(), {"--tls-port", port});
  words.insert(words.end(), options.begin(), options.end());
  if (std::ranges::count(options, "--cluster-enabled") > 0)
    words.insert(words.end(), {"--cluster-port", std::to_string(bus_port_)});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  PREFIXD_CHECK(::posix_spawnp(&pid_, "redis-server", nullptr, nullptr, arguments.data(), environ) == 0);
  const SystemClock clock;
  const int64_t begun = clock.NowNanos();
  while (clock.NowNanos() - begun < 20'000'000'000 && ::waitpid(pid_, nullptr, WNOHANG) == 0) {
    const int64_t deadline = clock.NowNanos() + 1'000'000'000;
    const auto connection = RedisConnection::Open(address(), &clock, deadline, tls_.get());
    if (connection.ok()) {
      if (IsOwn(**connection, deadline)) return true;
      break;
    }
    ::usleep(5000);
  }
  Kill();
  return false;
}

bool RedisServer::IsOwn(RedisConnection& connection, int64_t deadline) const {
  const RedisCommand info = {"INFO", "server"};
  const auto replies = connection.Call(std::span(&info, 1), 1 << 20, deadline);
  if (!replies.ok()) return false;
  const RedisReply& reply = replies->front();
  return reply.kind == RedisReply::Kind::kError ||  // it asks for a password first
         reply.text.find("process_id:" + std::to_string(pid_) + "\r\n") != std::string::npos;
}

RedisServer::~RedisServer() { Kill(); }

RedisReply RedisServer::Ask(const std::vector<std::string>& words) const {
  const SystemClock clock;
  const int64_t deadline = clock.NowNanos() + 20'000'000'000;
  const RedisCommand command(words.begin(), words.end());
  const auto connection = RedisConnection::Open(address(), &clock, deadline, tls_.get());
  PREFIXD_CHECK(connection.ok()) << connection.status().ToString();
  auto replies = (*connection)->Call(std::span(&command, 1), 1 << 20, deadline);
  PREFIXD_CHECK(replies.ok()) << replies.status().ToString();
  return std::move(replies->front());
}

void RedisServer::Stop() const { PREFIXD_CHECK(::kill(pid_, SIGSTOP) == 0); }
void RedisServer::Continue() const { PREFIXD_CHECK(::kill(pid_, SIGCONT) == 0); }

void RedisServer::Kill() {
  if (pid_ < 0) return;
  (void)::kill(pid_, SIGKILL);
  (void)::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace prefixd
