#include "model/truncation_guard.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace prefixd {
namespace {

// A signal handler may use neither locks nor the heap, so the table has a fixed size.
struct Watched {
  std::atomic<const std::byte*> begin{nullptr};  // null: the row is free; taken while it is set or cleared
  std::atomic<const std::byte*> end{nullptr};    // null while the row is being written
  char path[512];
};
std::array<Watched, 1024> watched;
std::atomic<int> code_of_exit{1};

void WriteAll(const char* text) {
  // The process ends: nothing can be done about a failure.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

void OnBusError(int, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (const Watched& file : watched) {
    const std::byte* end = file.end.load();
    if (end == nullptr || address < file.begin.load() || address >= end) continue;
    WriteAll("prefixd: model refused: ");
    WriteAll(file.path);
    WriteAll(": was cut short while it was read; wait until it is complete, then start again\n");
    ::_exit(code_of_exit.load());
  }
  ::signal(SIGBUS, SIG_DFL);
  ::raise(SIGBUS);  // delivered when this handler returns
}

}  // namespace

void InstallTruncationGuard(int exit_code) {
  code_of_exit.store(exit_code);
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

void WatchMappedFile(std::span<const std::byte> bytes, const std::string& path) {
  for (Watched& file : watched) {
    const std::byte* free = nullptr;
    if (!file.begin.compare_exchange_strong(free, bytes.data())) continue;
    const size_t length = path.copy(file.path, sizeof(file.path) - 1);
    file.path[length] = '\0';
    file.end.store(bytes.data() + bytes.size());
    return;
  }
}

void UnwatchMappedFile(std::span<const std::byte> bytes) {
  for (Watched& file : watched) {
    if (file.begin.load() != bytes.data()) continue;
    file.end.store(nullptr);
    file.begin.store(nullptr);
    return;
  }
}

}  // namespace prefixd
