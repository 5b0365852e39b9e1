// Converts a model between the two kinds of files that prefixd serves: a Hugging Face folder becomes a GGUF
// file, and a GGUF file becomes such a folder. PlanConversion reads all but the weights and refuses what
// cannot be converted; RunConversion reads the weights and writes everything. Plain functions; any thread.
//
// Invariants
//   1. What is written is there whole or not at all (model/new_path.h).
//   2. Matrices get the type that is asked for where their rows are whole blocks of it, and f32 elsewhere. In
//      a GGUF file vectors are f32. Numbers that a type has are kept, others are rounded once.
//   3. What gets lost, and changes no number of the forward pass, is in `losses`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "kernels/stored_type.h"
#include "model/tensor_conversion.h"
#include "model/weight_files.h"

namespace prefixd {

// The types of what is written: "f32, f16, bf16, q8_0, q4_0", or "f32, bf16".
std::string TypesOfConversion(bool to_gguf);
// The type of a name in it; nothing for another.
std::optional<StoredType> TypeOfConversion(std::string_view name, bool to_gguf);

struct Conversion {
  struct Tensor {
    const TensorView* from;  // in `files`
    std::string name;        // in what is written
    TensorForm form;
    uint64_t bytes;  // in what is written, without what fills gaps
  };
  bool to_gguf;
  std::string model_type;  // of what is written
  int64_t parameters;
  WeightFiles files;
  std::vector<Tensor> tensors;  // in their order
  std::vector<float> divisors;  // of a GGUF file: the tensor after them; may be empty
  std::string header;           // of the file with the weights
  uint64_t bytes;               // of that file
  std::vector<std::pair<std::string, std::string>> texts;  // names and contents of the other files
  std::vector<std::string> losses;                         // sentences without a full stop

  std::map<std::string, uint64_t> BytesOfTypes() const;
};

// Plans to convert the folder or the GGUF file at `from`. Without `type`, matrices keep the type of the model
// where what is written can have it, and become bf16 elsewhere. The errors are those of LoadModel, and
// kUnsupported for what the other kind of file cannot say.
Result<Conversion> PlanConversion(const std::filesystem::path& from, std::optional<StoredType> type);

// Says that so many bytes of the weights, of all that there are, have been read. Returns whether to go on.
using ConversionProgress = std::function<bool(uint64_t done, uint64_t total)>;

// Writes the file or folder `to`. kInvalidArgument: `to` cannot be made, or exists without `overwrite`.
// kCancelled: `progress` stopped it. kIo: an error of the system. kCorrupt, kUnsupported: a tensor.
Status RunConversion(const Conversion& conversion, const std::filesystem::path& to, bool overwrite,
                     const ConversionProgress& progress);

}  // namespace prefixd
