#include "model/weight_files.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "model/gguf_model.h"
#include "model/gguf_weights.h"
#include "model/safetensors.h"

namespace prefixd {

Result<WeightFiles> WeightFiles::Open(const std::filesystem::path& path) {
  return IsGgufPath(path) ? OpenGgufWeights(path) : OpenSafetensors(path);
}

WeightFiles::WeightFiles(Kind kind, std::vector<MappedFile> files, std::vector<TensorView> tensors)
    : kind_(kind), files_(std::move(files)), tensors_(std::move(tensors)) {
  std::ranges::sort(tensors_, {}, &TensorView::name);
}

const TensorView* WeightFiles::Find(std::string_view name) const {
  const auto at = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorView& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return at == tensors_.end() || at->name != name ? nullptr : &*at;
}

std::string WeightFiles::FileOf(const TensorView& tensor) const {
  return files_[FileWith(tensor.bytes)].path().filename().string();
}

std::vector<const TensorView*> WeightFiles::InFileOrder() const {
  std::vector<std::pair<size_t, const TensorView*>> placed;  // the files lie by name in files_
  for (const TensorView& tensor : tensors_) placed.emplace_back(FileWith(tensor.bytes), &tensor);
  std::ranges::sort(placed, [](const auto& a, const auto& b) {
    return std::tuple(a.first, a.second->bytes.data(), a.second->bytes.size()) <
           std::tuple(b.first, b.second->bytes.data(), b.second->bytes.size());
  });
  std::vector<const TensorView*> tensors;
  for (const auto& [file, tensor] : placed) tensors.push_back(tensor);
  return tensors;
}

Status WeightFiles::CheckUnchanged() const {
  for (const MappedFile& file : files_) PREFIXD_RETURN_IF_ERROR(file.CheckUnchanged());
  return Status::Ok();
}

size_t WeightFiles::total_bytes() const {
  size_t sum = 0;
  for (const TensorView& tensor : tensors_) sum += tensor.bytes.size();
  return sum;
}

size_t WeightFiles::FileWith(std::span<const std::byte> part) const {
  // A tensor without bytes may be at the end. None is at the beginning, where the header is.
  const auto file = std::ranges::find_if(files_, [part](const MappedFile& one) {
    const std::byte* begin = one.bytes().data();
    return part.data() > begin && part.data() <= begin + one.bytes().size();
  });
  PREFIXD_CHECK(file != files_.end()) << part.size() << " bytes outside the files";
  return static_cast<size_t>(file - files_.begin());
}

void WeightFiles::ReadPages(std::span<const std::byte> part) const {
  if (!part.empty()) files_[FileWith(part)].ReadPages(part);
}

void WeightFiles::DropPages(std::span<const std::byte> part) const {
  if (!part.empty()) files_[FileWith(part)].DropPages(part);
}

void WeightFiles::CheckInvariants() const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorView& tensor = tensors_[i];
    if (i > 0) PREFIXD_CHECK(tensors_[i - 1].name < tensor.name) << tensor.name;
    size_t elements = 1;
    for (const int64_t size : tensor.shape) elements *= static_cast<size_t>(size);
    if (tensor.dtype) PREFIXD_CHECK(tensor.bytes.size() == tensor.dtype->Bytes(elements)) << tensor.name;
    PREFIXD_CHECK(std::any_of(files_.begin(), files_.end(), [&](const MappedFile& file) {
      return tensor.bytes.empty() ||
             (tensor.bytes.data() >= file.bytes().data() &&
              tensor.bytes.data() + tensor.bytes.size() <= file.bytes().data() + file.bytes().size());
    })) << tensor.name;
  }
}

}  // namespace prefixd
