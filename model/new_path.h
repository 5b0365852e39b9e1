// NewFile and NewFolder make a file, or a folder of files, that exists whole or not at all: they write beside
// the path, under the name PATH.partial, and Commit gives that its name when all bytes are on the disk. One
// owner each.
//
// Invariants
//   1. Nothing that exists at the path is replaced, unless the caller asks for it. A folder that is replaced
//      has no files besides those that the caller names.
//   2. Without Commit, or after an error, the destructor removes what was written. Only when the process is
//      killed does PATH.partial stay; Create then refuses and names it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace prefixd {

class NewFile {
 public:
  // kInvalidArgument: the path exists, or cannot be the name of a file. kIo: the error of the system.
  static Result<NewFile> Create(const std::filesystem::path& path, bool replace);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  Status Append(std::string_view bytes);
  Status Commit();

 private:
  NewFile(std::filesystem::path path, bool replace, int descriptor)
      : path_(std::move(path)), replace_(replace), descriptor_(descriptor) {}

  std::filesystem::path path_;
  bool replace_;
  int descriptor_;  // -1: committed or moved from
};

class NewFolder {
 public:
  // `names`: of the files that a folder may have which is replaced. An empty folder always is. The errors are
  // those of NewFile::Create.
  static Result<NewFolder> Create(const std::filesystem::path& path, bool replace,
                                  std::span<const std::string_view> names);
  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder();

  // Where to make the files, which are to be committed before the folder.
  std::filesystem::path partial() const;
  Status Commit();

 private:
  NewFolder(std::filesystem::path path, bool replace) : path_(std::move(path)), replace_(replace) {}

  std::filesystem::path path_;  // empty: committed or moved from
  bool replace_;
};

}  // namespace prefixd
