#include "text/tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/utf8.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/gguf_stages.h"

namespace prefixd {
namespace {

constexpr std::string_view kServeFolder = "; serve the folder itself";

Status Cannot(const std::string& what) {
  return Unsupported("tokenizer.json: " + what + ", which a GGUF file cannot say" +
                     std::string(kServeFolder));
}

std::string Quoted(std::string_view text) { return "\"" + PrintableLine(text.substr(0, 80)) + "\""; }

// Whether each token that is no added one is what its own text becomes by merges alone. Then ignore_merges
// makes no difference.
bool MergesMakeEveryToken(const TokenizerSpec& spec) {
  BpeSpec model = spec.model;
  model.ignore_merges = false;
  const BpeModel bpe(model, false);
  std::set<TokenId> added;
  for (const AddedTokenSpec& token : spec.added) added.insert(token.id);
  std::vector<TokenId> ids;
  return std::ranges::all_of(model.vocab, [&](const auto& token) {
    if (token.first.empty() || added.contains(token.second)) return true;
    ids.clear();
    bpe.Tokenize(token.first, &ids);
    return ids.size() == 1 && ids.front() == token.second;
  });
}

// The name of the stages of a tokenizer; empty for those of "llama".
Result<std::string> FindPre(const TokenizerSpec& spec) {
  GgufStages stages = StagesOf(spec);
  if (stages == StagesOfLlama()) return std::string();
  for (const std::string_view pre : PresWithStages(stages)) {
    if (StagesOfPre(pre)->ignore_merges == stages.ignore_merges || MergesMakeEveryToken(spec))
      return std::string(pre);
  }
  if (!PresWithStages(stages).empty())
    return Cannot(std::string("model.ignore_merges is ") + (stages.ignore_merges ? "true" : "false") +
                  " with the pre-tokenizer of " + std::string(PresWithStages(stages).front()));
  return Unsupported(
      "tokenizer.json: normalizer, pre_tokenizer and decoder together are none that a GGUF file can name "
      "(supported: those of llama, " +
      NamesOfPres() + ")" + std::string(kServeFolder));
}

GgufTokenType TypeOf(const TokenizerSpec& spec, const AddedTokenSpec& token) {
  if (token.content == spec.model.unk_token && spec.model.byte_fallback) return GgufTokenType::kUnknown;
  return token.special ? GgufTokenType::kControl : GgufTokenType::kUserDefined;
}

bool IsByteToken(std::string_view token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

Status AddTokensAndTypes(const TokenizerSpec& spec, int vocab, MadeVocabulary* made) {
  std::map<TokenId, std::string_view> texts;
  for (const auto& [text, id] : spec.model.vocab) texts.emplace(id, text);
  for (const AddedTokenSpec& token : spec.added) texts.emplace(token.id, token.content);
  for (const auto& [id, text] : texts) {
    if (id >= vocab)
      return Cannot("token " + Quoted(text) + " has the id " + std::to_string(id) + ", but the model has " +
                    std::to_string(vocab) + " embeddings");
  }
  for (int id = 0; id < vocab; ++id) {
    const auto text = texts.find(id);
    const bool none = text == texts.end();
    made->tokens.emplace_back(none ? GgufPadding(static_cast<size_t>(id)) : std::string(text->second));
    const bool byte = !none && spec.model.byte_fallback && IsByteToken(text->second);
    made->types.push_back(static_cast<int32_t>(none   ? GgufTokenType::kUnused
                                               : byte ? GgufTokenType::kByte
                                                      : GgufTokenType::kNormal));
  }
  for (const AddedTokenSpec& token : spec.added)
    made->types[static_cast<size_t>(token.id)] = static_cast<int32_t>(TypeOf(spec, token));
  return Status::Ok();
}

Status AddMerges(const TokenizerSpec& spec, MadeVocabulary* made) {
  for (const auto& [left, right] : spec.model.merges) {
    if (left.find(' ') != left.npos)
      return Cannot("a merge of " + Quoted(left) + " and " + Quoted(right) +
                    " has a space in its first part");
    made->merges.push_back(left + " " + right);
  }
  return Status::Ok();
}

using Merges = std::vector<std::pair<std::string, std::string>>;

// The number of the group of each merge, from 0 in their order. The merges of one token are in one group, and
// so are those between them: their tokens have the same score.
std::vector<size_t> GroupsOf(const Merges& merges) {
  std::unordered_map<std::string, size_t> last;
  for (size_t i = 0; i < merges.size(); ++i) last[merges[i].first + merges[i].second] = i;
  std::vector<size_t> groups;
  size_t group = 0, end = 0;  // the last merge of the group
  for (size_t i = 0; i < merges.size(); ++i) {
    if (i > end) ++group;
    end = std::max(end, last[merges[i].first + merges[i].second]);
    groups.push_back(group);
  }
  return groups;
}

// Gives tokens scores whose order is that of the merges.
void AddScores(const TokenizerSpec& spec, MadeVocabulary* made) {
  const std::vector<size_t> groups = GroupsOf(spec.model.merges);
  std::unordered_map<std::string, float> scores;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto& [left, right] = spec.model.merges[i];
    scores[left + right] = -static_cast<float>(groups[i]);
  }
  const float least = groups.empty() ? 0 : -static_cast<float>(groups.back() + 1);
  for (const std::string& token : made->tokens) {
    const auto found = scores.find(token);
    made->scores.push_back(found == scores.end() ? least : found->second);
  }
}

Status AddEnds(const TokenizerSpec& spec, MadeVocabulary* made) {
  const auto one_of = [](const std::vector<TokenId>& ids, std::optional<TokenId>* named) {
    if (ids.empty()) return true;
    if (!*named) *named = ids.front();
    return ids.size() == 1 && ids.front() == **named;
  };
  if (!one_of(spec.prefix_ids, &made->bos))
    return Cannot("post_processor puts other tokens before a text than bos_token");
  if (!one_of(spec.suffix_ids, &made->eos))
    return Cannot("post_processor puts other tokens behind a text than eos_token");
  made->add_bos = !spec.prefix_ids.empty();
  made->add_eos = !spec.suffix_ids.empty();
  return Status::Ok();
}

// The merges, those of each group in one order: programs that read scores do the leftmost of them first.
Merges Ordered(Merges merges) {
  const std::vector<size_t> groups = GroupsOf(merges);
  for (size_t begin = 0, end = 0; begin < merges.size(); begin = end) {
    while (end < merges.size() && groups[end] == groups[begin]) ++end;
    std::sort(merges.begin() + static_cast<ptrdiff_t>(begin), merges.begin() + static_cast<ptrdiff_t>(end));
  }
  return merges;
}

// The added tokens by id, with the flags that matter: without normalizers `normalized` does not.
std::map<TokenId, AddedTokenSpec> AddedById(const TokenizerSpec& spec) {
  std::map<TokenId, AddedTokenSpec> added;
  for (AddedTokenSpec token : spec.added) {
    token.normalized &= !spec.normalizers.empty();
    token.decoded_normalized &= !spec.normalizers.empty();
    added[token.id] = std::move(token);
  }
  return added;
}

// Says which flags of added tokens are lost.
void CompareAdded(const TokenizerSpec& spec, const TokenizerSpec& read, std::vector<std::string>* losses) {
  const std::map<TokenId, AddedTokenSpec> before = AddedById(spec), after = AddedById(read);
  for (const auto& [id, token] : before) {
    const auto found = after.find(id);
    const bool flags = found != after.end() && found->second.special == token.special;
    if (found != after.end() && found->second == token) continue;
    losses->push_back("added token " + Quoted(token.content) + (flags ? " loses the flags " : " loses ") +
                      (flags ? std::string("of tokenizer.json: normalized, lstrip, rstrip or single_word")
                             : std::string("its place among the added tokens")));
  }
  for (const auto& [id, token] : after) {
    if (!before.contains(id)) losses->push_back("token " + Quoted(token.content) + " becomes an added token");
  }
}

// Compares what a reader makes of the vocabulary with the tokenizer.
Status Check(const TokenizerSpec& spec, MadeVocabulary* made) {
  PREFIXD_ASSIGN_OR_RETURN(const TokenizerSpec read, SpecOfGguf(made->View()));
  const bool llama = made->model == "llama";
  if (llama ? Ordered(read.model.merges) != Ordered(spec.model.merges)
            : read.model.merges != spec.model.merges)
    return Cannot(
        "model.merges are not those of a vocabulary of SentencePiece, in which every pair of tokens that "
        "makes "
        "a token merges");
  if (read.model.byte_fallback != spec.model.byte_fallback || read.prefix_ids != spec.prefix_ids ||
      read.suffix_ids != spec.suffix_ids || (llama && read.model.unk_token != spec.model.unk_token))
    return Cannot("model.byte_fallback, model.unk_token and post_processor are such");
  CompareAdded(spec, read, &made->losses);
  return Status::Ok();
}

}  // namespace

GgufVocabulary MadeVocabulary::View() const {
  GgufVocabulary view;
  view.model = model;
  view.pre = pre;
  view.tokens.assign(tokens.begin(), tokens.end());
  view.merges.assign(merges.begin(), merges.end());
  view.scores = scores;
  view.types = types;
  view.add_bos = add_bos;
  view.add_eos = add_eos;
  view.bos = bos;
  view.eos = eos;
  view.unknown = unknown;
  return view;
}

Result<MadeVocabulary> VocabularyOfSpec(const TokenizerSpec& spec, int vocab, std::optional<TokenId> bos,
                                        std::optional<TokenId> eos) {
  MadeVocabulary made;
  if (!spec.model.continuing_subword_prefix.empty() || !spec.model.end_of_word_suffix.empty())
    return Cannot("model.continuing_subword_prefix or end_of_word_suffix is not empty");
  PREFIXD_ASSIGN_OR_RETURN(made.pre, FindPre(spec));
  const bool llama = made.pre.empty();
  if (llama) made.pre = "default";
  made.model = llama ? "llama" : "gpt2";
  made.bos = bos;
  made.eos = eos;
  PREFIXD_RETURN_IF_ERROR(AddTokensAndTypes(spec, vocab, &made));
  if (llama) {
    AddScores(spec, &made);
    const auto unknown = std::ranges::find(spec.model.vocab, spec.model.unk_token.value_or(""),
                                           &std::pair<std::string, TokenId>::first);
    if (unknown != spec.model.vocab.end()) made.unknown = unknown->second;
  } else {
    PREFIXD_RETURN_IF_ERROR(AddMerges(spec, &made));
  }
  PREFIXD_RETURN_IF_ERROR(AddEnds(spec, &made));
  PREFIXD_RETURN_IF_ERROR(Check(spec, &made));
  return made;
}

}  // namespace prefixd
