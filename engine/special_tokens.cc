#include "engine/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "engine/special_token_class.h"
#include "engine/special_token_report.h"
#include "engine/special_token_values.h"
#include "text/tokenizer/added_vocabulary.h"

namespace prefixd {
namespace {

namespace bj = boost::json;

// Keys of special_tokens_map.json that transformers would follow as if tokenizer_config.json had them.
constexpr std::string_view kForeignKeys[] = {"chat_template",        "add_bos_token",  "add_eos_token",
                                             "split_special_tokens", "tokenizer_file", "tokenizer_object"};

// What the files say about a name. `from` is the file of the name, `token.from` that of the flags.
struct Name {
  std::string name;
  std::optional<WrittenToken> token;  // none: null, or no file has the key
  std::string from;
  bool has_key = false;
  // An object of tokenizer_config.json, which is not compared with the tokens of added_tokens.json.
  bool is_raw = false;
};

class Resolver {
 public:
  Resolver(const SpecialTokenFiles& files, TokenizerSpec* spec)
      : files_(files), spec_(spec), class_(TokenClassOf(files, *spec)) {
    for (const std::string_view name : kTokenNames) names_.push_back({.name = std::string(name)});
  }

  Result<ResolvedTokens> Run();

 private:
  Status ReadConfig(const JsonFields& config);
  Status ReadConfigTokens(const JsonFields& config);
  Status ReadDecoder(const JsonFields& config);
  Status ReadMap(const JsonFields& map);
  Status ReadMapLists(const JsonFields& map, std::string_view key);
  Status ReadAdded(const JsonFields& added);
  Status ReadOwnNames(const JsonFields& owner, std::string_view key);
  void ReadTokenizerJson();
  void SetDefaults();
  void TakeFlagsOfAddedTokens();
  void ForgetFlags();
  void AddOwnNames();
  std::vector<WrittenToken> TokensToAdd() const;
  std::vector<AddedTokenSpec> Specs(const std::vector<WrittenToken>& tokens) const;
  void Set(std::vector<Name>* names, Name name) const;
  Status SetName(const JsonFields& fields, std::string_view key, std::string_view from);
  void Record(int64_t id, WrittenToken token);

  const SpecialTokenFiles& files_;
  TokenizerSpec* spec_;
  const TokenClass& class_;
  SpecialTokenReport report_;
  std::vector<Name> names_;               // those of kTokenNames; at the end also those of rule 5
  std::vector<Name> own_, stronger_own_;  // rule 5: names of their own; the second list is the stronger one
  std::vector<WrittenToken> extra_;       // rule 5: extra_special_tokens
  bool has_extra_ = false;                // the key is there, so `additional_` does not count
  std::vector<WrittenToken> additional_;  // additional_special_tokens, as far as it is not in `extra_`
  std::map<int64_t, WrittenToken> decoder_;                   // added tokens by the id that their file gives
  std::unordered_map<std::string, WrittenToken> by_content_;  // the same
};

void Resolver::Set(std::vector<Name>* names, Name name) const {
  const auto same = [&](const Name& other) { return other.name == name.name; };
  if (const auto found = std::find_if(names->begin(), names->end(), same); found != names->end()) {
    *found = std::move(name);
  } else {
    names->push_back(std::move(name));
  }
}

// Sets a name of kTokenNames, whose key `fields` has.
Status Resolver::SetName(const JsonFields& fields, std::string_view key, std::string_view from) {
  Name name{.name = std::string(key), .token = {}, .from = std::string(from), .has_key = true};
  if (fields.Find(key) != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(name.token, ReadToken(fields, key, from));
    name.is_raw = !name.token->is_text && from == kConfigFile;
    if (!name.token->is_text && from == kMapFile) name.token->flags.special = true;
  }
  report_.Name(key, name.token ? name.token->content() : "", from);
  Set(&names_, std::move(name));
  return Status::Ok();
}

// Reads the object of names that extra_special_tokens may be.
Status Resolver::ReadOwnNames(const JsonFields& owner, std::string_view key) {
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields object, owner.Object(key).Required());
  for (const auto& [name, value] : object.object()) {
    if (value.is_null()) return object.Wrong(name, "a text, or an object with \"content\"");
    PREFIXD_ASSIGN_OR_RETURN(WrittenToken token, ReadToken(object, name, owner.PathOf("")));
    token.from = owner.PathOf("").starts_with(kMapFile) ? kMapFile : kConfigFile;
    const std::string from = token.from;
    Set(&stronger_own_,
        {.name = std::string(name), .token = std::move(token), .from = from, .has_key = true});
  }
  return Status::Ok();
}

Status Resolver::ReadConfigTokens(const JsonFields& config) {
  const bj::value* extra = config.Find("extra_special_tokens");
  const bool is_empty = extra == nullptr || (extra->is_array() && extra->get_array().empty()) ||
                        (extra->is_object() && extra->get_object().empty());
  const bool has_additional = config.object().contains("additional_special_tokens");
  const char* key = is_empty && has_additional ? "additional_special_tokens" : "extra_special_tokens";
  const bj::value* value = config.Find(key);
  has_extra_ = config.object().contains(key) && (value == nullptr || !value->is_object());
  if (value != nullptr && value->is_object()) {
    PREFIXD_RETURN_IF_ERROR(ReadOwnNames(config, key));
  } else if (value != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(extra_, ReadTokens(config, key, kConfigFile));
  }
  if (is_empty || config.Find("additional_special_tokens") == nullptr) return Status::Ok();
  PREFIXD_ASSIGN_OR_RETURN(additional_, ReadTokens(config, "additional_special_tokens", kConfigFile));
  if (has_extra_ && !additional_.empty()) {
    report_.Say(
        "tokenizer_config.json has extra_special_tokens, so its additional_special_tokens do not count");
  }
  return Status::Ok();
}

Status Resolver::ReadConfig(const JsonFields& config) {
  if (const Field<bool> split = config.Bool("split_special_tokens"); split.ok() && split.value())
    return config.Unsupported("split_special_tokens", "false: special tokens in a prompt are tokens");
  if (const bj::value* names = config.Find("fast_tokenizer_files"); names != nullptr && names->is_array()) {
    for (const bj::value& name : names->get_array()) {
      if (name.is_string() && name.get_string() != kTokenizerFile &&
          name.get_string().starts_with("tokenizer."))
        return config.Unsupported("fast_tokenizer_files", "tokenizer.json alone");
    }
  }
  PREFIXD_RETURN_IF_ERROR(ReadConfigTokens(config));
  std::vector<Name> texts;
  for (const auto& [key, value] : config.object()) {
    const std::string_view name = key;
    if (IsTokenName(name)) {
      PREFIXD_RETURN_IF_ERROR(SetName(config, name, kConfigFile));
    } else if (name.ends_with("_token") && (value.is_string() || value.is_object())) {
      PREFIXD_ASSIGN_OR_RETURN(WrittenToken token, ReadToken(config, name, kConfigFile));
      Name own{.name = std::string(name),
               .token = std::move(token),
               .from = std::string(kConfigFile),
               .has_key = true};
      Set(value.is_string() ? &texts : &own_, std::move(own));
    }
  }
  for (Name& object : stronger_own_) Set(&texts, std::move(object));
  stronger_own_ = std::move(texts);
  return Status::Ok();
}

void Resolver::Record(int64_t id, WrittenToken token) {
  by_content_.insert_or_assign(token.content(), token);
  decoder_.insert_or_assign(id, std::move(token));
}

Status Resolver::ReadDecoder(const JsonFields& config) {
  PREFIXD_ASSIGN_OR_RETURN(const JsonFields decoder, config.Object("added_tokens_decoder").Required());
  for (const auto& [key, value] : decoder.object()) {
    const std::string_view text = key;
    int64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0 || id > kMaxTokenId) {
      return InvalidArgument(config.PathOf("added_tokens_decoder") + " has the key " +
                             QuoteJson(bj::value(key)) + " (expected: the id of a token, from 0 to " +
                             std::to_string(kMaxTokenId) + ")");
    }
    PREFIXD_ASSIGN_OR_RETURN(const JsonFields object, decoder.Object(text).Required());
    PREFIXD_ASSIGN_OR_RETURN(WrittenToken token, ReadTokenObject(object, kConfigFile));
    report_.Id(token.content(), id, kConfigFile);
    Record(id, std::move(token));
  }
  return Status::Ok();
}

// Reads additional_special_tokens and extra_special_tokens of special_tokens_map.json.
Status Resolver::ReadMapLists(const JsonFields& map, std::string_view key) {
  const bool is_extra = key == "extra_special_tokens";
  const bj::value* value = map.Find(key);
  if (is_extra && value != nullptr && value->is_object()) {
    extra_.clear();
    has_extra_ = false;
    return ReadOwnNames(map, key);
  }
  std::vector<WrittenToken> tokens;
  if (value != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(tokens, ReadTokens(map, key, kMapFile));
  }
  for (WrittenToken& token : tokens) token.flags.special = token.flags.special || !token.is_text;
  if (!is_extra) {
    additional_ = std::move(tokens);
  } else {
    if (value == nullptr) extra_.clear();
    extra_.insert(extra_.end(), tokens.begin(), tokens.end());
    has_extra_ = true;
  }
  return Status::Ok();
}

Status Resolver::ReadMap(const JsonFields& map) {
  for (const auto& [key, value] : map.object()) {
    const std::string_view name = key;
    if (std::find(std::begin(kForeignKeys), std::end(kForeignKeys), name) != std::end(kForeignKeys))
      return Status(Code::kUnsupported, map.Unsupported(name, "in tokenizer_config.json only").message() +
                                            "; move the key there");
    if (IsTokenName(name)) {
      PREFIXD_RETURN_IF_ERROR(SetName(map, name, kMapFile));
    } else if (name == "additional_special_tokens" || name == "extra_special_tokens") {
      PREFIXD_RETURN_IF_ERROR(ReadMapLists(map, name));
    } else if (name.ends_with("_token") && (value.is_string() || value.is_object())) {
      PREFIXD_ASSIGN_OR_RETURN(WrittenToken token, ReadToken(map, name, kMapFile));
      token.flags.special = !token.is_text;
      Set(&own_, {.name = std::string(name),
                  .token = std::move(token),
                  .from = std::string(kMapFile),
                  .has_key = true});
    }
  }
  if (has_extra_ && !additional_.empty() && additional_[0].from == kMapFile) {
    report_.Say(
        "special_tokens_map.json has additional_special_tokens, but those of tokenizer_config.json or "
        "extra_special_tokens count");
  }
  return Status::Ok();
}

Status Resolver::ReadAdded(const JsonFields& added) {
  std::unordered_set<std::string> special;
  for (const Name& name : names_) {
    if (name.token && !name.is_raw) special.insert(name.token->content());
  }
  for (const WrittenToken& token : extra_) {
    if (token.is_text || token.from == kMapFile) special.insert(token.content());
  }
  for (const auto& [content, value] : added.object()) {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t id, added.Integer(content, 0, kMaxTokenId).Required());
    WrittenToken token = TextToken(std::string(content), kAddedFile);
    token.is_text = false;
    token.flags.special = special.contains(token.content());
    token.normalized = !token.flags.special;
    report_.Id(content, id, kAddedFile);
    Record(id, std::move(token));
  }
  return Status::Ok();
}

void Resolver::ReadTokenizerJson() {
  for (const AddedTokenSpec& added : spec_->added) {
    WrittenToken token = TextToken(added.content, kTokenizerFile);
    token.is_text = false;
    token.flags = added;
    token.normalized = added.normalized;
    Record(added.id, std::move(token));
  }
}

void Resolver::SetDefaults() {
  const auto set = [&](std::string_view key, std::string_view text, std::string from) {
    const auto name =
        std::find_if(names_.begin(), names_.end(), [&](const Name& n) { return n.name == key; });
    if (name->has_key || text.empty()) return;
    *name = {
        .name = std::string(key), .token = TextToken(std::string(text), from), .from = from, .has_key = true};
  };
  const std::string from = "the default of " + std::string(class_.name);
  set("bos_token", class_.bos, from);
  set("eos_token", class_.eos, from);
  set("unk_token", class_.unk, from);
  set("pad_token", class_.pad, from);
  if (!class_.pads_with_nothing)
    set("pad_token", spec_->pad_token.value_or(""), "the padding of tokenizer.json");
}

void Resolver::TakeFlagsOfAddedTokens() {
  for (Name& name : names_) {
    if (!name.token) continue;
    const auto added = by_content_.find(name.token->content());
    if (added != by_content_.end()) name.token = added->second;
  }
}

// The class Qwen2Tokenizer of 5.24 reads only added_tokens_decoder where that is present. Its tokens are then
// not special because tokenizer.json says so. The tokens that it lacks are kept here, as 4.57 keeps them.
void Resolver::ForgetFlags() {
  std::string lacking;
  for (AddedTokenSpec& token : spec_->added) {
    if (!by_content_.contains(token.content)) {
      if (lacking.empty()) lacking = token.content;
      continue;
    }
    token.special = false;
    token.decoded_normalized = false;
  }
  if (lacking.empty()) return;
  report_.Say("added_tokens_decoder lacks added tokens of tokenizer.json, such as " +
              QuoteJson(bj::value(lacking)) +
              "; they count here, but Qwen2Tokenizer of transformers 5 drops them");
}

// Appends the names of rule 5; one of them may also be a name of kTokenNames.
void Resolver::AddOwnNames() {
  for (Name& name : stronger_own_) Set(&own_, std::move(name));
  for (Name& name : own_) Set(&names_, std::move(name));
  if (!has_extra_) extra_ = additional_;
}

std::vector<WrittenToken> Resolver::TokensToAdd() const {
  std::vector<WrittenToken> tokens;
  std::unordered_set<std::string_view> known;
  for (const AddedTokenSpec& token : spec_->added) known.insert(token.content);
  for (const auto& [id, token] : decoder_) {
    tokens.push_back(token);
    known.insert(token.content());
  }
  size_t first = tokens.size();
  const auto add = [&](const WrittenToken& token) {
    const auto begin = tokens.begin() + static_cast<ptrdiff_t>(first);
    if (!known.contains(token.content()) && std::find(begin, tokens.end(), token) == tokens.end())
      tokens.push_back(token);
  };
  for (const Name& name : names_) {
    if (name.token) add(*name.token);
  }
  for (const WrittenToken& token : extra_) add(token);
  if (!class_.only_decoder) return tokens;
  for (const Name& name : names_) {
    if (name.token) tokens.push_back(TextToken(name.token->content(), name.from));
  }
  for (const WrittenToken& token : extra_) tokens.push_back(TextToken(token.content(), token.from));
  return tokens;
}

std::vector<AddedTokenSpec> Resolver::Specs(const std::vector<WrittenToken>& tokens) const {
  std::unordered_set<std::string_view> named;
  for (const Name& name : names_) {
    if (name.token) named.insert(name.token->content());
  }
  std::vector<AddedTokenSpec> specs;
  specs.reserve(tokens.size());
  for (const WrittenToken& token : tokens)
    specs.push_back(token.Spec(token.is_text || named.contains(token.content())));
  return specs;
}

Result<ResolvedTokens> Resolver::Run() {
  const bj::object none;
  const JsonFields config(files_.config != nullptr ? *files_.config : none, std::string(kConfigFile) + ": ");
  PREFIXD_RETURN_IF_ERROR(ReadConfig(config));
  if (config.object().contains("added_tokens_decoder")) {
    PREFIXD_RETURN_IF_ERROR(ReadDecoder(config));
    if (files_.map != nullptr) report_.UnreadMap(*files_.map);
    if (files_.added != nullptr) report_.UnreadAdded(*files_.added);
  } else {
    if (files_.map != nullptr)
      PREFIXD_RETURN_IF_ERROR(ReadMap(JsonFields(*files_.map, std::string(kMapFile) + ": ")));
    if (files_.added != nullptr)
      PREFIXD_RETURN_IF_ERROR(ReadAdded(JsonFields(*files_.added, std::string(kAddedFile) + ": ")));
    ReadTokenizerJson();
  }
  SetDefaults();
  TakeFlagsOfAddedTokens();
  AddOwnNames();
  const std::vector<AddedTokenSpec> before = spec_->added;
  if (class_.only_decoder) ForgetFlags();
  const std::vector<WrittenToken> tokens = TokensToAdd();
  PREFIXD_RETURN_IF_ERROR(AddTokens(Specs(tokens), spec_));
  ResolvedTokens resolved;
  for (const Name& name : names_) {
    if (name.token && !name.token->content().empty())
      resolved.named.push_back({name.name, name.token->content(), name.from});
  }
  resolved.contradictions = report_.Sentences(resolved.named, before, tokens, *spec_);
  return resolved;
}

}  // namespace

Result<ResolvedTokens> ResolveSpecialTokens(const SpecialTokenFiles& files, TokenizerSpec* spec) {
  return Resolver(files, spec).Run();
}

std::string_view TextOf(const std::vector<NamedToken>& named, std::string_view name) {
  for (const NamedToken& token : named) {
    if (token.name == name) return token.text;
  }
  return "";
}

}  // namespace prefixd
