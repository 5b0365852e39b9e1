#include "engine/gguf_description.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "text/tokenizer/gguf_spec.h"
#include "text/tokenizer/gguf_vocabulary.h"

namespace prefixd {
namespace {

constexpr std::string_view kPrefix = "tokenizer.ggml.";
constexpr std::string_view kTemplate = "tokenizer.chat_template";

std::string Key(std::string_view name) { return std::string(kPrefix) + std::string(name); }

struct IdRow {
  std::string_view key, name;
};
constexpr IdRow kNames[] = {
    {"bos_token_id", "bos_token"},       {"eos_token_id", "eos_token"},
    {"unknown_token_id", "unk_token"},   {"separator_token_id", "sep_token"},
    {"seperator_token_id", "sep_token"}, {"padding_token_id", "pad_token"},
    {"cls_token_id", "cls_token"},       {"mask_token_id", "mask_token"},
};

Result<std::optional<TokenId>> Id(const GgufValues& values, std::string_view name) {
  PREFIXD_ASSIGN_OR_RETURN(const auto id, values.Integer(Key(name), -1, UINT32_MAX));
  if (!id || *id == -1 || *id == UINT32_MAX) return std::optional<TokenId>();  // files write -1 for none
  if (*id > kMaxTokenId) return values.Wrong(Key(name), "a token, or -1 for none");
  return std::optional(static_cast<TokenId>(*id));
}

Result<GgufVocabulary> ReadVocabulary(const GgufValues& values) {
  GgufVocabulary vocabulary;
  PREFIXD_ASSIGN_OR_RETURN(const auto model, values.String(Key("model")));
  PREFIXD_ASSIGN_OR_RETURN(const auto pre, values.String(Key("pre")));
  vocabulary.model = model.value_or("");
  vocabulary.pre = pre.value_or("");
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.tokens, values.Strings(Key("tokens")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.merges, values.Strings(Key("merges")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.scores, values.Floats(Key("scores")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.types, values.Integers(Key("token_type")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.add_space_prefix, values.Bool(Key("add_space_prefix")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.add_bos, values.Bool(Key("add_bos_token")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.add_eos, values.Bool(Key("add_eos_token")));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.bos, Id(values, "bos_token_id"));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.eos, Id(values, "eos_token_id"));
  PREFIXD_ASSIGN_OR_RETURN(vocabulary.unknown, Id(values, "unknown_token_id"));
  PREFIXD_ASSIGN_OR_RETURN(const auto squeezes, values.Bool(Key("remove_extra_whitespaces")));
  if (squeezes.value_or(false)) return values.Unsupported(Key("remove_extra_whitespaces"), "false");
  if (values.Find(Key("precompiled_charsmap")) != nullptr)
    return values.Unsupported(Key("precompiled_charsmap"), "none");
  return vocabulary;
}

Result<std::vector<NamedToken>> ReadNames(const GgufValues& values, const GgufVocabulary& vocabulary) {
  std::vector<NamedToken> named;
  for (const IdRow& row : kNames) {
    PREFIXD_ASSIGN_OR_RETURN(const std::optional<TokenId> id, Id(values, row.key));
    if (!id || static_cast<size_t>(*id) >= vocabulary.tokens.size()) continue;
    const std::string_view text = vocabulary.tokens[static_cast<size_t>(*id)];
    if (!text.empty() && TextOf(named, row.name).empty())
      named.push_back({std::string(row.name), std::string(text), Key(row.key)});
  }
  return named;
}

Result<TemplateSource> ReadTemplate(const GgufValues& values, std::string_view given) {
  if (!given.empty()) return TemplateSource{"the chat template given", std::string(given), {}};
  PREFIXD_ASSIGN_OR_RETURN(const auto text, values.String(kTemplate));
  PREFIXD_ASSIGN_OR_RETURN(const auto tools, values.String(std::string(kTemplate) + ".tool_use"));
  return TemplateSource{std::string(kTemplate), std::string(text.value_or("")),
                        std::string(text ? tools.value_or("") : "")};
}

// Adds the ids of the tokens that end an answer: eos_token, and up to two others.
void AddEnds(std::optional<TokenId> eos, const std::vector<TokenId>& ends, GgufHeader* header,
             std::vector<std::string>* losses) {
  std::vector<std::string_view> free = {"eot_token_id", "eom_token_id"};
  if (eos) header->Add(Key("eos_token_id"), *eos);
  for (const TokenId end : ends) {
    if (end == eos) continue;
    if (free.empty()) {
      losses->push_back("token " + std::to_string(end) +
                        " no longer ends an answer: there is room for three");
      continue;
    }
    header->Add(Key(free.front()), end);
    free.erase(free.begin());
  }
}

}  // namespace

Status AddGgufTokenizer(const TokenizerFiles& files, int vocab, const std::vector<TokenId>& ends,
                        GgufHeader* header, std::vector<std::string>* losses) {
  const auto id_of = [&](std::string_view name) {
    const std::string_view text = TextOf(files.named, name);
    const auto id = text.empty() ? std::nullopt : files.tokenizer->TokenToId(text);
    return id && *id < vocab ? id : std::nullopt;
  };
  std::optional<TokenId> eos = id_of("eos_token");
  if (!eos && !ends.empty()) eos = ends.front();
  PREFIXD_ASSIGN_OR_RETURN(const MadeVocabulary made,
                           VocabularyOfSpec(files.spec, vocab, id_of("bos_token"), eos));
  losses->insert(losses->end(), made.losses.begin(), made.losses.end());
  header->Add(Key("model"), std::string_view(made.model));
  header->Add(Key("pre"), std::string_view(made.pre));
  header->Add(Key("tokens"), made.tokens);
  header->Add(Key("token_type"), made.types);
  if (!made.scores.empty()) header->Add(Key("scores"), made.scores);
  if (!made.merges.empty()) header->Add(Key("merges"), made.merges);
  header->Add(Key("add_bos_token"), made.add_bos);
  header->Add(Key("add_eos_token"), made.add_eos);
  if (made.bos) header->Add(Key("bos_token_id"), *made.bos);
  AddEnds(made.eos, ends, header, losses);
  for (const IdRow& row : kNames) {
    const bool written =
        row.name == "bos_token" || row.name == "eos_token" || row.key == "seperator_token_id";
    if (const auto id = id_of(row.name); id && !written) header->Add(Key(row.key), *id);
  }
  for (const NamedToken& token : files.named) {
    if (std::ranges::find(kNames, token.name, &IdRow::name) == std::end(kNames))
      losses->push_back("the name " + token.name + " of token " + token.text);
  }
  const TemplateSource& chat = files.chat_template;
  if (!chat.text.empty()) header->Add(kTemplate, std::string_view(chat.text));
  if (!chat.tool_use.empty())
    header->Add(std::string(kTemplate) + ".tool_use", std::string_view(chat.tool_use));
  return Status::Ok();
}

Result<TokenizerFiles> ReadGgufTokenizer(const GgufValues& values, std::string_view given_template) {
  PREFIXD_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadVocabulary(values));
  TokenizerFiles files;
  PREFIXD_ASSIGN_OR_RETURN(files.named, ReadNames(values, vocabulary));
  PREFIXD_ASSIGN_OR_RETURN(files.chat_template, ReadTemplate(values, given_template));
  Result<TokenizerSpec> spec = SpecOfGguf(vocabulary);
  if (!spec.ok()) return spec.status().WithContext(values.file());
  files.spec = *std::move(spec);
  files.own_vocab_size = static_cast<int>(vocabulary.tokens.size());
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromSpec(files.spec);
  if (!tokenizer.ok()) return tokenizer.status().WithContext(values.file());
  files.tokenizer = *std::move(tokenizer);
  return files;
}

Result<std::vector<TokenId>> GgufEndTokens(const GgufValues& values, int vocab) {
  std::vector<TokenId> ends;
  for (const std::string_view name : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    PREFIXD_ASSIGN_OR_RETURN(const std::optional<TokenId> id, Id(values, name));
    if (id && *id >= vocab)
      return values.Wrong(Key(name), "one of " + std::to_string(vocab) + " tokens, or -1 for none");
    if (id) ends.push_back(*id);
  }
  return ends;
}

}  // namespace prefixd
