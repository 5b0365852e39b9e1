// tokenizer.json -> TokenizerSpec: the file, its model and its added tokens. Files named tokenizer_json* are
// the only ones of this library that know Boost.JSON.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "text/tokenizer/tokenizer_json_object.h"
#include "text/tokenizer/spec.h"
#include "text/tokenizer/unicode.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using Object = tokenizer_json::Object;
using tokenizer_json::Show;

constexpr size_t kMaxBytes = size_t{512} << 20;
constexpr size_t kMaxTokens = size_t{1} << 22;
constexpr size_t kMaxMerges = size_t{1} << 23;
constexpr size_t kMaxTokenBytes = 1 << 16;
constexpr size_t kMaxAddedTokenBytes = 1024;  // bounds the work at every position of a text

Result<TokenId> ReadId(const json::value& value, std::string_view path, std::string_view token) {
  if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > kMaxTokenId) {
    return Corrupt(std::string(path) + " gives token \"" + std::string(token) + "\" the id " + Show(value) +
                   ", expected an integer from 0 to " + std::to_string(kMaxTokenId));
  }
  return static_cast<TokenId>(value.get_int64());
}

Status ReadVocab(const Object& model, BpeSpec* out) {
  const json::value* value = model.Find("vocab");
  if (value == nullptr || !value->is_object()) return model.Wrong("vocab", "an object");
  const json::object& vocab = value->get_object();
  if (vocab.size() > kMaxTokens)
    return model.Wrong("vocab", "at most " + std::to_string(kMaxTokens) + " tokens");
  out->vocab.reserve(vocab.size());
  for (const auto& member : vocab) {
    const std::string_view token = member.key();
    if (token.size() > kMaxTokenBytes)
      return Corrupt("model.vocab has a token of " + std::to_string(token.size()) + " bytes");
    PREFIXD_ASSIGN_OR_RETURN(const TokenId id, ReadId(member.value(), "model.vocab", token));
    out->vocab.emplace_back(token, id);
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

// Every part of a merge and its product must be tokens, as the reference demands.
Status ReadMerges(const Object& model, BpeSpec* out) {
  PREFIXD_ASSIGN_OR_RETURN(const json::array* merges, model.Array("merges", kMaxMerges));
  std::unordered_set<std::string_view> tokens;
  tokens.reserve(out->vocab.size());
  for (const auto& [token, id] : out->vocab) tokens.insert(token);
  out->merges.reserve(merges->size());
  for (size_t i = 0; i < merges->size(); ++i) {
    const json::value& value = (*merges)[i];
    const std::string where = "model.merges[" + std::to_string(i) + "] = ";
    if (value.is_string() && std::string_view(value.get_string()).starts_with("#version"))
      continue;  // a header line
    auto merge = ReadMerge(value);
    if (!merge) return Corrupt(where + Show(value) + " is not a pair of tokens");
    const size_t prefix = out->continuing_subword_prefix.size();
    if (merge->second.size() < prefix || !tokens.contains(merge->first) || !tokens.contains(merge->second) ||
        !tokens.contains(merge->first + merge->second.substr(prefix))) {
      return Corrupt(where + Show(value) + " names a token that model.vocab lacks");
    }
    out->merges.push_back(*std::move(merge));
  }
  return Status::Ok();
}

Status ReadModel(const json::value& value, BpeSpec* out) {
  PREFIXD_ASSIGN_OR_RETURN(const Object model, Object::From(value, "model"));
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, model.StringOr("type", "BPE"));  // old files leave it out
  if (type != "BPE") return model.Lacks("type");
  PREFIXD_RETURN_IF_ERROR(
      model.AllowOnly({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"}));
  const json::value* dropout = model.Find("dropout");
  if (dropout != nullptr && !(dropout->is_number() && dropout->to_number<double>() == 0))
    return model.Lacks("dropout");
  PREFIXD_ASSIGN_OR_RETURN(out->continuing_subword_prefix, model.StringOr("continuing_subword_prefix", ""));
  PREFIXD_ASSIGN_OR_RETURN(out->end_of_word_suffix, model.StringOr("end_of_word_suffix", ""));
  if (out->continuing_subword_prefix.size() > kMaxTokenBytes) return model.Lacks("continuing_subword_prefix");
  if (out->end_of_word_suffix.size() > kMaxTokenBytes) return model.Lacks("end_of_word_suffix");
  PREFIXD_ASSIGN_OR_RETURN(out->fuse_unk, model.BoolOr("fuse_unk", false));
  PREFIXD_ASSIGN_OR_RETURN(out->byte_fallback, model.BoolOr("byte_fallback", false));
  PREFIXD_ASSIGN_OR_RETURN(out->ignore_merges, model.BoolOr("ignore_merges", false));
  PREFIXD_RETURN_IF_ERROR(ReadVocab(model, out));
  PREFIXD_RETURN_IF_ERROR(ReadMerges(model, out));
  if (model.Find("unk_token") != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(out->unk_token, model.String("unk_token"));
    const auto is_unk = [&](const auto& entry) { return entry.first == *out->unk_token; };
    if (std::none_of(out->vocab.begin(), out->vocab.end(), is_unk))
      return model.Wrong("unk_token", "a token of vocab");
  }
  return Status::Ok();
}

Result<AddedTokenSpec> ReadAddedToken(const json::value& value, const std::string& path) {
  PREFIXD_ASSIGN_OR_RETURN(const Object object, Object::From(value, path));
  PREFIXD_RETURN_IF_ERROR(
      object.AllowOnly({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}));
  AddedTokenSpec spec;
  PREFIXD_ASSIGN_OR_RETURN(const int64_t id, object.IntegerIn("id", 0, kMaxTokenId));
  spec.id = static_cast<TokenId>(id);
  PREFIXD_ASSIGN_OR_RETURN(spec.content, object.String("content"));
  if (spec.content.empty() || spec.content.size() > kMaxAddedTokenBytes) return object.Lacks("content");
  PREFIXD_ASSIGN_OR_RETURN(spec.single_word, object.Bool("single_word"));
  PREFIXD_ASSIGN_OR_RETURN(spec.lstrip, object.Bool("lstrip"));
  PREFIXD_ASSIGN_OR_RETURN(spec.rstrip, object.Bool("rstrip"));
  PREFIXD_ASSIGN_OR_RETURN(spec.normalized, object.Bool("normalized"));
  PREFIXD_ASSIGN_OR_RETURN(spec.special, object.Bool("special"));
  return spec;
}

// Reads the added tokens and proves invariant 1 of the spec. The original numbers a token that the vocabulary
// lacks by its place, whatever the file's number is; where the two are not the same the file is refused.
Status ReadAddedTokens(const Object& root, TokenizerSpec* out) {
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
  if (root.Find("added_tokens") == nullptr) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(const json::array* tokens, root.Array("added_tokens", kMaxTokens));
  out->added.reserve(tokens->size());  // `contents` keeps views of them
  TokenId last = -1;                   // the highest id of an added token so far
  for (size_t i = 0; i < tokens->size(); ++i) {
    const std::string path = "added_tokens[" + std::to_string(i) + "]";
    PREFIXD_ASSIGN_OR_RETURN(AddedTokenSpec spec, ReadAddedToken((*tokens)[i], path));
    out->added.push_back(std::move(spec));
    const AddedTokenSpec& added = out->added.back();
    const auto count = static_cast<TokenId>(out->model.vocab.size());
    const TokenId place = last >= count ? last + 1 : count;
    if (!ids.contains(added.content) && added.id != place && !contents.contains(added.id)) {
      return Unsupported(path + ".id = " + std::to_string(added.id) + " of token \"" + added.content +
                         "\", whose place gives it the id " + std::to_string(place) +
                         ", is not supported by prefixd");
    }
    PREFIXD_RETURN_IF_ERROR(claim(added.content, added.id));
    last = std::max(last, added.id);
  }
  return Status::Ok();
}

Result<TokenizerSpec> ReadTokenizer(const json::value& value) {
  PREFIXD_ASSIGN_OR_RETURN(const Object root, Object::From(value, ""));
  // Truncation and padding are the caller's choice per request, and none of ours.
  PREFIXD_RETURN_IF_ERROR(root.AllowOnly({"version", "truncation", "padding", "added_tokens", "normalizer",
                                          "pre_tokenizer", "post_processor", "decoder", "model"}));
  PREFIXD_ASSIGN_OR_RETURN(const std::string version, root.StringOr("version", "1.0"));
  if (version != "1.0") return root.Lacks("version");
  TokenizerSpec spec;
  const json::value* model = root.Find("model");
  if (model == nullptr) return root.Wrong("model", "an object");
  PREFIXD_RETURN_IF_ERROR(ReadModel(*model, &spec.model));
  PREFIXD_RETURN_IF_ERROR(ReadAddedTokens(root, &spec));
  PREFIXD_RETURN_IF_ERROR(tokenizer_json::ReadStages(root, &spec));
  return spec;
}

}  // namespace

Result<TokenizerSpec> ParseTokenizerJson(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return Unsupported(std::to_string(text.size()) + " bytes, the limit is " + std::to_string(kMaxBytes));
  }
  boost::system::error_code error;
  json::monotonic_resource memory;
  const json::value value = json::parse(text, error, &memory);
  if (error) return Corrupt("not JSON: " + error.message());
  return ReadTokenizer(value);
}

}  // namespace prefixd
