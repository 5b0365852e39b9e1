#include "daemon/relaunch.h"

#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

namespace prefixd {

bool WasRelaunched() { return std::getenv(kRelaunchedVariable) != nullptr; }

Status Relaunch() {
  // What the process was executed with; each argument ends with a zero.
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  std::vector<char*> arguments;
  if (!text.ends_with('\0')) text.push_back('\0');
  for (size_t at = 0; at < text.size(); at = text.find('\0', at) + 1) arguments.push_back(text.data() + at);
  arguments.push_back(nullptr);
  file.close();
  // The driver frees what the process has of a device when its files are closed.
  const bool closes = close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0;
  if (closes && setenv(kRelaunchedVariable, "1", /*overwrite=*/1) == 0)
    execve("/proc/self/exe", arguments.data(), environ);
  return IoError("cannot execute the program again: " + std::generic_category().message(errno));
}

}  // namespace prefixd
