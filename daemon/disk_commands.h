// The commands on the directory of a disk cache: `prefixd inspect`, `purge` and `verify`. They print to
// stdout, and errors, questions and the progress bar to stderr.
//
// Threads: the main thread.
//
// Beside a daemon that uses the directory, inspect, verify and `purge --dry-run` work and change nothing;
// what the daemon drops meanwhile is counted and is no error. purge and `verify --delete` need the lock and
// refuse.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/exit_code.h"
#include "storage/file_observer.h"

namespace prefixd {

struct DiskCommandOptions {
  std::string directory;
  bool json = false;

  // purge; the filters combine: what all of them match goes
  std::string model;                  // the first digits of a fingerprint; empty: every model
  std::optional<std::string> tenant;  // its name or, without API keys or with tenant_key, a cache_salt
  std::string tenant_key;             // a file with an API key of the tenant, or with its entry
  std::optional<int64_t> older_than;  // seconds
  bool all = false;                   // every record, and every database that is set aside
  bool yes = false;
  bool dry_run = false;

  bool remove_damaged = false;  // verify

  FileObserver* observer = nullptr;  // of what changes the database; see disk_observer.h
};

// kExitOk; kExitFailed: the directory is in use or cannot be read; kExitUsage: it is no disk cache, or the
// arguments name nothing in it.
ExitCode Inspect(const DiskCommandOptions& options);
ExitCode Purge(const DiskCommandOptions& options);
// kExitFailed also when a record is damaged.
ExitCode Verify(const DiskCommandOptions& options);

}  // namespace prefixd
