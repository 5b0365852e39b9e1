// The guard against files that are cut while they are mapped. Reading a page that the file no longer has
// raises SIGBUS, which would end the process without a word. With the guard it ends with a message that
// names the file.
//
// Threads: main installs the guard once, before other threads read files. MappedFile calls the other two,
// from any thread.
//
// Invariant: a SIGBUS outside the watched files does what it did before the guard.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace prefixd {

// From now on, reading a lost page of a watched file writes one line to stderr and ends the process with
// `exit_code`, without destructors.
void InstallTruncationGuard(int exit_code);

// Watches the memory of a mapped file until the matching call of Unwatch. Up to 1,024 files are watched at a
// time; others are not.
void WatchMappedFile(std::span<const std::byte> bytes, const std::string& path);
void UnwatchMappedFile(std::span<const std::byte> bytes);

}  // namespace prefixd
