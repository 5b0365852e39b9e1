// Normalizer, pre-tokenizer, post-processor and decoder of a tokenizer.json. A new component is a row in one
// of the four tables here and a case where it is carried out.
#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <unordered_map>

#include "text/tokenizer/tokenizer_json_object.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using Object = tokenizer_json::Object;

constexpr size_t kMaxStages = 64;  // of a normaliser, pre-tokeniser or decoder
constexpr size_t kMaxPatternBytes = 1 << 14;
constexpr size_t kMaxContentBytes = 256;  // of what is put into a text
constexpr size_t kMaxStrip = 1 << 16;

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

Result<std::string> ReadCharacter(const Object& object, std::string_view key) {
  PREFIXD_ASSIGN_OR_RETURN(std::string text, object.String(key));
  if (text.empty() || Utf8Length(text[0]) != text.size()) return object.Wrong(key, "one character");
  return text;
}

Result<std::string> ReadContent(const Object& object, std::string_view key) {
  PREFIXD_ASSIGN_OR_RETURN(std::string text, object.String(key));
  if (text.size() > kMaxContentBytes) return object.Lacks(key);
  return text;
}

// How one kind of component is read: what may be there besides `type`, and what puts that into the spec.
template <typename Spec>
struct Component {
  std::string_view type;
  typename Spec::Kind kind;
  std::array<std::string_view, 6> options;
  Status (*read)(const Object& object, Spec* spec);
};

template <typename Spec>
Status ReadComponent(const Object& object, const std::string& type, std::span<const Component<Spec>> table,
                     std::vector<Spec>* out) {
  for (const Component<Spec>& row : table) {
    if (row.type != type) continue;
    std::array<std::string_view, 7> keys = {"type"};
    std::copy(row.options.begin(), row.options.end(), keys.begin() + 1);
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly(keys));
    if (out->size() == kMaxStages) return object.Lacks("type");
    Spec spec{};
    spec.kind = row.kind;
    PREFIXD_RETURN_IF_ERROR(row.read(object, &spec));
    out->push_back(std::move(spec));
    return Status::Ok();
  }
  return object.Lacks("type");
}

template <typename Spec>
Status ReadNothing(const Object&, Spec*) {
  return Status::Ok();
}

// ---- Normalizers

Status ReadStripNormalizer(const Object& object, NormalizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->strip_left, object.Bool("strip_left"));
  PREFIXD_ASSIGN_OR_RETURN(spec->strip_right, object.Bool("strip_right"));
  return Status::Ok();
}

Status ReadPrepend(const Object& object, NormalizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadContent(object, "prepend"));
  return Status::Ok();
}

Status ReadReplace(const Object& object, NormalizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->pattern, ReadPattern(object));
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadContent(object, "content"));
  // With a regex, "$1" may mean a group, depending on the version of the original.
  if (spec->pattern.is_regex && spec->content.find('$') != std::string::npos) return object.Lacks("content");
  return Status::Ok();
}

const Component<NormalizerSpec> kNormalizers[] = {
    {"NFC", NormalizerSpec::kNfc, {}, ReadNothing},
    {"NFD", NormalizerSpec::kNfd, {}, ReadNothing},
    {"NFKC", NormalizerSpec::kNfkc, {}, ReadNothing},
    {"NFKD", NormalizerSpec::kNfkd, {}, ReadNothing},
    {"Lowercase", NormalizerSpec::kLowercase, {}, ReadNothing},
    {"Strip", NormalizerSpec::kStrip, {"strip_left", "strip_right"}, ReadStripNormalizer},
    {"Prepend", NormalizerSpec::kPrepend, {"prepend"}, ReadPrepend},
    {"Replace", NormalizerSpec::kReplace, {"pattern", "content"}, ReadReplace},
};

// ---- Pre-tokenizers

Status ReadBehavior(const Object& object, SplitBehavior* out) {
  static const std::unordered_map<std::string, SplitBehavior> behaviors = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  PREFIXD_ASSIGN_OR_RETURN(const std::string behavior, object.String("behavior"));
  const auto found = behaviors.find(behavior);
  if (found == behaviors.end()) return object.Lacks("behavior");
  *out = found->second;
  return Status::Ok();
}

Status ReadSplit(const Object& object, PreTokenizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->pattern, ReadPattern(object));
  PREFIXD_RETURN_IF_ERROR(ReadBehavior(object, &spec->behavior));
  PREFIXD_ASSIGN_OR_RETURN(spec->invert, object.BoolOr("invert", false));
  return Status::Ok();
}

Status ReadByteLevel(const Object& object, PreTokenizerSpec* spec) {  // trim_offsets concerns offsets alone
  PREFIXD_ASSIGN_OR_RETURN(spec->add_prefix_space, object.Bool("add_prefix_space"));
  PREFIXD_ASSIGN_OR_RETURN(spec->use_regex, object.BoolOr("use_regex", true));
  return Status::Ok();
}

Status ReadDigits(const Object& object, PreTokenizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->individual_digits, object.Bool("individual_digits"));
  return Status::Ok();
}

Status ReadPunctuation(const Object& object, PreTokenizerSpec* spec) {
  spec->behavior = SplitBehavior::kIsolated;
  return object.Find("behavior") == nullptr ? Status::Ok() : ReadBehavior(object, &spec->behavior);
}

// The scheme of a Metaspace, pre-tokenizer or decoder. The older add_prefix_space must not contradict it.
Result<PrependScheme> ReadPrependScheme(const Object& object) {
  static const std::unordered_map<std::string, PrependScheme> schemes = {
      {"first", PrependScheme::kFirst}, {"always", PrependScheme::kAlways}, {"never", PrependScheme::kNever}};
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, object.StringOr("prepend_scheme", "always"));
  PREFIXD_ASSIGN_OR_RETURN(const bool add_prefix_space, object.BoolOr("add_prefix_space", true));
  const auto found = schemes.find(name);
  if (found == schemes.end()) return object.Lacks("prepend_scheme");
  if (!add_prefix_space && found->second != PrependScheme::kNever) {
    return object.Wrong("prepend_scheme", "\"never\", as add_prefix_space is false");
  }
  return found->second;
}

Status ReadMetaspace(const Object& object, PreTokenizerSpec* spec) {  // str_rep follows from replacement
  PREFIXD_ASSIGN_OR_RETURN(spec->replacement, ReadCharacter(object, "replacement"));
  PREFIXD_ASSIGN_OR_RETURN(spec->prepend, ReadPrependScheme(object));
  PREFIXD_ASSIGN_OR_RETURN(spec->split, object.BoolOr("split", true));
  return Status::Ok();
}

const Component<PreTokenizerSpec> kPreTokenizers[] = {
    {"Split", PreTokenizerSpec::kSplit, {"pattern", "behavior", "invert"}, ReadSplit},
    {"ByteLevel",
     PreTokenizerSpec::kByteLevel,
     {"add_prefix_space", "trim_offsets", "use_regex"},
     ReadByteLevel},
    {"Digits", PreTokenizerSpec::kDigits, {"individual_digits"}, ReadDigits},
    {"Punctuation", PreTokenizerSpec::kPunctuation, {"behavior"}, ReadPunctuation},
    {"Whitespace", PreTokenizerSpec::kWhitespace, {}, ReadNothing},
    {"WhitespaceSplit", PreTokenizerSpec::kWhitespaceSplit, {}, ReadNothing},
    {"Metaspace",
     PreTokenizerSpec::kMetaspace,
     {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"},
     ReadMetaspace},
};

// ---- Decoders

Status ReadReplaceDecoder(const Object& object, DecoderSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(TextPattern pattern, ReadPattern(object));
  if (pattern.is_regex) return object.Lacks("pattern");
  spec->pattern = std::move(pattern.text);
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadContent(object, "content"));
  return Status::Ok();
}

Status ReadStripDecoder(const Object& object, DecoderSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadCharacter(object, "content"));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t start, object.IntegerIn("start", 0, kMaxStrip));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t stop, object.IntegerIn("stop", 0, kMaxStrip));
  spec->start = static_cast<size_t>(start);
  spec->stop = static_cast<size_t>(stop);
  return Status::Ok();
}

Status ReadMetaspaceDecoder(const Object& object, DecoderSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->pattern, ReadCharacter(object, "replacement"));
  PREFIXD_ASSIGN_OR_RETURN(const PrependScheme scheme, ReadPrependScheme(object));
  spec->prepends = scheme != PrependScheme::kNever;
  return Status::Ok();
}

const Component<DecoderSpec> kDecoders[] = {
    {"ByteLevel", DecoderSpec::kByteLevel, {"add_prefix_space", "trim_offsets", "use_regex"}, ReadNothing},
    {"Replace", DecoderSpec::kReplace, {"pattern", "content"}, ReadReplaceDecoder},
    {"ByteFallback", DecoderSpec::kByteFallback, {}, ReadNothing},
    {"Fuse", DecoderSpec::kFuse, {}, ReadNothing},
    {"Strip", DecoderSpec::kStrip, {"content", "start", "stop"}, ReadStripDecoder},
    {"Metaspace",
     DecoderSpec::kMetaspace,
     {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"},
     ReadMetaspaceDecoder},
};

// ---- Post-processors

struct Surrounding {
  std::vector<TokenId> prefix, suffix;
};

Result<TokenId> ReadTokenId(const Object& owner, std::string_view key, const json::value& id) {
  if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() > kMaxTokenId)
    return owner.Wrong(key, "token ids");
  return static_cast<TokenId>(id.get_int64());
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
    PREFIXD_ASSIGN_OR_RETURN(const TokenId number, ReadTokenId(token, "ids", id));
    out->push_back(number);
  }
  return Status::Ok();
}

Status ReadTemplate(const Object& object, Surrounding* out) {
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
      PREFIXD_RETURN_IF_ERROR(ReadTemplateToken(object, id, seen_text ? &out->suffix : &out->prefix));
    }
  }
  return seen_text ? Status::Ok() : object.Wrong("single", "a template with the sequence A");
}

// ["text", id]
Status ReadNamedId(const Object& object, std::string_view key, std::vector<TokenId>* out) {
  PREFIXD_ASSIGN_OR_RETURN(const json::array* pair, object.Array(key, 2));
  if (pair->size() != 2) return object.Wrong(key, "a token and its id");
  PREFIXD_ASSIGN_OR_RETURN(const TokenId id, ReadTokenId(object, key, (*pair)[1]));
  out->push_back(id);
  return Status::Ok();
}

Status ReadPostProcessor(const Object& object, const std::string& type, TokenizerSpec* out) {
  Surrounding own;
  if (type == "ByteLevel") {  // concerns offsets alone
    return object.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "sep", "cls", "trim_offsets", "add_prefix_space"}));
    PREFIXD_RETURN_IF_ERROR(ReadNamedId(object, "cls", &own.prefix));
    PREFIXD_RETURN_IF_ERROR(ReadNamedId(object, "sep", &own.suffix));
  } else if (type == "TemplateProcessing") {
    PREFIXD_RETURN_IF_ERROR(ReadTemplate(object, &own));
  } else {
    return object.Lacks("type");
  }
  // What a second one would do depends on the parts that the first one made.
  if (!out->prefix_ids.empty() || !out->suffix_ids.empty()) return object.Lacks("type");
  out->prefix_ids = std::move(own.prefix);
  out->suffix_ids = std::move(own.suffix);
  return Status::Ok();
}

}  // namespace

Status tokenizer_json::ReadStages(const Object& root, TokenizerSpec* out) {
  if (const json::value* part = root.Find("normalizer")) {
    PREFIXD_RETURN_IF_ERROR(ForEachComponent(
        *part, "normalizer", "normalizers", [&](const Object& object, const std::string& type) {
          return ReadComponent<NormalizerSpec>(object, type, kNormalizers, &out->normalizers);
        }));
  }
  if (const json::value* part = root.Find("pre_tokenizer")) {
    PREFIXD_RETURN_IF_ERROR(ForEachComponent(
        *part, "pre_tokenizer", "pretokenizers", [&](const Object& object, const std::string& type) {
          return ReadComponent<PreTokenizerSpec>(object, type, kPreTokenizers, &out->pre_tokenizers);
        }));
  }
  if (const json::value* part = root.Find("decoder")) {
    out->decoders.emplace();
    PREFIXD_RETURN_IF_ERROR(
        ForEachComponent(*part, "decoder", "decoders", [&](const Object& object, const std::string& type) {
          return ReadComponent<DecoderSpec>(object, type, kDecoders, &*out->decoders);
        }));
  }
  if (const json::value* part = root.Find("post_processor")) {
    PREFIXD_RETURN_IF_ERROR(ForEachComponent(
        *part, "post_processor", "processors",
        [&](const Object& object, const std::string& type) { return ReadPostProcessor(object, type, out); }));
  }
  return Status::Ok();
}

}  // namespace prefixd
