// Finds the reference data: golden checkpoints, tokenizer vectors, chat templates. It is in the folder that
// the environment variable PREFIXD_SHARED names, or in the folder `shared` beside the repository. Without it
// the tests that need it are skipped by name. Any thread.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace prefixd::testing_support {

// Returns an empty path when the data is absent.
std::filesystem::path SharedDir();
// Returns the root of the source tree.
std::filesystem::path SourceDir();
// Returns the content of a file. Stops the process if the file cannot be read.
std::string ReadFileOrDie(const std::filesystem::path& path);

}  // namespace prefixd::testing_support

// In the body of a TEST: skips the test when the reference data has no `relative`.
#define PREFIXD_NEED_SHARED(relative)                                                 \
  if (::prefixd::testing_support::SharedDir().empty() ||                              \
      !std::filesystem::exists(::prefixd::testing_support::SharedDir() / (relative))) \
  GTEST_SKIP() << "needs the reference data " << (relative) << "; set PREFIXD_SHARED"
