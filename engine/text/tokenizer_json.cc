// tokenizer.json -> TokenizerSpec. With the header of its reader the only file of this library that knows
// Boost.JSON.
#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

#include "engine/text/tokenizer_json_object.h"
#include "engine/text/tokenizer_spec.h"
#include "engine/text/tokenizer_unicode.h"

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
constexpr size_t kMaxStages = 64;             // of a normaliser, pre-tokeniser or decoder
constexpr size_t kMaxPatternBytes = 1 << 14;

// Calls `one` with every component of `value`: itself, or, where it is a Sequence, the elements of
// `list_key`, in order. Nesting is bounded by the depth that the JSON parser accepts.
Status ForEachComponent(const json::value& value, const std::string& path, std::string_view list_key,
                        const std::function<Status(const Object&, const std::string& type)>& one) {
  PREFIXD_ASSIGN_OR_RETURN(const Object object, Object::From(value, path));
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, object.String("type"));
  if (type != "Sequence") return one(object, type);
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", list_key}));
  PREFIXD_ASSIGN_OR_RETURN(const json::array* list, object.Array(list_key, kMaxStages));
  for (size_t i = 0; i < list->size(); ++i) {
    const std::string element = object.PathOf(list_key) + "[" + std::to_string(i) + "]";
    PREFIXD_RETURN_IF_ERROR(ForEachComponent((*list)[i], element, list_key, one));
  }
  return Status::Ok();
}

Result<TextPattern> ReadPattern(const Object& owner) {
  const json::value* value = owner.Find("pattern");
  if (value == nullptr) return owner.Wrong("pattern", "an object");
  PREFIXD_ASSIGN_OR_RETURN(const Object object, Object::From(*value, owner.PathOf("pattern")));
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"String", "Regex"}));
  TextPattern pattern;
  pattern.is_regex = object.Find("Regex") != nullptr;
  PREFIXD_ASSIGN_OR_RETURN(pattern.text, object.String(pattern.is_regex ? "Regex" : "String"));
  if (pattern.text.empty() || pattern.text.size() > kMaxPatternBytes) return owner.Lacks("pattern");
  return pattern;
}

template <typename Spec>
Status Append(const Object& object, Spec spec, std::vector<Spec>* out) {
  if (out->size() == kMaxStages) return object.Lacks("type");
  out->push_back(std::move(spec));
  return Status::Ok();
}

Status ReadNormalizer(const Object& object, const std::string& type, std::vector<NormalizerSpec>* out) {
  NormalizerSpec spec{};
  if (type == "NFC") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type"}));
    spec.kind = NormalizerSpec::kNfc;
  } else if (type == "Prepend") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "prepend"}));
    spec.kind = NormalizerSpec::kPrepend;
    PREFIXD_ASSIGN_OR_RETURN(spec.content, object.String("prepend"));
  } else if (type == "Replace") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "pattern", "content"}));
    spec.kind = NormalizerSpec::kReplace;
    PREFIXD_ASSIGN_OR_RETURN(spec.pattern, ReadPattern(object));
    PREFIXD_ASSIGN_OR_RETURN(spec.content, object.String("content"));
    // With a regex, "$1" may mean a group, depending on the version of the original.
    if (spec.pattern.is_regex && spec.content.find('$') != std::string::npos) return object.Lacks("content");
  } else {
    return object.Lacks("type");
  }
  if (spec.content.size() > kMaxTokenBytes) return object.Lacks(type == "Prepend" ? "prepend" : "content");
  return Append(object, std::move(spec), out);
}

Status ReadSplit(const Object& object, PreTokenizerSpec* spec) {
  static const std::unordered_map<std::string, SplitBehavior> behaviors = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "pattern", "behavior", "invert"}));
  spec->kind = PreTokenizerSpec::kSplit;
  PREFIXD_ASSIGN_OR_RETURN(spec->pattern, ReadPattern(object));
  PREFIXD_ASSIGN_OR_RETURN(const std::string behavior, object.String("behavior"));
  const auto found = behaviors.find(behavior);
  if (found == behaviors.end()) return object.Lacks("behavior");
  spec->behavior = found->second;
  PREFIXD_ASSIGN_OR_RETURN(spec->invert, object.BoolOr("invert", false));
  return Status::Ok();
}

Status ReadPreTokenizer(const Object& object, const std::string& type, std::vector<PreTokenizerSpec>* out) {
  PreTokenizerSpec spec{};
  if (type == "Split") {
    PREFIXD_RETURN_IF_ERROR(ReadSplit(object, &spec));
  } else if (type == "ByteLevel") {  // trim_offsets concerns offsets alone
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    spec.kind = PreTokenizerSpec::kByteLevel;
    PREFIXD_ASSIGN_OR_RETURN(spec.add_prefix_space, object.Bool("add_prefix_space"));
    PREFIXD_ASSIGN_OR_RETURN(spec.use_regex, object.BoolOr("use_regex", true));
  } else if (type == "Digits") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "individual_digits"}));
    spec.kind = PreTokenizerSpec::kDigits;
    PREFIXD_ASSIGN_OR_RETURN(spec.individual_digits, object.Bool("individual_digits"));
  } else {
    return object.Lacks("type");
  }
  return Append(object, std::move(spec), out);
}

Status ReadDecoder(const Object& object, const std::string& type, std::vector<DecoderSpec>* out) {
  DecoderSpec spec{};
  if (type == "ByteLevel") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"}));
    spec.kind = DecoderSpec::kByteLevel;
  } else if (type == "Replace") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "pattern", "content"}));
    spec.kind = DecoderSpec::kReplace;
    PREFIXD_ASSIGN_OR_RETURN(TextPattern pattern, ReadPattern(object));
    if (pattern.is_regex) return object.Lacks("pattern");
    spec.pattern = std::move(pattern.text);
    PREFIXD_ASSIGN_OR_RETURN(spec.content, object.String("content"));
  } else if (type == "ByteFallback" || type == "Fuse") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type"}));
    spec.kind = type == "Fuse" ? DecoderSpec::kFuse : DecoderSpec::kByteFallback;
  } else if (type == "Strip") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "content", "start", "stop"}));
    spec.kind = DecoderSpec::kStrip;
    PREFIXD_ASSIGN_OR_RETURN(spec.content, object.String("content"));
    if (spec.content.empty() || Utf8Length(spec.content[0]) != spec.content.size()) {
      return object.Wrong("content", "one character");
    }
    PREFIXD_ASSIGN_OR_RETURN(const int64_t start, object.IntegerIn("start", 0, kMaxTokenBytes));
    PREFIXD_ASSIGN_OR_RETURN(const int64_t stop, object.IntegerIn("stop", 0, kMaxTokenBytes));
    spec.start = static_cast<size_t>(start);
    spec.stop = static_cast<size_t>(stop);
  } else {
    return object.Lacks("type");
  }
  if (spec.content.size() > kMaxTokenBytes) return object.Lacks("content");
  return Append(object, std::move(spec), out);
}

// The ids of a template's special token, appended to `out`.
Status ReadTemplateToken(const Object& owner, const std::string& name, std::vector<TokenId>* out) {
  const json::value* tokens = owner.Find("special_tokens");
  if (tokens == nullptr) return owner.Wrong("special_tokens", "an object");
  PREFIXD_ASSIGN_OR_RETURN(const Object table, Object::From(*tokens, owner.PathOf("special_tokens")));
  const json::value* entry = table.Find(name);
  if (entry == nullptr) return table.Wrong(name, "the special token that the template names");
  PREFIXD_ASSIGN_OR_RETURN(const Object token, Object::From(*entry, table.PathOf(name)));
  PREFIXD_RETURN_IF_ERROR(token.AllowOnly({"id", "ids", "tokens"}));
  PREFIXD_ASSIGN_OR_RETURN(const json::array* ids, token.Array("ids", kMaxStages));
  for (const json::value& id : *ids) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > kMaxTokenId)
      return token.Wrong("ids", "token ids");
    out->push_back(static_cast<TokenId>(id.get_int64()));
  }
  return Status::Ok();
}

Status ReadTemplate(const Object& object, TokenizerSpec* out) {
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "single", "pair", "special_tokens"}));
  PREFIXD_ASSIGN_OR_RETURN(const json::array* pieces, object.Array("single", kMaxStages));
  bool seen_text = false;
  for (size_t i = 0; i < pieces->size(); ++i) {
    const std::string path = object.PathOf("single") + "[" + std::to_string(i) + "]";
    PREFIXD_ASSIGN_OR_RETURN(const Object piece, Object::From((*pieces)[i], path));
    PREFIXD_RETURN_IF_ERROR(piece.AllowOnly({"SpecialToken", "Sequence"}));
    const bool is_text = piece.Find("Sequence") != nullptr;
    const std::string_view key = is_text ? "Sequence" : "SpecialToken";
    if (piece.Find(key) == nullptr) return piece.Wrong(key, "an object");
    PREFIXD_ASSIGN_OR_RETURN(const Object body, Object::From(*piece.Find(key), piece.PathOf(key)));
    PREFIXD_RETURN_IF_ERROR(body.AllowOnly({"id", "type_id"}));
    PREFIXD_ASSIGN_OR_RETURN(const std::string id, body.String("id"));
    if (is_text) {
      if (id != "A" || seen_text) return body.Lacks("id");
      seen_text = true;
    } else {
      PREFIXD_RETURN_IF_ERROR(ReadTemplateToken(object, id, seen_text ? &out->suffix_ids : &out->prefix_ids));
    }
  }
  return seen_text ? Status::Ok() : object.Wrong("single", "a template with the sequence A");
}

Status ReadPostProcessor(const json::value& value, TokenizerSpec* out) {
  bool seen_template = false;
  return ForEachComponent(
      value, "post_processor", "processors", [&](const Object& object, const std::string& type) {
        if (type == "ByteLevel") {  // concerns offsets alone
          return object.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
        }
        if (type != "TemplateProcessing" || seen_template) return object.Lacks("type");
        seen_template = true;
        return ReadTemplate(object, out);
      });
}

Result<TokenId> ReadId(const json::value& value, std::string_view path, std::string_view token) {
  if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > kMaxTokenId) {
    return Corrupt("tokenizer.json: " + std::string(path) + " gives token \"" + std::string(token) +
                   "\" the id " + Show(value) + ", expected an integer from 0 to " +
                   std::to_string(kMaxTokenId));
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
      return Corrupt("tokenizer.json: model.vocab has a token of " + std::to_string(token.size()) + " bytes");
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
    const std::string where = "tokenizer.json: model.merges[" + std::to_string(i) + "] = ";
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

// Reads the added tokens and proves invariant 1 of the spec. The original numbers a token by its place when
// the file's number is another one; such a file does not mean what it says, so it is refused.
Status ReadAddedTokens(const Object& root, TokenizerSpec* out) {
  std::unordered_map<std::string_view, TokenId> ids;
  std::unordered_map<TokenId, std::string_view> contents;
  const auto claim = [&](std::string_view content, TokenId id) -> Status {
    const auto named = ids.emplace(content, id).first;
    const auto numbered = contents.emplace(id, content).first;
    if (named->second == id && numbered->second == content) return Status::Ok();
    return Corrupt("tokenizer.json: token \"" + std::string(content) + "\" has the id " + std::to_string(id) +
                   ", but id " + std::to_string(id) + " is \"" + std::string(numbered->second) + "\" and \"" +
                   std::string(content) + "\" has the id " + std::to_string(named->second));
  };
  for (const auto& [token, id] : out->model.vocab) PREFIXD_RETURN_IF_ERROR(claim(token, id));
  if (root.Find("added_tokens") == nullptr) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(const json::array* tokens, root.Array("added_tokens", kMaxTokens));
  out->added.reserve(tokens->size());  // `contents` keeps views of them
  for (size_t i = 0; i < tokens->size(); ++i) {
    const std::string path = "added_tokens[" + std::to_string(i) + "]";
    PREFIXD_ASSIGN_OR_RETURN(AddedTokenSpec spec, ReadAddedToken((*tokens)[i], path));
    out->added.push_back(std::move(spec));
    PREFIXD_RETURN_IF_ERROR(claim(out->added.back().content, out->added.back().id));
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
  if (const json::value* part = root.Find("normalizer")) {
    PREFIXD_RETURN_IF_ERROR(ForEachComponent(*part, "normalizer", "normalizers",
                                             [&](const Object& object, const std::string& type) {
                                               return ReadNormalizer(object, type, &spec.normalizers);
                                             }));
  }
  if (const json::value* part = root.Find("pre_tokenizer")) {
    PREFIXD_RETURN_IF_ERROR(ForEachComponent(*part, "pre_tokenizer", "pretokenizers",
                                             [&](const Object& object, const std::string& type) {
                                               return ReadPreTokenizer(object, type, &spec.pre_tokenizers);
                                             }));
  }
  if (const json::value* part = root.Find("decoder")) {
    spec.decoders.emplace();
    PREFIXD_RETURN_IF_ERROR(
        ForEachComponent(*part, "decoder", "decoders", [&](const Object& object, const std::string& type) {
          return ReadDecoder(object, type, &*spec.decoders);
        }));
  }
  if (const json::value* part = root.Find("post_processor")) {
    PREFIXD_RETURN_IF_ERROR(ReadPostProcessor(*part, &spec));
  }
  return spec;
}

}  // namespace

Result<TokenizerSpec> ParseTokenizerJson(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return Unsupported("tokenizer.json: " + std::to_string(text.size()) + " bytes, the limit is " +
                       std::to_string(kMaxBytes));
  }
  boost::system::error_code error;
  json::monotonic_resource memory;
  const json::value value = json::parse(text, error, &memory);
  if (error) return Corrupt("tokenizer.json: not JSON: " + error.message());
  return ReadTokenizer(value);
}

}  // namespace prefixd
