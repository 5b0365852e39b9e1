// Recognises what a path is that cannot be loaded as a model: a LoRA adapter, a folder of another program, a
// cache, a download that has not finished. Pure functions of the file system; any thread. They read names and
// the small JSON files that name the kind, and never fail: what they cannot read they leave out.
#pragma once

#include <filesystem>
#include <string>

namespace prefixd {

// Why `path` cannot be a model folder, and what to do: "has no config.json: ...", "config.json is ...".
// `path` exists, and is either not a folder or has no config.json that is a file.
std::string WhyNoModelFolder(const std::filesystem::path& path);

// Why a folder with config.json has no weights that prefixd reads, and what to do.
std::string WhyNoWeights(const std::filesystem::path& folder);

// What to do about weights that are those of another program.
inline constexpr std::string_view kUseOriginal =
    "use the original Hugging Face folder of this model, with *.safetensors files";

// How to write a folder anew: "with transformers: ...".
std::string SaveWithTransformers();

// Why a folder has no tokenizer.json, and what to do.
std::string WhyNoTokenizer(const std::filesystem::path& folder);

// Whether a folder is an adapter to another model, such as LoRA.
bool HasAdapter(const std::filesystem::path& folder);

// "a LoRA adapter of org/model, ...; merge it ...".
std::string DescribeAdapter(const std::filesystem::path& folder);

}  // namespace prefixd
