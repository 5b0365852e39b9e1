#include "daemon/relaunch.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>
#include <vector>

#include "daemon/http/listen.h"

namespace prefixd {

bool WasRelaunched() { return std::getenv(kRelaunchedVariable) != nullptr; }

int InheritedListener(const std::string& address) {
  const char* const variable = std::getenv(kRelaunchedVariable);
  const std::string_view value = variable == nullptr ? "" : variable;
  int fd = -1;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), fd);
  if (error != std::errc() || fd <= STDERR_FILENO || !IsListening(fd)) return -1;
  if (value.substr(static_cast<size_t>(end - value.data())) != " " + address ||
      fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    CloseListener(fd);
    return -1;
  }
  return fd;
}

Status Relaunch(int listener, const std::string& address) {
  // What the process was executed with; each argument ends with a zero.
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  std::vector<char*> arguments;
  if (!text.ends_with('\0')) text.push_back('\0');
  for (size_t at = 0; at < text.size(); at = text.find('\0', at) + 1) arguments.push_back(text.data() + at);
  arguments.push_back(nullptr);
  file.close();
  const std::string value = std::to_string(listener) + " " + address;
  // The driver frees what the process has of a device when its files are closed.
  const bool closes = close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0;
  const bool keeps = listener < 0 || fcntl(listener, F_SETFD, 0) == 0;
  if (closes && keeps && setenv(kRelaunchedVariable, value.c_str(), /*overwrite=*/1) == 0)
    execve("/proc/self/exe", arguments.data(), environ);
  return IoError("cannot execute the program again: " + std::generic_category().message(errno));
}

}  // namespace prefixd
