#include "text/tokenizer/added_vocabulary.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace prefixd {
namespace {

// Ids and texts of the vocabulary.
struct Vocabulary {
  explicit Vocabulary(const BpeSpec& model) {
    ids.reserve(model.vocab.size());
    taken.reserve(model.vocab.size());
    for (const auto& [text, id] : model.vocab) {
      ids.emplace(text, id);
      taken.insert(id);
    }
  }

  std::unordered_map<std::string_view, TokenId> ids;
  std::unordered_set<TokenId> taken;
};

// Gives `old` the flags of `token`, which has the same text.
void Update(const AddedTokenSpec& token, AddedTokenSpec* old) {
  old->single_word = token.single_word;
  old->lstrip = token.lstrip;
  old->rstrip = token.rstrip;
  old->normalized = token.normalized;
  old->special = old->special || token.special;
  old->decoded_normalized = old->decoded_normalized || token.normalized;
}

Status TooMany(const AddedTokenSpec& token, const std::string& limit) {
  return Unsupported("added token \"" + token.content.substr(0, 80) +
                     "\" is not supported by prefixd: " + limit);
}

}  // namespace

Status AddTokens(std::span<const AddedTokenSpec> tokens, TokenizerSpec* spec) {
  if (tokens.empty()) return Status::Ok();
  const Vocabulary vocabulary(spec->model);
  std::unordered_map<std::string, size_t> places;  // in spec->added
  auto next = static_cast<TokenId>(spec->model.vocab.size());
  for (size_t i = 0; i < spec->added.size(); ++i) {
    places.emplace(spec->added[i].content, i);
    next = std::max(next, spec->added[i].id + 1);
  }
  for (const AddedTokenSpec& token : tokens) {
    if (token.content.empty()) continue;
    if (token.content.size() > kMaxAddedTokenBytes)
      return TooMany(token, "a token has at most " + std::to_string(kMaxAddedTokenBytes) + " bytes");
    if (const auto [place, is_new] = places.emplace(token.content, spec->added.size()); !is_new) {
      Update(token, &spec->added[place->second]);
      continue;
    }
    if (spec->added.size() == kMaxAddedTokens)
      return TooMany(token, "there are at most " + std::to_string(kMaxAddedTokens) + " added tokens");
    AddedTokenSpec added = token;
    added.decoded_normalized = token.normalized;
    if (const auto known = vocabulary.ids.find(token.content); known != vocabulary.ids.end()) {
      added.id = known->second;
    } else if (next > kMaxTokenId || vocabulary.taken.contains(next)) {
      return TooMany(token, "its id would be " + std::to_string(next) + ", which " +
                                (next > kMaxTokenId ? "is too large" : "a token of the vocabulary has"));
    } else {
      added.id = next++;
    }
    spec->added.push_back(std::move(added));
  }
  return Status::Ok();
}

}  // namespace prefixd
