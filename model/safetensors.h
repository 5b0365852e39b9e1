// Reads the safetensors format: named tensors in one file or in several shards. The tensors stay in the
// mapped files and are not copied.
//
//   file:   u64 little-endian header length N, N bytes of JSON, then the data
//   header: {"name": {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [begin, end]}, ...,
//            "__metadata__": {...}}
//   Offsets count from the start of the data. The tensors cover the data without gaps or overlap, as the
//   format demands.
//
// The files are not trusted: every length and offset is checked before it is used. WeightFiles does not
// change after Open, so any thread may read it.
//
// Invariants of WeightFiles
//   1. tensors() is sorted by name, and each name occurs once over all shards.
//   2. The bytes of a tensor are inside its mapping, and their number is the product of its shape times the
//      size of its dtype.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "kernels/kv_layout.h"
#include "model/mapped_file.h"

namespace prefixd {

struct TensorView {
  std::string name;
  std::string dtype_name;      // from the header
  std::optional<DType> dtype;  // set if the kernels can read it
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // unaligned
};

// The name of a type in a header: "BF16".
std::string_view SafetensorsName(DType dtype);

// Parses one file that is in memory and returns its tensors in the order of their data. They refer to
// `bytes`. `file` is the name of the file in messages. Returns kCorrupt when the file is damaged; the message
// says how. Returns kUnsupported for an unknown dtype.
Result<std::vector<TensorView>> ParseSafetensors(std::string_view file, std::span<const std::byte> bytes);

class WeightFiles {
 public:
  // Opens model.safetensors of `folder`. If there is none, opens the shards that model.safetensors.index.json
  // names. If there is no index either, opens every *.safetensors file. Returns kNotFound when there is no
  // file to open or a shard is missing, and kCorrupt when the index and the shards disagree or a name occurs
  // twice. Also returns the errors of ParseSafetensors. Tensors of a checkpoint of the bare model, without
  // lm_head and without the prefix "model.", get that prefix.
  static Result<WeightFiles> Open(const std::filesystem::path& folder);

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
  // As the members of MappedFile, for a part of a tensor.
  void ReadPages(std::span<const std::byte> part) const;
  void DropPages(std::span<const std::byte> part) const;

  void CheckInvariants() const;

 private:
  // The file with a tensor, or with a part of one that is not empty.
  const MappedFile& FileWith(std::span<const std::byte> part) const;

  std::vector<MappedFile> files_;
  std::vector<TensorView> tensors_;
};

}  // namespace prefixd
