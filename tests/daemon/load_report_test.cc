#include "daemon/load_report.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "daemon/log_sink.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kSecond = 1'000'000'000;

// What a load of 10 seconds reports, in parts of a hundredth.
struct Reported {
  std::string message;             // of the lines
  std::vector<std::string> lines;  // "percent=30"
  std::string drawn;
};
Reported Load(bool draws, LoadPart part = LoadPart::kWeights) {
  Reported reported;
  SetLogSink([&](LogLevel, std::string_view message, std::initializer_list<LogField> fields) {
    reported.message = message;
    reported.lines.push_back(std::string(fields.begin()->key) + "=" + fields.begin()->value);
  });
  SetLogLevel(LogLevel::kInfo);
  ManualClock clock;
  ::testing::internal::CaptureStderr();
  {
    const LoadProgress progress = ReportLoad(part, uint64_t{1} << 30, draws, &clock);
    for (int part = 1; part <= 100; ++part) {
      clock.Advance(kSecond / 10);
      progress(part / 100.0);
    }
    reported.drawn = ::testing::internal::GetCapturedStderr();
  }
  SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  return reported;
}

TEST(LoadReport, IsALogLineEveryThreeSeconds) {
  const Reported reported = Load(false);
  EXPECT_EQ(reported.message, "loading weights");
  EXPECT_THAT(reported.lines, ElementsAre("percent=30", "percent=60", "percent=90"));
  EXPECT_THAT(reported.drawn, IsEmpty());
}

// The socket of a service manager, while it is in scope.
class ServiceManager {
 public:
  ServiceManager() : socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    const std::string path = (dir_.path() / "notify").string();
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    PREFIXD_CHECK(path.size() < sizeof address.sun_path);
    path.copy(address.sun_path, path.size());
    PREFIXD_CHECK(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~ServiceManager() {
    unsetenv("NOTIFY_SOCKET");
    close(socket_);
  }
  std::vector<std::string> Messages() {
    std::vector<std::string> messages;
    char text[4096];
    for (ssize_t size; (size = recv(socket_, text, sizeof text, 0)) > 0;)
      messages.emplace_back(text, static_cast<size_t>(size));
    return messages;
  }

 private:
  testing_support::TempDir dir_;
  const int socket_;
};

TEST(LoadReport, GivesTheServiceManagerMoreTimeEveryThreeSeconds) {
  ServiceManager manager;
  Load(false);
  const std::string more = "\nEXTEND_TIMEOUT_USEC=120000000";
  EXPECT_THAT(manager.Messages(),
              ElementsAre("STATUS=loading: weights 30 %" + more, "STATUS=loading: weights 60 %" + more,
                          "STATUS=loading: weights 90 %" + more));
}

TEST(LoadReport, NamesThePart) {
  const Reported reported = Load(false, LoadPart::kHostCache);
  EXPECT_EQ(reported.message, "pinning the memory of the host cache");
  EXPECT_THAT(reported.lines, ElementsAre("percent=30", "percent=60", "percent=90"));
}

TEST(LoadReport, IsABarOnATerminalThatEndsWithTheLoad) {
  const Reported reported = Load(true);
  EXPECT_THAT(reported.lines, IsEmpty());
  EXPECT_THAT(reported.drawn,
              HasSubstr("[##########          ]  50 %  512.0 MiB of 1.0 GiB, 102.4 MiB/s, 5 s"));
  EXPECT_THAT(reported.drawn, EndsWith("\r\x1b[K"));
  EXPECT_THAT(reported.drawn, Not(HasSubstr("\n")));
}

// A terminal in the place of stderr.
class Terminal {
 public:
  Terminal() : stderr_(dup(STDERR_FILENO)), screen_(posix_openpt(O_RDWR | O_NOCTTY)) {
    PREFIXD_CHECK(stderr_ >= 0 && screen_ >= 0 && grantpt(screen_) == 0 && unlockpt(screen_) == 0);
    const int keys = open(ptsname(screen_), O_RDWR | O_NOCTTY);
    PREFIXD_CHECK(keys >= 0 && dup2(keys, STDERR_FILENO) == STDERR_FILENO);
    close(keys);
  }
  ~Terminal() {
    (void)Lines();
    close(screen_);
  }
  // The lines on the screen. Gives stderr back, so nothing is written any more.
  std::vector<std::string> Lines() {
    if (stderr_ >= 0) {
      dup2(stderr_, STDERR_FILENO);
      close(std::exchange(stderr_, -1));
    }
    std::string written;
    char piece[4096];
    for (ssize_t count; (count = read(screen_, piece, sizeof piece)) > 0;)
      written.append(piece, static_cast<size_t>(count));
    std::vector<std::string> lines(1);
    size_t column = 0;
    for (size_t i = 0; i < written.size(); ++i) {
      std::string& line = lines.back();
      if (written.compare(i, 3, "\x1b[K") == 0) {
        line.resize(std::min(line.size(), column));
        i += 2;
      } else if (written[i] == '\r') {
        column = 0;
      } else if (written[i] == '\n') {
        lines.emplace_back();
        column = 0;
      } else {
        line.resize(std::max(line.size(), ++column));
        line[column - 1] = written[i];
      }
    }
    return lines;
  }

 private:
  int stderr_, screen_;
};

TEST(LoadReport, ALogLineTakesThePlaceOfTheBar) {
  ManualClock clock;
  Terminal terminal;
  InstallLogSink("info", LogFormat::kText);
  const LoadProgress progress = ReportLoad(LoadPart::kWeights, uint64_t{1} << 30, true, &clock);
  clock.Advance(kSecond);
  progress(0.5);
  Log(LogLevel::kInfo, "m");
  clock.Advance(kSecond);
  progress(0.75);
  const std::vector<std::string> lines = terminal.Lines();
  SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_THAT(lines[0], testing::MatchesRegex("[-0-9T:.+]+ info +m"));
  EXPECT_THAT(lines[1], StartsWith("[###############     ]  75 %"));
}

}  // namespace
}  // namespace prefixd
