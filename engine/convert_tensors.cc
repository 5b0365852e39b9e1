// RunConversion: writes what PlanConversion planned.
#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "engine/convert_model.h"
#include "model/gguf_header.h"
#include "model/new_path.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPieceBytes = 4 << 20;
constexpr std::string_view kWeights = "model.safetensors";
// The entries of a folder that a conversion made, and of one that it may replace.
constexpr std::array<std::string_view, 7> kNames = {kWeights,
                                                    "config.json",
                                                    "generation_config.json",
                                                    "tokenizer.json",
                                                    "tokenizer_config.json",
                                                    "chat_template.jinja",
                                                    "additional_chat_templates"};

// Writes one file with weights.
class Writer {
 public:
  Writer(const Conversion& conversion, const ConversionProgress& progress, NewFile* file)
      : conversion_(conversion), progress_(progress), file_(file) {
    for (const Conversion::Tensor& tensor : conversion.tensors) total_ += tensor.from->bytes.size();
  }

  Status Write() {
    PREFIXD_RETURN_IF_ERROR(file_->Append(conversion_.header));
    for (const Conversion::Tensor& tensor : conversion_.tensors) {
      PREFIXD_RETURN_IF_ERROR(WriteTensor(tensor));
      conversion_.files.DropPages(tensor.from->bytes);
      PREFIXD_RETURN_IF_ERROR(Fill(tensor.bytes));
    }
    std::string divisors;
    for (const float divisor : conversion_.divisors) PutLittle(&divisors, divisor);
    PREFIXD_RETURN_IF_ERROR(file_->Append(divisors));
    PREFIXD_RETURN_IF_ERROR(Fill(divisors.size()));
    return conversion_.files.CheckUnchanged();
  }

 private:
  Status WriteTensor(const Conversion::Tensor& tensor) {
    const int64_t rows = RowsOf(*tensor.from);
    const uint64_t row_bytes = tensor.from->bytes.size() / static_cast<uint64_t>(std::max<int64_t>(rows, 1));
    const auto step = static_cast<int64_t>(kPieceBytes / std::max<uint64_t>(row_bytes, 1) + 1);
    std::string piece;
    for (int64_t row = 0; row < rows; row += step) {
      const int64_t count = std::min(step, rows - row);
      piece.clear();
      PREFIXD_RETURN_IF_ERROR(AppendRows(*tensor.from, tensor.form, row, count, &piece));
      PREFIXD_RETURN_IF_ERROR(file_->Append(piece));
      done_ += static_cast<uint64_t>(count) * row_bytes;
      if (!progress_(done_, total_)) return Cancelled("stopped; nothing was written");
    }
    return Status::Ok();
  }

  // The zeros behind a tensor in a GGUF file.
  Status Fill(uint64_t bytes) {
    if (!conversion_.to_gguf || bytes % kGgufAlignment == 0) return Status::Ok();
    return file_->Append(std::string(kGgufAlignment - bytes % kGgufAlignment, '\0'));
  }

  const Conversion& conversion_;
  const ConversionProgress& progress_;
  NewFile* const file_;
  uint64_t total_ = 0, done_ = 0;
};

// Refuses what has no room on the disk. What the system does not tell is found out while writing.
Status CheckSpace(const fs::path& to, uint64_t bytes) {
  std::error_code error;
  const fs::path parent = fs::absolute(to, error).parent_path();
  const fs::space_info space = fs::space(parent, error);
  if (error || space.available >= bytes) return Status::Ok();
  return IoError("there is no room for " + FormatSize(bytes) + " in " + parent.string() + ", where " +
                 FormatSize(space.available) + " are free; free some, or name another place");
}

Status WriteFile(const fs::path& path, std::string_view text) {
  PREFIXD_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(path, false));
  PREFIXD_RETURN_IF_ERROR(file.Append(text));
  return file.Commit();
}

Status WriteFolder(const Conversion& conversion, const fs::path& to, bool overwrite,
                   const ConversionProgress& progress) {
  PREFIXD_ASSIGN_OR_RETURN(NewFolder folder, NewFolder::Create(to, overwrite, kNames));
  for (const auto& [name, text] : conversion.texts) {
    const fs::path path = folder.partial() / name;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error) return IoError("cannot make " + path.parent_path().string() + ": " + error.message());
    PREFIXD_RETURN_IF_ERROR(WriteFile(path, text));
  }
  PREFIXD_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(folder.partial() / kWeights, false));
  PREFIXD_RETURN_IF_ERROR(Writer(conversion, progress, &file).Write());
  PREFIXD_RETURN_IF_ERROR(file.Commit());
  return folder.Commit();
}

}  // namespace

Status RunConversion(const Conversion& conversion, const fs::path& to, bool overwrite,
                     const ConversionProgress& progress) {
  PREFIXD_RETURN_IF_ERROR(CheckSpace(to, conversion.bytes));
  if (!conversion.to_gguf) return WriteFolder(conversion, to, overwrite, progress);
  PREFIXD_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(to, overwrite));
  PREFIXD_RETURN_IF_ERROR(Writer(conversion, progress, &file).Write());
  return file.Commit();
}

}  // namespace prefixd
