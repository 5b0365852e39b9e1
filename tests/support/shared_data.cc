#include "tests/support/shared_data.h"

#include <cstdlib>

#include "base/check.h"

namespace prefixd::testing_support {

std::filesystem::path SourceDir() { return PREFIXD_SOURCE_DIR; }

std::filesystem::path SharedDir() {
  const char* set = std::getenv("PREFIXD_SHARED");
  const std::filesystem::path dir =
      set != nullptr ? std::filesystem::path(set) : SourceDir().parent_path() / "shared";
  return std::filesystem::is_directory(dir) ? dir : std::filesystem::path();
}

std::string ReadFileOrDie(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  PREFIXD_CHECK(in.good()) << "cannot read " << path;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

}  // namespace prefixd::testing_support
