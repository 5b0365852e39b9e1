#include "daemon/relaunch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"
#include "daemon/http/listen.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

constexpr char kAddress[] = "127.0.0.1:0";

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

class RelaunchTest : public testing::Test {
 protected:
  RelaunchTest() {
    Result<Listener> listener = ListenOn(kAddress);
    PREFIXD_CHECK(listener.ok()) << listener.status().ToString();
    fd_ = listener->fd;
    PREFIXD_CHECK(fcntl(fd_, F_SETFD, 0) == 0);  // as Relaunch leaves it
  }
  ~RelaunchTest() override {
    unsetenv(kRelaunchedVariable);
    if (IsOpen(fd_)) close(fd_);
  }
  static int Inherit(const std::string& variable, const std::string& address = kAddress) {
    PREFIXD_CHECK(setenv(kRelaunchedVariable, variable.c_str(), 1) == 0);
    return InheritedListener(address);
  }

  int fd_ = -1;
};

TEST_F(RelaunchTest, TheListenerIsInheritedByItsAddress) {
  EXPECT_FALSE(WasRelaunched());
  EXPECT_EQ(InheritedListener(kAddress), -1);
  EXPECT_EQ(Inherit(std::to_string(fd_) + " " + kAddress), fd_);
  EXPECT_TRUE(WasRelaunched());
  EXPECT_EQ(fcntl(fd_, F_GETFD), FD_CLOEXEC) << "programs that this one starts do not get it";
  EXPECT_EQ(AdoptListener(fd_, kAddress).family, AF_INET);
}

// Nobody would accept what connects to it.
TEST_F(RelaunchTest, AListenerOfAnotherAddressIsClosed) {
  EXPECT_EQ(Inherit(std::to_string(fd_) + " " + kAddress, "127.0.0.1:8080"), -1);
  EXPECT_FALSE(IsOpen(fd_));
}

TEST_F(RelaunchTest, TheFileOfAnotherAddressGoes) {
  const testing_support::TempDir folder;
  const std::string path = (folder.path() / "socket").string();
  const Result<Listener> listener = ListenOn("unix:" + path);
  ASSERT_TRUE(listener.ok()) << listener.status().ToString();
  ASSERT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(Inherit(std::to_string(listener->fd) + " unix:" + path), -1);
  EXPECT_FALSE(IsOpen(listener->fd));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(RelaunchTest, WhatIsNoListenerIsLeftAlone) {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GT(socket, STDERR_FILENO);
  for (const std::string& fd : {std::string("1"), std::string("-1"), std::string(""), std::string("x"),
                                std::string("99999999999"), std::to_string(socket)})
    EXPECT_EQ(Inherit(fd + " " + kAddress), -1) << fd;
  EXPECT_TRUE(IsOpen(socket));
  EXPECT_TRUE(IsOpen(STDOUT_FILENO));
  EXPECT_TRUE(WasRelaunched()) << "whatever it was left";
  close(socket);
}

}  // namespace
}  // namespace prefixd
