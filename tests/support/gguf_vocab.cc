#include "tests/support/gguf_vocab.h"

#include <algorithm>
#include <boost/json.hpp>
#include <cstring>
#include <tuple>
#include <unordered_map>

namespace prefixd::testing_support {
namespace {

namespace json = boost::json;

enum ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};
constexpr size_t kWidths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  Result<T> Number() {
    PREFIXD_ASSIGN_OR_RETURN(const std::string_view bytes, Take(sizeof(T)));
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  Result<std::string> String() {
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t size, Number<uint64_t>());
    PREFIXD_ASSIGN_OR_RETURN(const std::string_view bytes, Take(size));
    return std::string(bytes);
  }
  Status Skip(uint32_t type) {
    if (type == kString) return String().status();
    if (type >= std::size(kWidths) || kWidths[type] == 0)
      return Unsupported("GGUF: a value of type " + std::to_string(type));
    return Take(kWidths[type]).status();
  }
  // Reads the head of an array: the type and the number of its elements. An element has at least one byte.
  Result<std::pair<uint32_t, uint64_t>> ArrayHead() {
    PREFIXD_ASSIGN_OR_RETURN(const uint32_t type, Number<uint32_t>());
    PREFIXD_ASSIGN_OR_RETURN(const uint64_t count, Number<uint64_t>());
    if (count > rest_.size()) return Corrupt("GGUF: an array of " + std::to_string(count));
    return std::pair(type, count);
  }

 private:
  Result<std::string_view> Take(uint64_t size) {
    if (size > rest_.size()) return Corrupt("GGUF: the file ends too early");
    const std::string_view bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return bytes;
  }

  std::string_view rest_;
};

Status ReadArray(Reader& in, const std::string& key, GgufVocab* out) {
  PREFIXD_ASSIGN_OR_RETURN(const auto head, in.ArrayHead());
  const auto [type, count] = head;
  for (uint64_t i = 0; i < count; ++i) {
    if (key == "tokenizer.ggml.tokens" && type == kString) {
      PREFIXD_ASSIGN_OR_RETURN(out->tokens.emplace_back(), in.String());
    } else if (key == "tokenizer.ggml.merges" && type == kString) {
      PREFIXD_ASSIGN_OR_RETURN(out->merges.emplace_back(), in.String());
    } else if (key == "tokenizer.ggml.scores" && type == kF32) {
      PREFIXD_ASSIGN_OR_RETURN(out->scores.emplace_back(), in.Number<float>());
    } else if (key == "tokenizer.ggml.token_type" && type == kI32) {
      PREFIXD_ASSIGN_OR_RETURN(out->types.emplace_back(), in.Number<int32_t>());
    } else {
      PREFIXD_RETURN_IF_ERROR(in.Skip(type));
    }
  }
  return Status::Ok();
}

json::object Split(std::string_view regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

json::object ByteLevel(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Result<json::value> PreTokenizer(std::string_view pre) {
  if (pre == "gpt-2") return json::value(ByteLevel(true));
  if (pre != "deepseek-coder") return Unsupported("GGUF: tokenizer.ggml.pre = " + std::string(pre));
  json::array stages;
  for (const char* regex : {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)",
                            "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", R"(\p{N})"}) {
    stages.push_back(Split(regex));
  }
  stages.push_back(ByteLevel(false));
  return json::value{{"type", "Sequence"}, {"pretokenizers", stages}};
}

// Splits each merge at the first space after its first byte, because a token may begin with a space.
Result<json::array> GivenMerges(const GgufVocab& vocab) {
  json::array merges;
  for (const std::string& merge : vocab.merges) {
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos) return Corrupt("GGUF: merge \"" + merge + "\"");
    merges.push_back(json::array{merge.substr(0, space), merge.substr(space + 1)});
  }
  return merges;
}

json::array MergesOfScores(const GgufVocab& vocab) {
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) ids.emplace(vocab.tokens[id], id);
  struct Merge {
    float score;
    std::string_view left, right;
    size_t left_id, right_id;
  };
  std::vector<Merge> merges;
  const auto characters = [](std::string_view text) {
    return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
  };
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const std::string_view token = vocab.tokens[id];
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      merges.push_back({vocab.scores[id], left->first, right->first, left->second, right->second});
    }
  }
  // Merges with equal keys keep their order: by token, then by the length of the left part.
  std::stable_sort(merges.begin(), merges.end(), [&](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, -characters(a.left), -characters(a.right)) <
           std::tuple(-b.score, -characters(b.left), -characters(b.right));
  });
  json::array out;
  for (const Merge& merge : merges) out.push_back(json::array{merge.left, merge.right});
  return out;
}

json::value LlamaNormalizer() {
  return {{"type", "Sequence"},
          {"normalizers",
           {{{"type", "Prepend"}, {"prepend", "\u2581"}},
            {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}};
}

json::value LlamaDecoder() {
  return {{"type", "Sequence"},
          {"decoders",
           {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
            {{"type", "ByteFallback"}},
            {{"type", "Fuse"}},
            {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}};
}

json::array AddedTokens(const GgufVocab& vocab) {
  json::array added;
  for (size_t id = 0; id < vocab.types.size(); ++id) {
    if (vocab.types[id] < 2 || vocab.types[id] > 4) continue;
    added.push_back({{"id", id},
                     {"content", vocab.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", vocab.types[id] != 4}});
  }
  return added;
}

}  // namespace

Result<GgufVocab> ReadGgufVocab(std::string_view bytes) {
  if (!bytes.starts_with("GGUF")) return Corrupt("GGUF: the file does not begin with \"GGUF\"");
  Reader in(bytes.substr(4));
  PREFIXD_ASSIGN_OR_RETURN(const uint32_t version, in.Number<uint32_t>());
  if (version != 3) return Unsupported("GGUF: version " + std::to_string(version));
  PREFIXD_RETURN_IF_ERROR(in.Skip(kU64));  // number of tensors
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t keys, in.Number<uint64_t>());
  GgufVocab vocab;
  for (uint64_t i = 0; i < keys; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const std::string key, in.String());
    PREFIXD_ASSIGN_OR_RETURN(const uint32_t type, in.Number<uint32_t>());
    if (key == "tokenizer.ggml.model" && type == kString) {
      PREFIXD_ASSIGN_OR_RETURN(vocab.model, in.String());
    } else if (key == "tokenizer.ggml.pre" && type == kString) {
      PREFIXD_ASSIGN_OR_RETURN(vocab.pre, in.String());
    } else {
      PREFIXD_RETURN_IF_ERROR(type == kArray ? ReadArray(in, key, &vocab) : in.Skip(type));
    }
  }
  const bool by_score = vocab.model == "llama";
  if (vocab.tokens.empty() || (by_score && vocab.scores.size() != vocab.tokens.size()) ||
      vocab.types.size() != vocab.tokens.size()) {
    return Corrupt("GGUF: tokens, scores and types do not fit together");
  }
  return vocab;
}

Result<std::string> TokenizerJsonOf(const GgufVocab& vocab, bool metaspace) {
  if (vocab.model != "gpt2" && vocab.model != "llama") return Unsupported("GGUF: model = " + vocab.model);
  const bool by_score = vocab.model == "llama";
  json::object model = {{"type", "BPE"}, {"fuse_unk", by_score}, {"byte_fallback", by_score}};
  if (by_score) {
    model["unk_token"] = vocab.tokens[0];
    model["merges"] = MergesOfScores(vocab);
  } else {
    PREFIXD_ASSIGN_OR_RETURN(model["merges"], GivenMerges(vocab));
  }
  json::object ids;
  for (size_t id = 0; id < vocab.tokens.size(); ++id) ids.emplace(vocab.tokens[id], id);
  model["vocab"] = std::move(ids);
  json::object root = {{"version", "1.0"}, {"added_tokens", AddedTokens(vocab)}, {"model", std::move(model)}};
  if (by_score) {
    if (metaspace) {
      root["pre_tokenizer"] = {
          {"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}, {"split", true}};
    } else {
      root["normalizer"] = LlamaNormalizer();
    }
    root["decoder"] = LlamaDecoder();
  } else {
    PREFIXD_ASSIGN_OR_RETURN(root["pre_tokenizer"], PreTokenizer(vocab.pre));
    root["decoder"] = ByteLevel(true);
  }
  return json::serialize(root);
}

}  // namespace prefixd::testing_support
