// Where the reference data lies: golden checkpoints, tokenizer vectors, templates. Environment variable PREFIXD_SHARED,
// or the folder `shared` beside the repository. Tests that need it are skipped by name where it is absent.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace prefixd::testing_support {

// Empty when there is no such data here.
std::filesystem::path SharedDir();
// Root of the source tree.
std::filesystem::path SourceDir();
std::string ReadFileOrDie(const std::filesystem::path& path);

}  // namespace prefixd::testing_support

// In a TEST body: skips it when `relative` is not among the reference data.
#define PREFIXD_NEED_SHARED(relative)                                                            \
  if (::prefixd::testing_support::SharedDir().empty() ||                                         \
      !std::filesystem::exists(::prefixd::testing_support::SharedDir() / (relative)))            \
  GTEST_SKIP() << "needs the reference data " << (relative) << "; set PREFIXD_SHARED"
