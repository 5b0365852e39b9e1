// Reads the safetensors format: named tensors in one file or in several shards. The tensors stay in the
// mapped files and are not copied.
//
//   file:   u64 little-endian header length N, N bytes of JSON, then the data
//   header: {"name": {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [begin, end]}, ...,
//            "__metadata__": {...}}
//   Offsets count from the start of the data. The tensors cover the data without gaps or overlap, as the
//   format demands.
//
// The files are not trusted: every length and offset is checked before it is used. Pure functions; any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "model/weight_files.h"

namespace prefixd {

// The name of a type in a header: "BF16".
std::string_view SafetensorsName(DType dtype);

// Parses one file that is in memory and returns its tensors in the order of their data. They refer to
// `bytes`. `file` is the name of the file in messages. Returns kCorrupt when the file is damaged; the message
// says how. Returns kUnsupported for an unknown dtype.
Result<std::vector<TensorView>> ParseSafetensors(std::string_view file, std::span<const std::byte> bytes);

// What SafetensorsHeader says of a tensor.
struct SafetensorsEntry {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t bytes;
};
// Returns the bytes of a file before its data, in which the tensors follow one another in this order.
std::string SafetensorsHeader(std::span<const SafetensorsEntry> tensors);

// Opens model.safetensors of `folder`. If there is none, opens the shards that model.safetensors.index.json
// names. If there is no index either, opens every *.safetensors file. Returns kNotFound when there is no
// file to open or a shard is missing, and kCorrupt when the index and the shards disagree or a name occurs
// twice. Also returns the errors of ParseSafetensors. Tensors of a checkpoint of the bare model, without
// lm_head and without the prefix "model.", get that prefix.
Result<WeightFiles> OpenSafetensors(const std::filesystem::path& folder);

}  // namespace prefixd
