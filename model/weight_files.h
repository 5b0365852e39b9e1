// WeightFiles: the port of weights in files. A model has them in a folder of safetensors files
// (model/safetensors.h) or in GGUF files (model/gguf_weights.h); the loader reads both through this. The
// tensors stay in the mapped files and are not copied.
//
// WeightFiles does not change after it is made, so any thread may read it.
//
// Invariants of WeightFiles
//   1. tensors() is sorted by name, and each name occurs once over all files.
//   2. The bytes of a tensor are inside its mapping, and their number follows from its shape and type.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/stored_type.h"
#include "model/mapped_file.h"

namespace prefixd {

struct TensorView {
  std::string name;                 // as transformers names it
  std::string dtype_name;           // from the header
  std::optional<StoredType> dtype;  // set if its numbers can be read
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // unaligned
  std::string name_in_file;          // where it is another than `name`
  // 0: the rows are in the order of transformers. Otherwise each head of so many rows has the two rows of a
  // rotated pair beside one another, where transformers has them half a head apart.
  int paired_rows = 0;

  const std::string& shown_name() const { return name_in_file.empty() ? name : name_in_file; }
};

// The row of transformers at which row `row` of such a tensor belongs. Requires an even number of rows per
// head.
constexpr int64_t UnpairedRow(int64_t row, int64_t rows_of_head) {
  const int64_t in_head = row % rows_of_head;
  return row - in_head + in_head % 2 * (rows_of_head / 2) + in_head / 2;
}

class WeightFiles {
 public:
  enum class Kind : uint8_t { kSafetensors, kGguf };

  // Opens a GGUF file, or else the folder of safetensors files. The errors are those of OpenGgufWeights and
  // OpenSafetensors.
  static Result<WeightFiles> Open(const std::filesystem::path& path);
  // The tensors are in the files and have different names.
  WeightFiles(Kind kind, std::vector<MappedFile> files, std::vector<TensorView> tensors);

  Kind kind() const { return kind_; }
  const std::vector<TensorView>& tensors() const { return tensors_; }
  // Returns nullptr if there is no such tensor.
  const TensorView* Find(std::string_view name) const;
  // The tensors in the order of the files, by name, and of their bytes there.
  std::vector<const TensorView*> InFileOrder() const;
  // The name of the file that has one of tensors().
  std::string FileOf(const TensorView& tensor) const;
  size_t total_bytes() const;
  // kCorrupt when a file has changed since Open; the message names it.
  Status CheckUnchanged() const;
  std::span<const MappedFile> files() const { return files_; }
  // The index in files() of the one with a tensor, or with a part of one that is not empty.
  size_t FileWith(std::span<const std::byte> part) const;
  // As the members of MappedFile, for a part of a tensor.
  void ReadPages(std::span<const std::byte> part) const;
  void DropPages(std::span<const std::byte> part) const;

  void CheckInvariants() const;

 private:
  Kind kind_;
  std::vector<MappedFile> files_;
  std::vector<TensorView> tensors_;
};

}  // namespace prefixd
