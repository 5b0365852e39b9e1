#include "text/tokenizer/gguf_spec.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer/added_vocabulary.h"
#include "text/tokenizer/gguf_stages.h"

namespace prefixd {
namespace {

using Ids = std::unordered_map<std::string_view, TokenId>;

constexpr size_t kMaxMerges = size_t{1} << 23;
constexpr size_t kMaxTokenBytes = 1 << 16;
// Of the kind "llama", whose merges take time with the square of the length; real ones have up to 279 bytes.
constexpr size_t kMaxScoredBytes = 512;
Status UnknownPre(std::string_view name) {
  return Unsupported("tokenizer.ggml.pre is " +
                     (name.empty() ? "missing" : "\"" + RepairUtf8(name.substr(0, 80)) + "\"") +
                     " (supported: " + NamesOfPres() +
                     "); use the original Hugging Face folder of this model, which has tokenizer.json");
}

// Splits each merge at the first space after its first byte, because a token may begin with a space.
Status ReadMerges(const GgufVocabulary& vocabulary, const Ids& ids, BpeSpec* model) {
  if (vocabulary.merges.size() > kMaxMerges)
    return Unsupported("tokenizer.ggml.merges has " + std::to_string(vocabulary.merges.size()) +
                       " merges (limit " + std::to_string(kMaxMerges) + ")");
  model->merges.reserve(vocabulary.merges.size());
  std::string product;
  for (size_t i = 0; i < vocabulary.merges.size(); ++i) {
    const std::string_view merge = vocabulary.merges[i];
    const size_t space = merge.find(' ', 1);
    const std::string_view left = merge.substr(0, space);
    const std::string_view right = space == merge.npos ? "" : merge.substr(space + 1);
    product.assign(left).append(right);
    // A token may be empty: half a merge is not.
    if (left.empty() || right.empty() || !ids.contains(left) || !ids.contains(right) ||
        !ids.contains(product)) {
      return Corrupt("tokenizer.ggml.merges[" + std::to_string(i) + "] is \"" +
                     RepairUtf8(merge.substr(0, 80)) + "\" (expected: two tokens whose product is a token)");
    }
    model->merges.emplace_back(left, right);
  }
  return Status::Ok();
}

size_t Characters(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

Status MakeMerges(const GgufVocabulary& vocabulary, const Ids& ids, BpeSpec* model) {
  struct Merge {
    float score;
    size_t left_length, right_length;
    std::string_view left, right;
  };
  std::vector<Merge> merges;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (token.size() > kMaxScoredBytes)
      return Unsupported("tokenizer.ggml.tokens[" + std::to_string(id) + "] has " +
                         std::to_string(token.size()) + " bytes (limit " + std::to_string(kMaxScoredBytes) +
                         " with this kind of tokenizer)");
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const std::string_view left = token.substr(0, cut), right = token.substr(cut);
      if (!ids.contains(left) || !ids.contains(right)) continue;
      merges.push_back({vocabulary.scores[id], Characters(left), Characters(right), left, right});
    }
    if (merges.size() > kMaxMerges)
      return Unsupported("tokenizer.ggml.tokens give more than " + std::to_string(kMaxMerges) + " merges");
  }
  // Merges with equal keys keep their order: by token, then by the length of the left part.
  std::ranges::stable_sort(merges, [](const Merge& a, const Merge& b) {
    return std::tuple(b.score, b.left_length, b.right_length) <
           std::tuple(a.score, a.left_length, a.right_length);
  });
  model->merges.reserve(merges.size());
  for (const Merge& merge : merges) model->merges.emplace_back(merge.left, merge.right);
  return Status::Ok();
}

void AddStages(GgufStages stages, TokenizerSpec* spec) {
  spec->normalizers = std::move(stages.normalizers);
  spec->pre_tokenizers = std::move(stages.pre_tokenizers);
  spec->decoders = std::move(stages.decoders);
  spec->model.ignore_merges = stages.ignore_merges;
}

Status CheckTokens(const GgufVocabulary& vocabulary) {
  const size_t count = vocabulary.tokens.size();
  if (count == 0 || count > static_cast<size_t>(kMaxTokenId) + 1)
    return Corrupt("tokenizer.ggml.tokens has " + std::to_string(count) + " tokens (expected: 1 to " +
                   std::to_string(kMaxTokenId + 1) + ")");
  if (!vocabulary.types.empty() && vocabulary.types.size() != count)
    return Corrupt("tokenizer.ggml.token_type has " + std::to_string(vocabulary.types.size()) +
                   " types for " + std::to_string(count) + " tokens");
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    const int32_t type = vocabulary.types[id];  // 0 is "undefined" to llama.cpp, and counts as normal
    if (type < 0 || type > static_cast<int32_t>(GgufTokenType::kByte))
      return Corrupt("tokenizer.ggml.token_type[" + std::to_string(id) + "] is " + std::to_string(type) +
                     " (expected: 0 to 6)");
  }
  for (size_t id = 0; id < count; ++id) {
    const size_t size = vocabulary.tokens[id].size();
    if (size > kMaxTokenBytes)
      return Unsupported("tokenizer.ggml.tokens[" + std::to_string(id) + "] has " + std::to_string(size) +
                         " bytes (limit " + std::to_string(kMaxTokenBytes) + ")");
  }
  const auto check = [&](std::string_view key, std::optional<TokenId> id) {
    if (!id || (*id >= 0 && static_cast<size_t>(*id) < count)) return Status::Ok();
    return Corrupt(std::string(key) + " is " + std::to_string(*id) + ", and there are " +
                   std::to_string(count) + " tokens");
  };
  PREFIXD_RETURN_IF_ERROR(check("tokenizer.ggml.bos_token_id", vocabulary.bos));
  PREFIXD_RETURN_IF_ERROR(check("tokenizer.ggml.eos_token_id", vocabulary.eos));
  return check("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
}

// Converters give ids of the model that have no token a text that the tokenizer does not have.
bool IsPadding(const GgufVocabulary& vocabulary, size_t id) {
  return !vocabulary.types.empty() &&
         static_cast<GgufTokenType>(vocabulary.types[id]) == GgufTokenType::kUnused &&
         vocabulary.tokens[id] == GgufPadding(id);
}

Result<Ids> NumberTokens(const GgufVocabulary& vocabulary, BpeSpec* model) {
  Ids ids;
  ids.reserve(vocabulary.tokens.size());
  model->vocab.reserve(vocabulary.tokens.size());
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    const std::string_view token = vocabulary.tokens[i];
    const auto id = static_cast<TokenId>(i);
    if (IsPadding(vocabulary, i)) continue;
    if (const auto [at, is_new] = ids.emplace(token, id); !is_new)
      return Corrupt("tokenizer.ggml.tokens has \"" + RepairUtf8(token.substr(0, 80)) +
                     "\" twice, with the ids " + std::to_string(at->second) + " and " + std::to_string(id));
    model->vocab.emplace_back(token, id);
  }
  return ids;
}

// Control tokens, the unknown token and those of the user are found in a text before it is split.
Status AddTokensOfTypes(const GgufVocabulary& vocabulary, TokenizerSpec* spec) {
  std::vector<AddedTokenSpec> added;
  for (size_t i = 0; i < vocabulary.types.size(); ++i) {
    const auto type = static_cast<GgufTokenType>(vocabulary.types[i]);
    const bool special = type == GgufTokenType::kUnknown || type == GgufTokenType::kControl;
    if (!special && type != GgufTokenType::kUserDefined) continue;
    if (vocabulary.tokens[i].size() > kMaxAddedTokenBytes)
      return Unsupported("tokenizer.ggml.tokens[" + std::to_string(i) + "] is a control token of " +
                         std::to_string(vocabulary.tokens[i].size()) + " bytes (limit " +
                         std::to_string(kMaxAddedTokenBytes) + ")");
    added.push_back(
        {.id = static_cast<TokenId>(i), .content = std::string(vocabulary.tokens[i]), .special = special});
  }
  return AddTokens(added, spec);
}

// What stands before and after a text.
Status AddEnds(const GgufVocabulary& vocabulary, bool adds_bos, TokenizerSpec* spec) {
  if (vocabulary.add_bos.value_or(adds_bos)) {
    if (!vocabulary.bos)
      return Corrupt("tokenizer.ggml.bos_token_id is missing, though texts begin with that token");
    spec->prefix_ids.push_back(*vocabulary.bos);
  }
  if (vocabulary.add_eos.value_or(false)) {
    if (!vocabulary.eos)
      return Corrupt("tokenizer.ggml.eos_token_id is missing, though texts end with that token");
    spec->suffix_ids.push_back(*vocabulary.eos);
  }
  return Status::Ok();
}

}  // namespace

std::string GgufPadding(size_t id) { return "[PAD" + std::to_string(id) + "]"; }

Result<TokenizerSpec> SpecOfGguf(const GgufVocabulary& vocabulary) {
  const bool llama = vocabulary.model == "llama";
  if (!llama && vocabulary.model != "gpt2")
    return Unsupported(
        "tokenizer.ggml.model is " +
        (vocabulary.model.empty() ? "missing" : "\"" + RepairUtf8(vocabulary.model.substr(0, 80)) + "\"") +
        " (supported: gpt2, llama); use the original Hugging Face folder of this model");
  PREFIXD_RETURN_IF_ERROR(CheckTokens(vocabulary));
  TokenizerSpec spec;
  PREFIXD_ASSIGN_OR_RETURN(const Ids ids, NumberTokens(vocabulary, &spec.model));
  if (llama) {
    if (vocabulary.scores.size() != vocabulary.tokens.size())
      return Corrupt("tokenizer.ggml.scores has " + std::to_string(vocabulary.scores.size()) +
                     " scores for " + std::to_string(vocabulary.tokens.size()) + " tokens");
    if (!std::ranges::all_of(vocabulary.scores, [](float score) { return score == score; }))
      return Corrupt("tokenizer.ggml.scores has a score that is not a number");
    if (!vocabulary.pre.empty() && vocabulary.pre != "default") return UnknownPre(vocabulary.pre);
    if (!vocabulary.add_space_prefix.value_or(true))
      return Unsupported(
          "tokenizer.ggml.add_space_prefix is false (supported: true with this kind of "
          "tokenizer); use the original Hugging Face folder of this model");
    PREFIXD_RETURN_IF_ERROR(MakeMerges(vocabulary, ids, &spec.model));
    spec.model.unk_token =
        std::string(vocabulary.tokens[static_cast<size_t>(vocabulary.unknown.value_or(0))]);
    spec.model.fuse_unk = spec.model.byte_fallback = true;
    AddStages(StagesOfLlama(), &spec);
  } else {
    std::optional<GgufStages> stages = StagesOfPre(vocabulary.pre);
    if (!stages) return UnknownPre(vocabulary.pre);
    if (vocabulary.add_space_prefix.value_or(false))
      return Unsupported(
          "tokenizer.ggml.add_space_prefix is true (supported: false with this kind of "
          "tokenizer); use the original Hugging Face folder of this model");
    PREFIXD_RETURN_IF_ERROR(ReadMerges(vocabulary, ids, &spec.model));
    AddStages(*std::move(stages), &spec);
  }
  PREFIXD_RETURN_IF_ERROR(AddTokensOfTypes(vocabulary, &spec));
  PREFIXD_RETURN_IF_ERROR(AddEnds(vocabulary, llama, &spec));
  return spec;
}

}  // namespace prefixd
