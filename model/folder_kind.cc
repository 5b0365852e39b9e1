#include "model/folder_kind.h"

#include <algorithm>
#include <boost/json/value.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/json_fields.h"
#include "base/utf8.h"
#include "model/mapped_file.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestFile = 1 << 20;
constexpr size_t kMostEntries = 10000;  // of a folder that are looked at

constexpr std::string_view kWhatAModelIs =
    "give a Hugging Face folder with config.json, tokenizer.json and *.safetensors files, or a GGUF file";
constexpr std::string_view kSafetensorsVersion = "use a version of this model with *.safetensors files";
constexpr std::string_view kRightToRead = "give the user that runs prefixd the right to read it (chmod)";

// Weights that transformers 5 does not read, after pytorch_model*.bin, which it does.
struct OtherFormat {
  std::string_view name, end;
};
constexpr OtherFormat kOtherFormats[] = {
    {"PyTorch", ".bin"},   {"PyTorch", ".pt"},  {"PyTorch", ".pth"},
    {"TensorFlow", ".h5"}, {"JAX", ".msgpack"}, {"TensorFlow", ".ckpt.index"},
};

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The names of a folder, sorted; nothing where it cannot be read.
std::optional<std::vector<std::string>> NamesIn(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && names.size() < kMostEntries;
       it.increment(error))
    names.push_back(RepairUtf8(it->path().filename().string()));
  if (error) return std::nullopt;
  std::sort(names.begin(), names.end());
  return names;
}

// The first name that ends with one of `ends`; empty where there is none.
std::string NameWith(const std::vector<std::string>& names, std::initializer_list<std::string_view> ends) {
  for (const std::string& name : names) {
    for (const std::string_view end : ends) {
      if (name.ends_with(end)) return name;
    }
  }
  return "";
}

bool Has(const std::vector<std::string>& names, std::string_view name) {
  return std::binary_search(names.begin(), names.end(), name);
}

// A string of a JSON file; empty where there is none.
std::string StringIn(const fs::path& file, std::string_view key) {
  const Result<std::string> text = ReadSmallFile(file, kLargestFile);
  if (!text.ok()) return "";
  const auto object = ParseJsonObject("", *text, {.twice = JsonParseOptions::Twice::kLast});
  if (!object.ok()) return "";
  const Field<std::string> value = JsonFields(*object).String(key);
  return value.ok() ? value.value() : "";
}

// The folder of the files in an entry of the Hugging Face cache; empty where there is none.
fs::path SnapshotIn(const fs::path& folder) {
  const Result<std::string> main = ReadSmallFile(folder / "refs" / "main", 256);
  const fs::path snapshots = folder / "snapshots";
  if (main.ok()) {
    const fs::path named = snapshots / main->substr(0, main->find_last_not_of(" \r\n") + 1);
    if (Exists(named / "config.json")) return named;
  }
  for (const std::string& name : NamesIn(snapshots).value_or(std::vector<std::string>())) {
    if (Exists(snapshots / name / "config.json")) return snapshots / name;
  }
  return {};
}

// Files of a download that has not finished.
std::string Unfinished(const std::vector<std::string>& names) {
  return NameWith(names, {".incomplete", ".part", ".crdownload", ".aria2", ".download", ".tmp"});
}

std::string UseGguf(const fs::path& folder, const std::string& name) {
  if (!name.ends_with(".gguf"))
    return "it has " + name + ", in a format before GGUF, which is not supported; " +
           std::string(kUseOriginal);
  return "it has " + name + "; give that file: --model " + (folder / name).string();
}

// A file of an export to ONNX or OpenVINO, with the name of the format; empty where there is none.
std::string ExportIn(const fs::path& folder, const std::vector<std::string>& names) {
  if (const std::string name = NameWith(names, {".onnx"}); !name.empty()) return name + ", an export to ONNX";
  if (const std::string name = NameWith(names, {"openvino_model.xml"}); !name.empty())
    return name + ", an export to OpenVINO";
  const std::string inner =
      NameWith(NamesIn(folder / "onnx").value_or(std::vector<std::string>()), {".onnx"});
  if (!inner.empty()) return "onnx/" + inner + ", an export to ONNX";
  return Has(names, "onnx") ? "onnx, the folder of an export to ONNX" : "";
}

// What another program's folder is; empty where it is not known.
std::string OtherKind(const fs::path& folder, const std::vector<std::string>& names) {
  if (HasAdapter(folder)) return "it is " + DescribeAdapter(folder);
  if (Has(names, "model_index.json")) {
    const std::string pipeline = StringIn(folder / "model_index.json", "_class_name");
    return "it has model_index.json, of a pipeline of diffusers" +
           (pipeline.empty() ? "" : " (" + pipeline + ")") +
           ", which generates no text; choose a language model";
  }
  if (const fs::path snapshot = SnapshotIn(folder); !snapshot.empty()) {
    return "it is an entry of the Hugging Face cache; give the folder of the snapshot: --model " +
           snapshot.string();
  }
  if (const std::string gguf = NameWith(names, {".gguf", ".ggml"}); !gguf.empty())
    return UseGguf(folder, gguf);
  if (Has(names, "params.json") || !NameWith(names, {"consolidated.safetensors", ".pth"}).empty()) {
    return "it has the maker's own format (params.json, consolidated.*); download the version for "
           "transformers, which has config.json and tokenizer.json";
  }
  return "";
}

std::string NoConfig(const fs::path& folder, const std::vector<std::string>& names) {
  std::error_code ignored;
  const fs::path config = folder / "config.json";
  if (fs::is_symlink(config, ignored)) {
    return "config.json is a link to " + fs::read_symlink(config, ignored).string() +
           ", which does not exist; copy the files instead of the links, or download the folder again";
  }
  if (fs::is_directory(config, ignored))
    return "config.json is a folder, not a file; remove it, then download the file";
  if (fs::exists(config, ignored))
    return "config.json is not a regular file; remove it, then download the file";
  if (Has(names, "config.json"))
    return "config.json cannot be opened: Permission denied; " + std::string(kRightToRead);
  if (names.empty()) return "is empty; " + std::string(kWhatAModelIs);
  const std::string found = "has no config.json: ";
  if (const std::string kind = OtherKind(folder, names); !kind.empty()) return found + kind;
  for (const std::string& name : names) {
    const fs::path snapshot = name.starts_with("models--") ? SnapshotIn(folder / name) : fs::path();
    if (!snapshot.empty()) {
      return found + "it is the Hugging Face cache; give the folder of a snapshot in it, such as --model " +
             snapshot.string();
    }
    if (Exists(folder / name / "config.json")) {
      return found + "its folder " + name + " has one; did you mean --model " + (folder / name).string() +
             "?";
    }
  }
  if (const std::string name = Unfinished(names); !name.empty())
    return found + "it has " + name + ", part of a download that has not finished; download the folder again";
  return "has no config.json; " + std::string(kWhatAModelIs);
}

}  // namespace

std::string SaveWithTransformers() {
  return "with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER), then copy "
         "the files of the tokenizer to OTHER";
}

bool HasAdapter(const fs::path& folder) { return Exists(folder / "adapter_config.json"); }

std::string DescribeAdapter(const fs::path& folder) {
  const fs::path file = folder / "adapter_config.json";
  const std::string type = StringIn(file, "peft_type"), base = StringIn(file, "base_model_name_or_path");
  return "a " + (type.empty() || type == "LORA" ? "LoRA" : type) + " adapter" +
         (base.empty() ? " of a model that adapter_config.json does not name" : " of " + base) +
         ", not a model; merge the two with peft (merge_and_unload, then save_pretrained of model and "
         "tokenizer) and serve the result";
}

std::string WhyNoModelFolder(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    const fs::path folder = path.parent_path();
    return "is not a folder; " + (Exists(folder / "config.json")
                                      ? "give the folder that it is in: --model " + folder.string()
                                      : std::string(kWhatAModelIs));
  }
  const auto names = NamesIn(path);
  if (!names) return "cannot be read: Permission denied; " + std::string(kRightToRead);
  return NoConfig(path, *names);
}

std::string WhyNoWeights(const fs::path& folder) {
  const std::vector<std::string> names = NamesIn(folder).value_or(std::vector<std::string>());
  const std::string none = "has no weights in *.safetensors files: ";
  if (HasAdapter(folder)) return none + "it is " + DescribeAdapter(folder);
  if (const std::string name = Unfinished(names); !name.empty())
    return none + "it has " + name + ", part of a download that has not finished; download the folder again";
  for (const std::string& name : names) {  // the ones that transformers reads
    if (name.starts_with("pytorch_model") && name.ends_with(".bin"))
      return none + "it has " + name + ", in the format of PyTorch; convert it " + SaveWithTransformers();
  }
  if (const std::string name = NameWith(names, {".gguf", ".ggml"}); !name.empty())
    return none + UseGguf(folder, name);
  // Before the formats: an export to OpenVINO has a file *.bin.
  if (const std::string found = ExportIn(folder, names); !found.empty())
    return none + "it has " + found + "; " + std::string(kUseOriginal);
  for (const auto& [format, ends] : kOtherFormats) {
    for (const std::string& name : names) {
      if (name.ends_with(ends))
        return none + "it has " + name + ", in the format of " + std::string(format) + "; " +
               std::string(kSafetensorsVersion);
    }
  }
  return "has no weights in *.safetensors files; download the folder again, with them";
}

std::string WhyNoTokenizer(const fs::path& folder) {
  const std::vector<std::string> names = NamesIn(folder).value_or(std::vector<std::string>());
  const std::string only = "has no tokenizer.json, only ";
  for (const std::string_view name :
       {"tokenizer.model", "spiece.model", "vocab.json", "tokenizer.tiktoken"}) {
    if (!Has(names, name)) continue;
    const bool merges = name == "vocab.json" && Has(names, "merges.txt");
    return only + std::string(name) + (merges ? " and merges.txt" : "") +
           "; make it with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";
  }
  if (Has(names, "tekken.json"))
    return only +
           "tekken.json, of mistral-common; take tokenizer.json from a version of the model for "
           "transformers";
  return "has no tokenizer.json; download the folder again, with it";
}

}  // namespace prefixd
