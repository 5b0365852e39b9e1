#include "model/safetensors.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <map>
#include <set>
#include <utility>

#include "base/bytes.h"
#include "base/json_fields.h"
#include "base/log.h"
#include "model/folder_kind.h"

namespace prefixd {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".safetensors";
constexpr uint64_t kLongestHeader = 32 << 20;
constexpr size_t kMostDimensions = 8;
constexpr size_t kLongestIndex = 64 << 20;

// The dtypes of the format whose elements are whole bytes.
struct SafetensorsType {
  std::string_view name;
  int bytes;
  std::optional<DType> dtype;
};
constexpr SafetensorsType kStoredTypes[] = {
    {"F32", 4, DType::kF32}, {"F16", 2, DType::kF16}, {"BF16", 2, DType::kBF16},
    {"F64", 8, {}},          {"F8_E4M3", 1, {}},      {"F8_E5M2", 1, {}},
    {"I64", 8, {}},          {"I32", 4, {}},          {"I16", 2, {}},
    {"I8", 1, {}},           {"U64", 8, {}},          {"U32", 4, {}},
    {"U16", 2, {}},          {"U8", 1, {}},           {"BOOL", 1, {}},
};

std::string Bytes(uint64_t count) { return std::to_string(count) + (count == 1 ? " byte" : " bytes"); }

// Parses one entry of the header. `data` is the data of the file.
Result<TensorView> ParseTensor(const JsonFields& fields, std::string_view name,
                               std::span<const std::byte> data) {
  TensorView tensor;
  tensor.name = name;
  PREFIXD_ASSIGN_OR_RETURN(tensor.dtype_name, fields.String("dtype").Or(""));
  const auto* type = std::find_if(std::begin(kStoredTypes), std::end(kStoredTypes),
                                  [&](const SafetensorsType& row) { return row.name == tensor.dtype_name; });
  if (type == std::end(kStoredTypes)) return fields.Unsupported("dtype", "dtypes of whole bytes");
  tensor.dtype = type->dtype;
  PREFIXD_ASSIGN_OR_RETURN(tensor.shape, fields.Integers("shape", 0, INT64_MAX, kMostDimensions).Required());
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets,
                           fields.Integers("data_offsets", 0, INT64_MAX, 2).Required());
  if (offsets.size() != 2 || offsets[0] > offsets[1] || static_cast<uint64_t>(offsets[1]) > data.size()) {
    return fields.Wrong("data_offsets", "begin <= end <= " + std::to_string(data.size()) + " bytes of data");
  }
  uint64_t bytes = type->bytes;
  bool overflow = false;
  for (const int64_t size : tensor.shape)
    overflow |= __builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes);
  if (overflow || bytes != static_cast<uint64_t>(offsets[1] - offsets[0])) {
    return fields.Wrong("shape", "one that takes the " + std::to_string(offsets[1] - offsets[0]) +
                                     " bytes of its data_offsets");
  }
  tensor.bytes = data.subspan(static_cast<size_t>(offsets[0]), static_cast<size_t>(bytes));
  return tensor;
}

// Sorts the tensors by offset and checks that they cover each byte of the data once.
Status CheckCoverage(const std::string& file, std::span<const std::byte> data,
                     std::vector<TensorView>* tensors) {
  std::sort(tensors->begin(), tensors->end(), [](const TensorView& a, const TensorView& b) {
    return std::make_pair(a.bytes.data(), a.bytes.size()) < std::make_pair(b.bytes.data(), b.bytes.size());
  });
  const std::byte* end = data.data();
  for (const TensorView& tensor : *tensors) {
    if (tensor.bytes.data() != end) {
      return Corrupt(file + ": tensor '" + tensor.name + "' begins at byte " +
                     std::to_string(tensor.bytes.data() - data.data()) + " of the data, where " +
                     std::to_string(end - data.data()) + " is the end of the tensor before it");
    }
    end += tensor.bytes.size();
  }
  if (end != data.data() + data.size()) {
    return Corrupt(file + " is too long: its last " + Bytes(data.data() + data.size() - end) +
                   (data.data() + data.size() - end == 1 ? " belongs" : " belong") +
                   " to no tensor; download it again");
  }
  return Status::Ok();
}

// Refuses a file that ends before the last of its tensors does.
Status CheckLength(const std::string& file, const bj::object& header, size_t data_bytes) {
  int64_t needed = 0;
  for (const auto& [key, value] : header) {
    const bj::value* offsets = value.is_object() ? value.get_object().if_contains("data_offsets") : nullptr;
    if (offsets == nullptr || !offsets->is_array()) continue;  // ParseTensor refuses it
    for (const bj::value& offset : offsets->get_array())
      needed = std::max(needed, JsonInteger(offset).value_or(0));
  }
  if (static_cast<uint64_t>(needed) <= data_bytes) return Status::Ok();
  const uint64_t missing = static_cast<uint64_t>(needed) - data_bytes;
  return Corrupt(file + " is cut short: its last " + Bytes(missing) + (missing == 1 ? " is" : " are") +
                 " missing; download it again");
}

// What a file is that begins like one of another format, and what to do.
std::string OtherFormat(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("PK\3\4") || text.starts_with("\x80\x02\x8A") || text.starts_with("\x80\x02}"))
    return "a PyTorch pickle; download the real file, or, if you trust this one, rename it to "
           "pytorch_model.bin and convert it " +
           SaveWithTransformers();
  if (text.starts_with("GGUF"))
    return "a GGUF file; give its name the ending .gguf, and give that file to --model";
  if (text.starts_with("\x89HDF"))
    return "an HDF5 file, which is not supported; " + std::string(kUseOriginal);
  if (text.starts_with("<")) return "HTML or XML, perhaps an error page; download it again";
  return "";
}

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

// Returns the map from tensor name to shard that the index file contains.
Result<std::map<std::string, std::string>> ReadIndex(const fs::path& path) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kLongestIndex));
  const std::string prefix = path.filename().string() + ": ";
  PREFIXD_ASSIGN_OR_RETURN(const bj::object object, ParseJsonObject(prefix, text));
  const JsonFields fields(object, prefix, Code::kCorrupt);
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields map, fields.Object("weight_map").Required());
  if (map.object().empty()) return fields.Wrong("weight_map", "tensors and their files");
  std::map<std::string, std::string> shards;
  for (const auto& [name, value] : map.object()) {
    if (!value.is_string() || !IsPlainFileName(value.get_string())) {
      return FieldError{FieldError::Kind::kOutOfRange, Code::kCorrupt,
                        prefix + "weight_map[" + QuoteJson(bj::value(name)) + "]",
                        "the name of a file of this folder", &value}
          .ToStatus();
    }
    shards.emplace(name, std::string(value.get_string()));
  }
  return shards;
}

// The files with the tensors of a folder. `index` is empty if there is no index file.
struct Shards {
  std::set<std::string> files;
  std::map<std::string, std::string> index;
};

// The number N in a name such as "model-00001-of-00003.safetensors"; 0 where the name is none of that kind.
int ShardsOf(std::string_view name) {
  const size_t at = name.rfind("-of-");
  int count = 0;
  if (at == name.npos || !name.ends_with(".safetensors")) return 0;
  const std::string_view digits = name.substr(at + 4, name.size() - at - 4 - kExtension.size());
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  return error == std::errc() && end == digits.data() + digits.size() ? count : 0;
}

// Refuses files whose names count more of them than there are.
Status CheckSeries(const std::set<std::string>& files) {
  for (const std::string& name : files) {
    const std::string end = name.substr(std::min(name.size(), name.rfind("-of-")));
    const auto same = [&](const std::string& other) { return other.ends_with(end); };
    const auto found = std::ranges::count_if(files, same);
    if (const int count = ShardsOf(name); found < count) {
      return NotFound(name + " is one of " + std::to_string(count) + " files, of which only " +
                      std::to_string(found) + (found == 1 ? " is" : " are") +
                      " there; download the folder again, with model.safetensors.index.json");
    }
  }
  return Status::Ok();
}

// Refuses an index that names files which are not there.
Status CheckIndexed(const fs::path& folder, const std::set<std::string>& files) {
  std::error_code ignored;
  size_t missing = 0;
  std::string first;
  for (const std::string& file : files) {
    if (fs::symlink_status(folder / file, ignored).type() != fs::file_type::not_found) continue;
    if (missing++ == 0) first = file;
  }
  if (missing == 0) return Status::Ok();
  return NotFound("model.safetensors.index.json names " + std::to_string(files.size()) +
                  (files.size() == 1 ? " file, of which " : " files, of which ") + std::to_string(missing) +
                  (missing == 1 ? " is not there: " : " are not there, such as ") + first +
                  "; download the folder again");
}

Result<Shards> FindShards(const fs::path& folder) {
  Shards shards;
  std::error_code ignored;
  const fs::path index = folder / "model.safetensors.index.json";
  // A link to a file that does not exist is named when it is opened.
  const auto is_there = [&](const fs::path& path) {
    return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
  };
  if (is_there(folder / "model.safetensors")) {
    shards.files.insert("model.safetensors");
  } else if (is_there(index)) {
    PREFIXD_ASSIGN_OR_RETURN(shards.index, ReadIndex(index));
    for (const auto& [name, shard] : shards.index) shards.files.insert(shard);
    PREFIXD_RETURN_IF_ERROR(CheckIndexed(folder, shards.files));
  } else {
    for (fs::directory_iterator it(folder, ignored), end; it != end; it.increment(ignored)) {
      const std::string name = it->path().filename().string();
      if (name.ends_with(kExtension) && !name.starts_with("adapter_")) shards.files.insert(name);
    }
    PREFIXD_RETURN_IF_ERROR(CheckSeries(shards.files));
  }
  if (shards.files.empty()) return NotFound(WhyNoWeights(folder));
  if (HasAdapter(folder)) {
    if (shards.index.empty() && !shards.files.contains("model.safetensors"))
      return NotFound("is " + DescribeAdapter(folder));
    Log(LogLevel::kWarning,
        "the adapter of the folder is not applied: the base weights are served; merge it with peft to use it",
        {{"file", "adapter_config.json"}, {"folder", folder.string()}});
  }
  return shards;
}

// Checkpoints of the bare model name their tensors "layers.0...", those of the causal model
// "model.layers.0...". transformers loads both.
void AddModelPrefix(std::vector<TensorView>* tensors) {
  constexpr std::string_view kPrefix = "model.";
  const auto has = [&](const auto& matches) { return std::ranges::any_of(*tensors, matches); };
  if (has([&](const TensorView& tensor) { return tensor.name.starts_with(kPrefix); })) return;
  if (!has([](const TensorView& tensor) { return tensor.name == "embed_tokens.weight"; })) return;
  for (TensorView& tensor : *tensors) {
    if (!tensor.name.starts_with("lm_head.")) tensor.name.insert(0, kPrefix);
  }
}

}  // namespace

std::string_view SafetensorsName(DType dtype) {
  return std::ranges::find(kStoredTypes, std::optional(dtype), &SafetensorsType::dtype)->name;
}

Result<std::vector<TensorView>> ParseSafetensors(std::string_view file_name,
                                                 std::span<const std::byte> bytes) {
  const std::string file(file_name);
  if (bytes.empty()) return Corrupt(file + " is empty; download it again");
  if (bytes.size() < sizeof(uint64_t)) {
    return Corrupt(file + " has " + Bytes(bytes.size()) +
                   ", too few for a safetensors file; download it again");
  }
  const uint64_t length = GetLittle<uint64_t>(bytes.data());
  const std::span<const std::byte> rest = bytes.subspan(sizeof(uint64_t));
  if (length > kLongestHeader) {
    if (const std::string other = OtherFormat(bytes); !other.empty())
      return Corrupt(file + " is not a safetensors file but " + other);
    return Corrupt(file + " is not a safetensors file: it begins with the length of a header, here " +
                   std::to_string(length) + " bytes (limit " + FormatSize(kLongestHeader) +
                   "); download the file again");
  }
  if (length > rest.size()) {
    return Corrupt(file + " is cut short: its header takes " + std::to_string(length) +
                   " bytes, and the file has " + std::to_string(rest.size()) +
                   " after the length; download it again");
  }
  const std::string_view header(reinterpret_cast<const char*>(rest.data()), static_cast<size_t>(length));
  const std::span<const std::byte> data = rest.subspan(static_cast<size_t>(length));
  PREFIXD_ASSIGN_OR_RETURN(
      const bj::object object,
      ParseJsonObject(file + ": its header ", header, {.twice = JsonParseOptions::Twice::kRefuse}));
  PREFIXD_RETURN_IF_ERROR(CheckLength(file, object, data.size()));
  std::vector<TensorView> tensors;
  for (const auto& [key, value] : object) {
    if (key == "__metadata__") continue;
    const std::string place = file + ": tensor '" + std::string(key) + "'";
    if (!value.is_object()) return Corrupt(place + " is " + QuoteJson(value) + " (expected: an object)");
    const JsonFields fields(value.get_object(), place + ": ", Code::kCorrupt);
    PREFIXD_ASSIGN_OR_RETURN(TensorView tensor, ParseTensor(fields, key, data));
    tensors.push_back(std::move(tensor));
  }
  PREFIXD_RETURN_IF_ERROR(CheckCoverage(file, data, &tensors));
  return tensors;
}

std::string SafetensorsHeader(std::span<const SafetensorsEntry> tensors) {
  bj::object header{{"__metadata__", {{"format", "pt"}}}};
  uint64_t at = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    header[tensor.name] = {{"dtype", SafetensorsName(tensor.dtype)},
                           {"shape", bj::array(tensor.shape.begin(), tensor.shape.end())},
                           {"data_offsets", bj::array{at, at + tensor.bytes}}};
    at += tensor.bytes;
  }
  std::string text = bj::serialize(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that numbers are aligned
  std::string bytes;
  PutLittle(&bytes, static_cast<uint64_t>(text.size()));
  return bytes + text;
}

Result<WeightFiles> OpenSafetensors(const fs::path& folder) {
  PREFIXD_ASSIGN_OR_RETURN(const Shards shards, FindShards(folder));
  std::vector<MappedFile> files;
  std::vector<TensorView> all;
  std::map<std::string, std::string> found;  // tensor name -> file
  for (const std::string& file : shards.files) {
    Result<MappedFile> mapped = MappedFile::Open(folder / file);
    PREFIXD_RETURN_IF_ERROR(mapped.status());
    PREFIXD_ASSIGN_OR_RETURN(std::vector<TensorView> tensors, ParseSafetensors(file, mapped->bytes()));
    files.push_back(*std::move(mapped));
    for (TensorView& tensor : tensors) {
      if (const auto [at, is_new] = found.emplace(tensor.name, file); !is_new) {
        return Corrupt("tensor '" + tensor.name + "' is in " + at->second + " and in " + file);
      }
      all.push_back(std::move(tensor));
    }
  }
  for (const auto& [name, file] : shards.index) {
    const auto at = found.find(name);
    if (at == found.end() || at->second != file) {
      return Corrupt("model.safetensors.index.json: tensor '" + name + "' is not in " + file +
                     "; download the folder again");
    }
  }
  AddModelPrefix(&all);
  return WeightFiles(WeightFiles::Kind::kSafetensors, std::move(files), std::move(all));
}

}  // namespace prefixd
