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
    "give a Hugging Face folder with config.json, tokenizer.json and *.safetensors files";
constexpr std::string_view kConvert =
    "convert it with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER)";

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

std::string UseGguf(const std::string& name) {
  return "it has " + name + ": GGUF files are not supported; use the folder that it was made from";
}

// What another program's folder is; empty where it is not known.
std::string OtherKind(const fs::path& folder, const std::vector<std::string>& names) {
  if (HasAdapter(folder)) return "it is " + DescribeAdapter(folder);
  if (Has(names, "model_index.json")) {
    const std::string pipeline = StringIn(folder / "model_index.json", "_class_name");
    return "it is a pipeline of diffusers" + (pipeline.empty() ? "" : " (" + pipeline + ")") +
           ", which generates no text; prefixd serves language models";
  }
  if (const fs::path snapshot = SnapshotIn(folder); !snapshot.empty()) {
    return "it is an entry of the Hugging Face cache; give the folder of the snapshot: --model " +
           snapshot.string();
  }
  if (const std::string gguf = NameWith(names, {".gguf", ".ggml"}); !gguf.empty()) return UseGguf(gguf);
  if (Has(names, "params.json") || !NameWith(names, {"consolidated.safetensors", ".pth"}).empty()) {
    return "it has the files of the model's maker (params.json, consolidated.*); download the version for "
           "transformers, which has config.json and tokenizer.json, or convert it to that";
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
  if (fs::is_directory(config, ignored)) return "config.json is a folder, not a file; download it again";
  if (fs::exists(config, ignored)) return "config.json is not a regular file; download it again";
  if (Has(names, "config.json"))
    return "config.json cannot be opened: Permission denied; let the user that runs prefixd read it";
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
  return found + std::string(kWhatAModelIs);
}

}  // namespace

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
    if (path.extension() == ".gguf") return "GGUF files are not supported; " + std::string(kWhatAModelIs);
    const fs::path folder = path.parent_path();
    return "is not a folder; " + (Exists(folder / "config.json")
                                      ? "give the folder that it is in: --model " + folder.string()
                                      : std::string(kWhatAModelIs));
  }
  const auto names = NamesIn(path);
  if (!names) return "the folder cannot be read: Permission denied; let the user that runs prefixd read it";
  return NoConfig(path, *names);
}

std::string WhyNoWeights(const fs::path& folder) {
  const std::vector<std::string> names = NamesIn(folder).value_or(std::vector<std::string>());
  const std::string none = "has no weights in *.safetensors files: ";
  if (HasAdapter(folder)) return none + "it is " + DescribeAdapter(folder);
  if (const std::string name = Unfinished(names); !name.empty())
    return none + "it has " + name + ", part of a download that has not finished; download the folder again";
  if (const std::string name = NameWith(names, {".bin", ".pt", ".pth"}); !name.empty())
    return none + "it has " + name + ", in the format of PyTorch; " + std::string(kConvert);
  if (const std::string name = NameWith(names, {".gguf", ".ggml"}); !name.empty())
    return none + UseGguf(name);
  if (const std::string name = NameWith(names, {".h5", ".msgpack", ".ckpt.index"}); !name.empty())
    return none + "it has " + name + ", in the format of TensorFlow or JAX; " + std::string(kConvert);
  if (Has(names, "onnx") || !NameWith(names, {".onnx", "openvino_model.xml"}).empty())
    return none + "it is an export to ONNX or OpenVINO; use the folder that it was made from";
  return none + "download the folder again, with its *.safetensors files";
}

std::string WhyNoTokenizer(const fs::path& folder) {
  const std::vector<std::string> names = NamesIn(folder).value_or(std::vector<std::string>());
  const std::string none = "has no tokenizer.json: ";
  constexpr std::string_view kSave =
      "make it with transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";
  for (const std::string_view name :
       {"tokenizer.model", "spiece.model", "vocab.json", "tokenizer.tiktoken"}) {
    if (Has(names, name)) return none + "it has only " + std::string(name) + "; " + std::string(kSave);
  }
  if (Has(names, "tekken.json"))
    return none +
           "it has only tekken.json, of mistral-common; take tokenizer.json from a version of the "
           "model for transformers";
  return none + "download it with the model, or " + std::string(kSave);
}

}  // namespace prefixd
