#include "model/gguf_model.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostParts = 1000;
constexpr std::string_view kChoose = "; choose a language model";

// Files that are no language model, by the value of a key.
struct OtherKind {
  std::string_view key, value, is;
};
constexpr OtherKind kOtherKinds[] = {
    {"general.type", "mmproj", "a projector of images or sound for another model"},
    {"general.type", "adapter", "an adapter (LoRA), to be merged into its model before that is converted"},
    {"general.type", "imatrix", "statistics for quantising a model (an importance matrix)"},
    {"general.architecture", "controlvector", "a control vector of another model"},
    {"general.type", "vocab", "a vocabulary without weights"},
    {"general.architecture", "clip", "a projector of images for another model"},
    {"general.architecture", "bert", "an embedding model"},
    {"general.architecture", "modern-bert", "an embedding model"},
    {"general.architecture", "nomic-bert", "an embedding model"},
    {"general.architecture", "nomic-bert-moe", "an embedding model"},
    {"general.architecture", "jina-bert-v2", "an embedding model"},
    {"general.architecture", "jina-bert-v3", "an embedding model"},
    {"general.architecture", "neo-bert", "an embedding model"},
    {"general.architecture", "gemma-embedding", "an embedding model"},
    {"general.architecture", "t5encoder", "an encoder of text"},
    {"general.architecture", "t5", "an encoder-decoder"},
    {"general.architecture", "whisper", "a model of speech"},
    {"general.architecture", "wavtokenizer-dec", "a decoder of sound"},
    {"general.architecture", "sd1", "a model of images"},
    {"general.architecture", "sdxl", "a model of images"},
    {"general.architecture", "sd3", "a model of images"},
    {"general.architecture", "flux", "a model of images"},
    {"general.architecture", "aura", "a model of images"},
    {"general.architecture", "lumina2", "a model of images"},
    {"general.architecture", "hidream", "a model of images"},
    {"general.architecture", "qwen_image", "a model of images"},
    {"general.architecture", "hyvid", "a model of video"},
    {"general.architecture", "ltxv", "a model of video"},
    {"general.architecture", "wan", "a model of video"},
    {"general.architecture", "cosmos", "a model of video"},
    {"general.architecture", "dream", "a diffusion model of text"},
    {"general.architecture", "llada", "a diffusion model of text"},
    {"general.architecture", "llada-moe", "a diffusion model of text"},
};

// Keys of the architecture with which a converter marks models of embeddings.
constexpr std::string_view kPooling = ".pooling_type";

Status RefuseOtherKinds(const GgufModel& model) {
  const GgufValues& values = model.values();
  const auto refuse = [&](std::string_view is) {
    return Unsupported(values.file() + " is " + std::string(is) + ", not a language model" +
                       std::string(kChoose));
  };
  for (const OtherKind& kind : kOtherKinds) {
    PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string_view> value, values.String(kind.key));
    if (value == kind.value) return refuse(kind.is);
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string_view> family,
                           values.String("general.architecture"));
  if (!family) return values.Wrong("general.architecture", "the family of a model");
  const std::string pooling = std::string(*family) + std::string(kPooling);
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> type, values.Integer(pooling, -1, UINT32_MAX));
  if (type.value_or(0) > 0)
    return refuse("an embedding model (" + pooling + " is " + values.Quote(pooling) + ")");
  if (std::ranges::all_of(model.parts, [](const GgufFile& part) { return part.tensors.empty(); }))
    return refuse("a vocabulary without weights");
  return Status::Ok();
}

// The end of the name of part `number`, from 1, of `count`: "-00001-of-00003.gguf".
std::string EndOfPart(int64_t number, int64_t count) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "-%05d-of-%05d.gguf", static_cast<int>(number),
                static_cast<int>(count));
  return text.data();
}

Status OpenPart(const fs::path& path, GgufModel* model) {
  PREFIXD_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(GgufFile part, ParseGguf(path.string(), file.bytes()));
  model->files.push_back(std::move(file));
  model->parts.push_back(std::move(part));
  return Status::Ok();
}

// Whether part `number`, from 0, of `count` belongs to the first part, whose values are `first`.
Status CheckPart(const GgufValues& first, const GgufValues& part, int64_t number, int64_t count) {
  constexpr std::string_view kFamily = "general.architecture";
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> own, part.Integer("split.no", 0, count - 1));
  if (own != number) return part.Wrong("split.no", std::to_string(number) + ", as the name of the file says");
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> parts, part.Integer("split.count", 0, kMostParts));
  if (parts != count) return part.Wrong("split.count", std::to_string(count) + ", as in the first part");
  if (part.Find(kFamily) == nullptr) return Status::Ok();  // programs that split a file leave it out
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string_view> family, part.String(kFamily));
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<std::string_view> expected, first.String(kFamily));
  if (family != expected) return part.Wrong(kFamily, first.Quote(kFamily) + ", as in the first part");
  return Status::Ok();
}

// Opens the other parts where the file says that there are some.
Status OpenOtherParts(const fs::path& path, GgufModel* model) {
  const GgufValues& values = model->values();
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> count, values.Integer("split.count", 0, kMostParts));
  if (count.value_or(0) <= 1) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<int64_t> number, values.Integer("split.no", 0, *count - 1));
  const std::string name = path.filename().string(), end = EndOfPart(number.value_or(0) + 1, *count);
  if (!name.ends_with(end)) {
    return InvalidArgument(name + " is part " + std::to_string(number.value_or(0) + 1) + " of " +
                           std::to_string(*count) + ", but its name does not end in \"" + end +
                           "\"; give the parts the names that they had");
  }
  const std::string stem = name.substr(0, name.size() - end.size());
  if (number.value_or(0) != 0) {
    return InvalidArgument(name + " is part " + std::to_string(*number + 1) + " of " +
                           std::to_string(*count) + "; give the first one: --model " +
                           (path.parent_path() / (stem + EndOfPart(1, *count))).string());
  }
  for (int64_t i = 1; i < *count; ++i) {
    const Status opened = OpenPart(path.parent_path() / (stem + EndOfPart(i + 1, *count)), model);
    if (opened.code() == Code::kNotFound)
      return NotFound(opened.message() + "; " + name + " is one of " + std::to_string(*count) +
                      " files: download all of them into one folder");
    PREFIXD_RETURN_IF_ERROR(opened);
    PREFIXD_RETURN_IF_ERROR(CheckPart(model->values(), model->parts.back().values, i, *count));
  }
  return Status::Ok();
}

Status CheckNames(const GgufModel& model) {
  std::unordered_set<std::string_view> names;
  for (const GgufFile& part : model.parts) {
    for (const GgufTensor& tensor : part.tensors) {
      if (!names.insert(tensor.name).second)
        return Corrupt(part.values.file() + ": tensor '" + std::string(tensor.name) +
                       "' is in another part, too; download the files again");
    }
  }
  return Status::Ok();
}

}  // namespace

const GgufTensor* GgufModel::Find(std::string_view name) const {
  for (const GgufFile& part : parts) {
    const auto found = std::ranges::find(part.tensors, name, &GgufTensor::name);
    if (found != part.tensors.end()) return &*found;
  }
  return nullptr;
}

bool IsGgufPath(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  if (path.extension() == ".gguf") return true;
  std::array<char, 4> magic{};
  std::ifstream(path, std::ios::binary).read(magic.data(), magic.size());
  return IsGguf(std::as_bytes(std::span(magic)));
}

Result<GgufModel> OpenGgufModel(const fs::path& path) {
  GgufModel model;
  PREFIXD_RETURN_IF_ERROR(OpenPart(path, &model));
  PREFIXD_RETURN_IF_ERROR(OpenOtherParts(path, &model));
  PREFIXD_RETURN_IF_ERROR(RefuseOtherKinds(model));
  PREFIXD_RETURN_IF_ERROR(CheckNames(model));
  return model;
}

}  // namespace prefixd
