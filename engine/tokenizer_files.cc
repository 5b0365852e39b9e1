#include "engine/tokenizer_files.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <utility>

#include "base/json_fields.h"
#include "model/folder_kind.h"
#include "model/mapped_file.h"
#include "text/tokenizer/byte_spec.h"
#include "text/tokenizer/spec.h"

namespace prefixd {
namespace {

namespace bj = boost::json;
namespace fs = std::filesystem;

constexpr size_t kLargestTemplate = 1 << 20;
constexpr size_t kLargestConfig = 16 << 20;
constexpr size_t kLargestTokenizer = 256 << 20;

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The object of a JSON file, or nothing where there is no such file. Of a key given twice the last one
// counts, as in Python; `warnings`, which may be null, then gets a sentence.
Result<std::optional<bj::object>> ReadOptionalObject(const fs::path& path,
                                                     std::vector<std::string>* warnings) {
  if (!Exists(path)) return std::optional<bj::object>();
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kLargestConfig));
  const std::string prefix = path.filename().string() + ": ";
  Result<bj::object> unique = ParseJsonObject(prefix, text, {.twice = JsonParseOptions::Twice::kRefuse});
  if (unique.ok()) return std::optional(*std::move(unique));
  PREFIXD_ASSIGN_OR_RETURN(bj::object object,
                           ParseJsonObject(prefix, text, {.twice = JsonParseOptions::Twice::kLast}));
  if (warnings != nullptr) warnings->push_back(unique.status().message() + "; the last one counts");
  return std::optional(std::move(object));
}

Result<TokenizerSpec> ReadSpec(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.json";
  if (!Exists(file)) return NotFound(WhyNoTokenizer(folder));
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(file, kLargestTokenizer));
  Result<TokenizerSpec> spec = ParseTokenizerJson(text);
  if (!spec.ok()) return spec.status().WithContext("tokenizer.json");
  return spec;
}

int VocabSize(const TokenizerSpec& spec) {
  TokenId last = -1;
  for (const auto& [text, id] : spec.model.vocab) last = std::max(last, id);
  for (const AddedTokenSpec& token : spec.added) last = std::max(last, token.id);
  for (const TokenId id : spec.prefix_ids) last = std::max(last, id);
  for (const TokenId id : spec.suffix_ids) last = std::max(last, id);
  return last + 1;
}

// Reads chat_template of tokenizer_config.json.
Result<TemplateSource> TemplateOfConfig(const JsonFields& fields) {
  const std::string place = fields.PathOf("chat_template");
  const bj::value* value = fields.Find("chat_template");
  if (value == nullptr) return TemplateSource();
  if (value->is_string()) return TemplateSource{place, std::string(value->get_string()), {}};
  TemplateSource found{place + " 'default'", {}, {}};
  if (value->is_object()) {
    const JsonFields named(value->get_object(), place + ".");
    PREFIXD_ASSIGN_OR_RETURN(found.text, named.String("default").Or(""));
    PREFIXD_ASSIGN_OR_RETURN(found.tool_use, named.String("tool_use").Or(""));
  } else if (value->is_array()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<JsonFields> entries,
                             fields.Objects("chat_template").Required());
    for (const JsonFields& named : entries) {
      PREFIXD_ASSIGN_OR_RETURN(const std::string name, named.String("name").Or(""));
      if (name != "default" && name != "tool_use") continue;
      PREFIXD_ASSIGN_OR_RETURN((name == "default" ? found.text : found.tool_use),
                               named.String("template").Or(""));
    }
  } else {
    return fields.Wrong("chat_template", "a string, or a list or an object of named templates");
  }
  if (!found.text.empty()) return found;
  return fields.Wrong("chat_template", "one that is named 'default'");
}

// Reads the templates that are files of their own. The place is empty where there are none.
Result<TemplateSource> TemplateOfFiles(const fs::path& folder) {
  const fs::path others = folder / "additional_chat_templates";
  TemplateSource source;
  for (const fs::path& file : {others / "default.jinja", folder / "chat_template.jinja"}) {
    if (!Exists(file) || !source.place.empty()) continue;
    PREFIXD_ASSIGN_OR_RETURN(source.text, ReadSmallFile(file, kLargestTemplate));
    source.place = fs::relative(file, folder).string();
  }
  if (const fs::path tools = others / "tool_use.jinja"; Exists(tools)) {
    if (source.place.empty()) {
      return Unsupported(
          "additional_chat_templates/tool_use.jinja: is not supported without a template for "
          "other requests; add chat_template.jinja");
    }
    PREFIXD_ASSIGN_OR_RETURN(source.tool_use, ReadSmallFile(tools, kLargestTemplate));
  }
  return source;
}

Result<TemplateSource> FindTemplate(const fs::path& folder, const JsonFields& config, std::string_view given,
                                    std::vector<std::string>* contradictions) {
  if (!given.empty()) return TemplateSource{"the chat template given", std::string(given), {}};
  PREFIXD_ASSIGN_OR_RETURN(const TemplateSource of_files, TemplateOfFiles(folder));
  const bj::value* other = config.Find("chat_template");
  if (Exists(folder / "chat_template.json"))
    contradictions->push_back("chat_template.json is not read; a template in chat_template.jinja would be");
  if (of_files.place.empty()) return TemplateOfConfig(config);
  if (other != nullptr && (!other->is_string() || other->get_string() != of_files.text))
    contradictions->push_back("chat_template is another in tokenizer_config.json, but " + of_files.place +
                              " counts");
  return of_files;
}

// Says where an id of config.json or generation_config.json is not that of the token of the same name.
void CompareIds(const JsonFields& fields, const std::string& file, const TokenizerFiles& files,
                std::vector<std::string>* contradictions) {
  for (const std::string name : {"bos_token", "eos_token", "pad_token"}) {
    const auto token = std::find_if(files.named.begin(), files.named.end(),
                                    [&](const NamedToken& n) { return n.name == name; });
    const bj::value* value = fields.Find(name + "_id");
    if (token == files.named.end() || value == nullptr) continue;
    const std::optional<TokenId> id = files.tokenizer->TokenToId(token->text);
    const auto same = [&](const bj::value& v) { return JsonInteger(v) == id; };
    const bj::array* list = value->if_array();
    if (list != nullptr ? std::any_of(list->begin(), list->end(), same) : same(*value)) continue;
    contradictions->push_back(name + "_id is " + QuoteJson(*value) + " in " + file + ", but " + name + " " +
                              QuoteJson(bj::value(token->text)) + " of " + token->from + " has the id " +
                              (id ? std::to_string(*id) : "of no token") +
                              (name == "eos_token" ? "; each of them ends an answer" : ", which counts"));
  }
}

// Says where add_bos_token or add_eos_token is not what the post-processor does, which alone counts.
void CompareAdditions(const JsonFields& config, const TokenizerSpec& spec,
                      std::vector<std::string>* contradictions) {
  const auto compare = [&](const std::string& key, bool adds) {
    const Field<bool> said = config.Bool(key);
    if (!said.ok() || said.value() == adds) return;
    contradictions->push_back(key + " is " + (adds ? "false" : "true") +
                              " in tokenizer_config.json, but the post_processor of tokenizer.json counts");
  };
  compare("add_bos_token", !spec.prefix_ids.empty());
  compare("add_eos_token", !spec.suffix_ids.empty());
}

// Fills in the tokenizer of a folder that has none.
Status UseBytes(const fs::path& folder, int vocab, TokenizerFiles* files) {
  if (vocab < 256) {
    return Unsupported(WhyNoTokenizer(folder) + "; dummy weights do without one where vocab_size is 256 or " +
                       "more, but it is " + std::to_string(vocab));
  }
  files->spec = ByteTokenizerSpec(vocab);
  PREFIXD_ASSIGN_OR_RETURN(files->tokenizer, Tokenizer::FromSpec(files->spec));
  files->own_vocab_size = vocab;
  files->made_of_bytes = true;
  return Status::Ok();
}

}  // namespace

Result<TokenizerFiles> ReadTokenizerFiles(const fs::path& folder, std::string_view given_template,
                                          std::optional<int> byte_vocab) {
  std::vector<std::string> others;  // contradictions that are not about tokens
  PREFIXD_ASSIGN_OR_RETURN(const auto config, ReadOptionalObject(folder / "tokenizer_config.json", &others));
  PREFIXD_ASSIGN_OR_RETURN(const auto map, ReadOptionalObject(folder / "special_tokens_map.json", &others));
  PREFIXD_ASSIGN_OR_RETURN(const auto added, ReadOptionalObject(folder / "added_tokens.json", &others));
  PREFIXD_ASSIGN_OR_RETURN(const auto model, ReadOptionalObject(folder / "config.json", nullptr));
  PREFIXD_ASSIGN_OR_RETURN(const auto generation,
                           ReadOptionalObject(folder / "generation_config.json", nullptr));
  const bj::object none;
  const JsonFields config_fields(config ? *config : none, "tokenizer_config.json: ");
  const JsonFields model_fields(model ? *model : none, "config.json: ");

  TokenizerFiles files;
  PREFIXD_ASSIGN_OR_RETURN(files.chat_template, FindTemplate(folder, config_fields, given_template, &others));
  if (byte_vocab && !Exists(folder / "tokenizer.json")) {
    PREFIXD_RETURN_IF_ERROR(UseBytes(folder, *byte_vocab, &files));
    files.contradictions = std::move(others);
    return files;
  }
  PREFIXD_ASSIGN_OR_RETURN(files.spec, ReadSpec(folder));
  TokenizerSpec& spec = files.spec;
  files.own_vocab_size = VocabSize(spec);
  SpecialTokenFiles special;
  if (config) special.config = &*config;
  if (map) special.map = &*map;
  if (added) special.added = &*added;
  if (const Field<std::string> type = model_fields.String("model_type"); type.ok())
    special.model_type = type.value();
  if (const Field<std::string> name = model_fields.String("tokenizer_class"); name.ok())
    special.model_class = name.value();
  PREFIXD_ASSIGN_OR_RETURN(ResolvedTokens tokens, ResolveSpecialTokens(special, &spec));
  files.named = std::move(tokens.named);
  files.contradictions = std::move(tokens.contradictions);
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromSpec(spec);
  if (!tokenizer.ok()) return tokenizer.status().WithContext("tokenizer.json");
  files.tokenizer = *std::move(tokenizer);

  CompareAdditions(config_fields, spec, &others);
  if (generation) CompareIds(JsonFields(*generation), "generation_config.json", files, &others);
  CompareIds(model_fields, "config.json", files, &others);
  files.contradictions.insert(files.contradictions.end(), others.begin(), others.end());
  return files;
}

}  // namespace prefixd
