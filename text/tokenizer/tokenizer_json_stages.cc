// The normalizer, pre-tokenizer, post-processor and decoder of a tokenizer.json. A new component needs a row
// in one of the tables here and a case in the class that executes it.
#include "text/tokenizer/tokenizer_json_stages.h"

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <unordered_map>

#include "base/utf8.h"

namespace prefixd {
namespace {

constexpr size_t kMaxStages = 64;  // per normalizer, pre-tokenizer or decoder
constexpr size_t kMaxPatternBytes = 1 << 14;
constexpr size_t kMaxContentBytes = 256;  // of text that a component inserts
constexpr size_t kMaxStrip = 1 << 16;

// Calls `one` with the component that `object` describes or, where its type is Sequence, with each element of
// `list_key` in order. The depth limit of the JSON parser bounds the recursion.
Status ForEachComponent(const JsonFields& object, std::string_view list_key,
                        const std::function<Status(const JsonFields&, const std::string& type)>& one) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, object.String("type").Required());
  if (type != "Sequence") return one(object, type);
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", list_key}));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<JsonFields> list,
                           object.Objects(list_key, kMaxStages).Required());
  for (const JsonFields& element : list) PREFIXD_RETURN_IF_ERROR(ForEachComponent(element, list_key, one));
  return Status::Ok();
}

Result<TextPattern> ReadPattern(const JsonFields& owner) {
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields object, owner.Object("pattern").Required());
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"String", "Regex"}));
  TextPattern pattern;
  pattern.is_regex = object.Find("Regex") != nullptr;
  PREFIXD_ASSIGN_OR_RETURN(pattern.text, object.String(pattern.is_regex ? "Regex" : "String").Required());
  if (pattern.text.empty() || pattern.text.size() > kMaxPatternBytes)
    return owner.Unsupported("pattern", "1 to " + std::to_string(kMaxPatternBytes) + " bytes");
  return pattern;
}

Result<std::string> ReadCharacter(const JsonFields& object, std::string_view key) {
  PREFIXD_ASSIGN_OR_RETURN(std::string text, object.String(key).Required());
  if (text.empty() || Utf8Length(text[0]) != text.size()) return object.Wrong(key, "one character");
  return text;
}

Result<std::string> ReadContent(const JsonFields& object, std::string_view key) {
  PREFIXD_ASSIGN_OR_RETURN(std::string text, object.String(key).Required());
  if (text.size() > kMaxContentBytes)
    return object.Unsupported(key, "at most " + std::to_string(kMaxContentBytes) + " bytes");
  return text;
}

// How one kind of component is read: its options besides `type`, and the function that reads them into the
// spec.
template <typename Spec>
struct Component {
  std::string_view type;
  typename Spec::Kind kind;
  std::array<std::string_view, 6> options;
  Status (*read)(const JsonFields& object, Spec* spec);
};

template <typename Spec>
Status ReadComponent(const JsonFields& object, const std::string& type,
                     std::span<const Component<Spec>> table, std::vector<Spec>* out) {
  for (const Component<Spec>& row : table) {
    if (row.type != type) continue;
    std::array<std::string_view, 7> keys = {"type"};
    std::copy(row.options.begin(), row.options.end(), keys.begin() + 1);
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly(keys));
    if (out->size() == kMaxStages)
      return object.Unsupported("type", "at most " + std::to_string(kMaxStages) + " components");
    Spec spec{};
    spec.kind = row.kind;
    PREFIXD_RETURN_IF_ERROR(row.read(object, &spec));
    out->push_back(std::move(spec));
    return Status::Ok();
  }
  std::string types = "Sequence";
  for (const Component<Spec>& row : table) types += ", " + std::string(row.type);
  return object.Unsupported("type", types);
}

template <typename Spec>
Status ReadNothing(const JsonFields&, Spec*) {
  return Status::Ok();
}

// ---- Normalizers

Status ReadStripNormalizer(const JsonFields& object, NormalizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->strip_left, object.Bool("strip_left").Required());
  PREFIXD_ASSIGN_OR_RETURN(spec->strip_right, object.Bool("strip_right").Required());
  return Status::Ok();
}

Status ReadPrepend(const JsonFields& object, NormalizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadContent(object, "prepend"));
  return Status::Ok();
}

Status ReadReplace(const JsonFields& object, NormalizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->pattern, ReadPattern(object));
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadContent(object, "content"));
  // With a regex, "$1" is a group in some versions of the tokenizers library.
  if (spec->pattern.is_regex && spec->content.find('$') != std::string::npos)
    return object.Unsupported("content", "a text without $, because the pattern is a regex");
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

Status ReadBehavior(const JsonFields& object, SplitBehavior* out) {
  static const std::unordered_map<std::string, SplitBehavior> behaviors = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  PREFIXD_ASSIGN_OR_RETURN(const std::string behavior, object.String("behavior").Required());
  const auto found = behaviors.find(behavior);
  if (found == behaviors.end()) {
    return object.Unsupported("behavior",
                              "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
  }
  *out = found->second;
  return Status::Ok();
}

Status ReadSplit(const JsonFields& object, PreTokenizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->pattern, ReadPattern(object));
  PREFIXD_RETURN_IF_ERROR(ReadBehavior(object, &spec->behavior));
  PREFIXD_ASSIGN_OR_RETURN(spec->invert, object.Bool("invert").Or(false));
  return Status::Ok();
}

Status ReadByteLevel(const JsonFields& object,
                     PreTokenizerSpec* spec) {  // trim_offsets affects offsets only
  PREFIXD_ASSIGN_OR_RETURN(spec->add_prefix_space, object.Bool("add_prefix_space").Required());
  PREFIXD_ASSIGN_OR_RETURN(spec->use_regex, object.Bool("use_regex").Or(true));
  return Status::Ok();
}

Status ReadDigits(const JsonFields& object, PreTokenizerSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->individual_digits, object.Bool("individual_digits").Required());
  return Status::Ok();
}

Status ReadPunctuation(const JsonFields& object, PreTokenizerSpec* spec) {
  spec->behavior = SplitBehavior::kIsolated;
  return object.Find("behavior") == nullptr ? Status::Ok() : ReadBehavior(object, &spec->behavior);
}

// Reads the scheme of a Metaspace pre-tokenizer or decoder. The older add_prefix_space must not contradict
// it.
Result<PrependScheme> ReadPrependScheme(const JsonFields& object) {
  static const std::unordered_map<std::string, PrependScheme> schemes = {
      {"first", PrependScheme::kFirst}, {"always", PrependScheme::kAlways}, {"never", PrependScheme::kNever}};
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, object.String("prepend_scheme").Or("always"));
  PREFIXD_ASSIGN_OR_RETURN(const bool add_prefix_space, object.Bool("add_prefix_space").Or(true));
  const auto found = schemes.find(name);
  if (found == schemes.end()) return object.Unsupported("prepend_scheme", "first, always, never");
  if (!add_prefix_space && found->second != PrependScheme::kNever) {
    return object.Wrong("prepend_scheme", "\"never\", as add_prefix_space is false");
  }
  return found->second;
}

Status ReadMetaspace(const JsonFields& object, PreTokenizerSpec* spec) {  // str_rep follows from replacement
  PREFIXD_ASSIGN_OR_RETURN(spec->replacement, ReadCharacter(object, "replacement"));
  PREFIXD_ASSIGN_OR_RETURN(spec->prepend, ReadPrependScheme(object));
  PREFIXD_ASSIGN_OR_RETURN(spec->split, object.Bool("split").Or(true));
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

Status ReadReplaceDecoder(const JsonFields& object, DecoderSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(TextPattern pattern, ReadPattern(object));
  if (pattern.is_regex) return object.Unsupported("pattern", "a String");
  spec->pattern = std::move(pattern.text);
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadContent(object, "content"));
  return Status::Ok();
}

Status ReadStripDecoder(const JsonFields& object, DecoderSpec* spec) {
  PREFIXD_ASSIGN_OR_RETURN(spec->content, ReadCharacter(object, "content"));
  PREFIXD_ASSIGN_OR_RETURN(spec->start, object.Integer("start", 0, kMaxStrip).Required());
  PREFIXD_ASSIGN_OR_RETURN(spec->stop, object.Integer("stop", 0, kMaxStrip).Required());
  return Status::Ok();
}

Status ReadMetaspaceDecoder(const JsonFields& object, DecoderSpec* spec) {
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

// Appends the ids of the special token `name` of a template to `out`.
Status ReadTemplateToken(const JsonFields& owner, const std::string& name, std::vector<TokenId>* out) {
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields table, owner.Object("special_tokens").Required());
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields token, table.Object(name).Required());
  PREFIXD_RETURN_IF_ERROR(token.AllowOnly({"id", "ids", "tokens"}));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> ids,
                           token.Integers("ids", 0, kMaxTokenId, kMaxStages).Required());
  out->insert(out->end(), ids.begin(), ids.end());
  return Status::Ok();
}

Status ReadTemplate(const JsonFields& object, Surrounding* out) {
  PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "single", "pair", "special_tokens"}));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<JsonFields> pieces,
                           object.Objects("single", kMaxStages).Required());
  bool seen_text = false;
  for (const JsonFields& piece : pieces) {
    PREFIXD_RETURN_IF_ERROR(piece.AllowOnly({"SpecialToken", "Sequence"}));
    const bool is_text = piece.Find("Sequence") != nullptr;
    PREFIXD_ASSIGN_OR_RETURN(const JsonFields body,
                             piece.Object(is_text ? "Sequence" : "SpecialToken").Required());
    PREFIXD_RETURN_IF_ERROR(body.AllowOnly({"id", "type_id"}));
    PREFIXD_ASSIGN_OR_RETURN(const std::string id, body.String("id").Required());
    if (is_text) {
      if (id != "A" || seen_text) return body.Unsupported("id", "A, once");
      seen_text = true;
    } else {
      PREFIXD_RETURN_IF_ERROR(ReadTemplateToken(object, id, seen_text ? &out->suffix : &out->prefix));
    }
  }
  return seen_text ? Status::Ok() : object.Wrong("single", "a template with the sequence A");
}

// Appends the id of the token at `key`, written as ["text", id].
Status ReadNamedId(const JsonFields& object, std::string_view key, std::vector<TokenId>* out) {
  PREFIXD_ASSIGN_OR_RETURN(const boost::json::array* pair, object.Array(key, 2).Required());
  const std::optional<int64_t> id = pair->size() == 2 ? JsonInteger((*pair)[1]) : std::nullopt;
  if (!id || *id < 0 || *id > kMaxTokenId) return object.Wrong(key, "a token and its id");
  out->push_back(static_cast<TokenId>(*id));
  return Status::Ok();
}

Status ReadPostProcessor(const JsonFields& object, const std::string& type, TokenizerSpec* out) {
  Surrounding own;
  if (type == "ByteLevel") {  // affects offsets only
    return object.AllowOnly({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    PREFIXD_RETURN_IF_ERROR(object.AllowOnly({"type", "sep", "cls", "trim_offsets", "add_prefix_space"}));
    PREFIXD_RETURN_IF_ERROR(ReadNamedId(object, "cls", &own.prefix));
    PREFIXD_RETURN_IF_ERROR(ReadNamedId(object, "sep", &own.suffix));
  } else if (type == "TemplateProcessing") {
    PREFIXD_RETURN_IF_ERROR(ReadTemplate(object, &own));
  } else {
    return object.Unsupported("type",
                              "Sequence, ByteLevel, RobertaProcessing, BertProcessing, TemplateProcessing");
  }
  // The effect of a second one would depend on the parts that the first one made.
  if (!out->prefix_ids.empty() || !out->suffix_ids.empty())
    return object.Unsupported("type", "one component that adds tokens");
  out->prefix_ids = std::move(own.prefix);
  out->suffix_ids = std::move(own.suffix);
  return Status::Ok();
}

template <typename Spec>
Status ReadPart(const JsonFields& root, std::string_view key, std::string_view list_key,
                std::span<const Component<Spec>> table, std::vector<Spec>* out) {
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<JsonFields> part, root.Object(key).Optional());
  if (!part) return Status::Ok();
  return ForEachComponent(*part, list_key, [&](const JsonFields& object, const std::string& type) {
    return ReadComponent<Spec>(object, type, table, out);
  });
}

}  // namespace

Status ReadTokenizerStages(const JsonFields& root, TokenizerSpec* out) {
  PREFIXD_RETURN_IF_ERROR(
      ReadPart<NormalizerSpec>(root, "normalizer", "normalizers", kNormalizers, &out->normalizers));
  PREFIXD_RETURN_IF_ERROR(ReadPart<PreTokenizerSpec>(root, "pre_tokenizer", "pretokenizers", kPreTokenizers,
                                                     &out->pre_tokenizers));
  if (root.Find("decoder") != nullptr) out->decoders.emplace();
  if (out->decoders)
    PREFIXD_RETURN_IF_ERROR(ReadPart<DecoderSpec>(root, "decoder", "decoders", kDecoders, &*out->decoders));
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<JsonFields> processor,
                           root.Object("post_processor").Optional());
  if (!processor) return Status::Ok();
  return ForEachComponent(*processor, "processors", [&](const JsonFields& object, const std::string& type) {
    return ReadPostProcessor(object, type, out);
  });
}

}  // namespace prefixd
