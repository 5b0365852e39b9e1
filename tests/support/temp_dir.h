// TempDir creates an empty folder for one test and removes it, with its content, at the end. One owner.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/check.h"

namespace prefixd::testing_support {

class TempDir {
 public:
  TempDir() : TempDir("") {}
  // In `parent` if that is a folder that can be written; otherwise where temporary files are.
  explicit TempDir(const std::string& parent) {
    const bool usable = !parent.empty() && access(parent.c_str(), W_OK) == 0;
    const std::filesystem::path folder = usable ? parent : std::filesystem::temp_directory_path().string();
    std::string name = (folder / "prefixd-test-XXXXXX").string();
    PREFIXD_CHECK(mkdtemp(name.data()) != nullptr) << name;
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace prefixd::testing_support
