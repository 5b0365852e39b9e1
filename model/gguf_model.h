// A model in GGUF files: one file, or the parts of a split one, mapped. Opening it refuses files that are no
// language model, and says what they are. Plain values; any thread may read them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/gguf.h"
#include "model/mapped_file.h"

namespace prefixd {

// The parts in their order. The first one has the values that describe the model.
//
// Invariant: each name of a tensor occurs once over all parts.
struct GgufModel {
  std::vector<MappedFile> files;
  std::vector<GgufFile> parts;  // of the file with the same index

  const GgufValues& values() const { return parts.front().values; }
  // Null where no part has the tensor.
  const GgufTensor* Find(std::string_view name) const;
};

// Whether a path is a file that is to be read as GGUF: one with the ending .gguf, or one that begins as GGUF
// does.
bool IsGgufPath(const std::filesystem::path& path);

// Opens the file at `path` and, where it is the first of several, the others beside it. kUnsupported: a file
// that is no language model, as "is a projector of images ...". Other errors are those of MappedFile::Open
// and ParseGguf, kNotFound for a part that is not there, and kCorrupt for one of another model: its split.no,
// split.count or, where it has one, general.architecture differs.
Result<GgufModel> OpenGgufModel(const std::filesystem::path& path);

}  // namespace prefixd
