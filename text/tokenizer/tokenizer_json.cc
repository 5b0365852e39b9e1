// Reads a tokenizer.json into a TokenizerSpec: the file, its model and its added tokens. Only the files named
// tokenizer_json* of this library include Boost.JSON.
#include <algorithm>
#include <boost/json/monotonic_resource.hpp>
#include <unordered_map>
#include <unordered_set>

#include "text/tokenizer/added_vocabulary.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/tokenizer_json_stages.h"

namespace prefixd {
namespace {

namespace json = boost::json;

constexpr size_t kMaxBytes = size_t{512} << 20;
constexpr size_t kMaxTokens = size_t{1} << 22;
constexpr size_t kMaxMerges = size_t{1} << 23;
constexpr size_t kMaxTokenBytes = 1 << 16;

Status ReadVocab(const JsonFields& model, BpeSpec* out) {
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields vocab, model.Object("vocab").Required());
  if (vocab.object().size() > kMaxTokens)
    return model.Wrong("vocab", "at most " + std::to_string(kMaxTokens) + " tokens");
  out->vocab.reserve(vocab.object().size());
  for (const auto& [key, value] : vocab.object()) {
    const std::string_view token = key;
    if (token.size() > kMaxTokenBytes)
      return Corrupt("model.vocab has a token of " + std::to_string(token.size()) + " bytes");
    const std::optional<int64_t> id = JsonInteger(value);
    if (!id || *id < 0 || *id > kMaxTokenId) return vocab.Integer(token, 0, kMaxTokenId).error().ToStatus();
    out->vocab.emplace_back(token, static_cast<TokenId>(*id));
  }
  return Status::Ok();
}

// One merge: "left right" (exactly one space) or ["left", "right"].
std::optional<std::pair<std::string, std::string>> ReadMerge(const json::value& merge) {
  if (const json::string* text = merge.if_string()) {
    const std::string_view line = *text;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
      return std::nullopt;
    return std::pair(std::string(line.substr(0, space)), std::string(line.substr(space + 1)));
  }
  const json::array* parts = merge.if_array();
  if (parts == nullptr || parts->size() != 2 || !(*parts)[0].is_string() || !(*parts)[1].is_string()) {
    return std::nullopt;
  }
  return std::pair(std::string((*parts)[0].get_string()), std::string((*parts)[1].get_string()));
}

// Both parts of every merge and its product must be tokens, as the tokenizers library requires.
Status ReadMerges(const JsonFields& model, BpeSpec* out) {
  PREFIXD_ASSIGN_OR_RETURN(const json::array* merges, model.Array("merges", kMaxMerges).Required());
  std::unordered_set<std::string_view> tokens;
  tokens.reserve(out->vocab.size());
  for (const auto& [token, id] : out->vocab) tokens.insert(token);
  out->merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const json::value& value = (*merges)[i];
    if (value.is_string() && std::string_view(value.get_string()).starts_with("#version"))
      continue;  // a header line
    auto merge = ReadMerge(value);
    if (!merge) return model.WrongElement("merges", i, "a pair of tokens");
    const size_t prefix = out->continuing_subword_prefix.size();
    if (merge->second.size() < prefix || !tokens.contains(merge->first) || !tokens.contains(merge->second) ||
        !tokens.contains(merge->first + merge->second.substr(prefix))) {
      return model.WrongElement("merges", i, "a pair of tokens that are in model.vocab, as is their product");
    }
    out->merges.push_back(*std::move(merge));
  }
  return Status::Ok();
}

Status ReadModel(const JsonFields& model, BpeSpec* out) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, model.String("type").Or("BPE"));  // absent in old files
  if (type != "BPE") return model.Unsupported("type", "BPE");
  PREFIXD_RETURN_IF_ERROR(
      model.AllowOnly({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  PREFIXD_ASSIGN_OR_RETURN(const double dropout, model.Number("dropout", 0, 1).Or(0));
  if (dropout != 0) return model.Unsupported("dropout", "0, null");
  PREFIXD_ASSIGN_OR_RETURN(out->continuing_subword_prefix, model.String("continuing_subword_prefix").Or(""));
  PREFIXD_ASSIGN_OR_RETURN(out->end_of_word_suffix, model.String("end_of_word_suffix").Or(""));
  const std::string limit = "at most " + std::to_string(kMaxTokenBytes) + " bytes";
  if (out->continuing_subword_prefix.size() > kMaxTokenBytes)
    return model.Unsupported("continuing_subword_prefix", limit);
  if (out->end_of_word_suffix.size() > kMaxTokenBytes) return model.Unsupported("end_of_word_suffix", limit);
  PREFIXD_ASSIGN_OR_RETURN(out->fuse_unk, model.Bool("fuse_unk").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(out->byte_fallback, model.Bool("byte_fallback").Or(false));
  PREFIXD_ASSIGN_OR_RETURN(out->ignore_merges, model.Bool("ignore_merges").Or(false));
  PREFIXD_RETURN_IF_ERROR(ReadVocab(model, out));
  PREFIXD_RETURN_IF_ERROR(ReadMerges(model, out));
  PREFIXD_ASSIGN_OR_RETURN(out->unk_token, model.String("unk_token").Optional());
  const auto is_unk = [&](const auto& entry) { return entry.first == out->unk_token; };
  if (out->unk_token && std::none_of(out->vocab.begin(), out->vocab.end(), is_unk))
    return model.Wrong("unk_token", "a token of model.vocab");
  return Status::Ok();
}

Result<AddedTokenSpec> ReadAddedToken(const JsonFields& object) {
  PREFIXD_RETURN_IF_ERROR(
      object.AllowOnly({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  AddedTokenSpec spec;
  PREFIXD_ASSIGN_OR_RETURN(spec.id, object.Integer("id", 0, kMaxTokenId).Required());
  PREFIXD_ASSIGN_OR_RETURN(spec.content, object.String("content").Required());
  if (spec.content.empty() || spec.content.size() > kMaxAddedTokenBytes)
    return object.Unsupported("content", "1 to " + std::to_string(kMaxAddedTokenBytes) + " bytes");
  PREFIXD_ASSIGN_OR_RETURN(spec.single_word, object.Bool("single_word").Required());
  PREFIXD_ASSIGN_OR_RETURN(spec.lstrip, object.Bool("lstrip").Required());
  PREFIXD_ASSIGN_OR_RETURN(spec.rstrip, object.Bool("rstrip").Required());
  PREFIXD_ASSIGN_OR_RETURN(spec.normalized, object.Bool("normalized").Required());
  PREFIXD_ASSIGN_OR_RETURN(spec.special, object.Bool("special").Required());
  return spec;
}

// Reads the added tokens and checks invariant 1 of the spec. The tokenizers library numbers the tokens that
// are not in the vocabulary in the order of the list and ignores their ids in the file. If the two differ,
// the file is refused.
Status ReadAddedTokens(const JsonFields& root, TokenizerSpec* out) {
  std::unordered_map<std::string_view, TokenId> ids;
  std::unordered_map<TokenId, std::string_view> contents;
  const auto claim = [&](std::string_view content, TokenId id) -> Status {
    const auto named = ids.emplace(content, id).first;
    const auto numbered = contents.emplace(id, content).first;
    if (named->second == id && numbered->second == content) return Status::Ok();
    return Corrupt("token \"" + std::string(content) + "\" has the id " + std::to_string(id) + ", but id " +
                   std::to_string(id) + " is \"" + std::string(numbered->second) + "\" and \"" +
                   std::string(content) + "\" has the id " + std::to_string(named->second));
  };
  for (const auto& [token, id] : out->model.vocab) PREFIXD_RETURN_IF_ERROR(claim(token, id));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<JsonFields> tokens,
                           root.Objects("added_tokens", kMaxAddedTokens).Or({}));
  std::vector<AddedTokenSpec> list;
  list.reserve(tokens.size());  // `contents` keeps views of them
  auto place = static_cast<TokenId>(out->model.vocab.size());
  for (const JsonFields& token : tokens) {
    PREFIXD_ASSIGN_OR_RETURN(AddedTokenSpec spec, ReadAddedToken(token));
    list.push_back(std::move(spec));
    const AddedTokenSpec& added = list.back();
    const bool is_new = !ids.contains(added.content);
    if (is_new && added.id != place && !contents.contains(added.id)) {
      return token.Unsupported("id", std::to_string(place) + ", which the place of token \"" + added.content +
                                         "\" in the list gives it");
    }
    PREFIXD_RETURN_IF_ERROR(claim(added.content, added.id));
    if (is_new) ++place;
  }
  return AddTokens(list, out);
}

}  // namespace

Result<TokenizerSpec> ParseTokenizerJson(std::string_view text) {
  json::monotonic_resource memory;
  // As in the tokenizers library, the last of two equal keys of an object counts.
  PREFIXD_ASSIGN_OR_RETURN(
      const json::object object,
      ParseJsonObject("", text,
                      {.max_bytes = kMaxBytes, .twice = JsonParseOptions::Twice::kLast, .storage = &memory}));
  const JsonFields root(object, "", Code::kCorrupt);
  // Every request chooses truncation and padding, so the file's are ignored, except for the token.
  PREFIXD_RETURN_IF_ERROR(root.AllowOnly({"version", "truncation", "padding", "added_tokens", "normalizer",
                                          "pre_tokenizer", "post_processor", "decoder", "model"}));
  PREFIXD_ASSIGN_OR_RETURN(const std::string version, root.String("version").Or("1.0"));
  if (version != "1.0") return root.Unsupported("version", "1.0");
  TokenizerSpec spec;
  if (const Field<JsonFields> padding = root.Object("padding"); padding.ok()) {
    PREFIXD_ASSIGN_OR_RETURN(spec.pad_token, padding.value().String("pad_token").Optional());
  }
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields model, root.Object("model").Required());
  PREFIXD_RETURN_IF_ERROR(ReadModel(model, &spec.model));
  PREFIXD_RETURN_IF_ERROR(ReadAddedTokens(root, &spec));
  PREFIXD_RETURN_IF_ERROR(ReadTokenizerStages(root, &spec));
  return spec;
}

}  // namespace prefixd
