#include "engine/special_token_report.h"

#include <algorithm>
#include <boost/json/value.hpp>
#include <unordered_map>
#include <utility>

namespace prefixd {
namespace {

std::string Quoted(std::string_view text) { return QuoteJson(boost::json::value(text)); }

const NamedToken* Find(const std::vector<NamedToken>& named, std::string_view name) {
  const auto found = std::find_if(named.begin(), named.end(), [&](const auto& n) { return n.name == name; });
  return found == named.end() ? nullptr : &*found;
}

// "lstrip true, special false": the flags of `a` that differ from those of `b`.
std::string Differing(const AddedTokenSpec& a, const AddedTokenSpec& b) {
  std::string text;
  const auto compare = [&](const char* name, bool in_a, bool in_b) {
    if (in_a != in_b) text += (text.empty() ? "" : ", ") + std::string(name) + (in_a ? " true" : " false");
  };
  compare("single_word", a.single_word, b.single_word);
  compare("lstrip", a.lstrip, b.lstrip);
  compare("rstrip", a.rstrip, b.rstrip);
  compare("normalized", a.normalized, b.normalized);
  compare("special", a.special, b.special);
  return text;
}

}  // namespace

void SpecialTokenReport::Name(std::string_view name, std::string_view text, std::string_view from) {
  names_.push_back({std::string(name), std::string(text), std::string(from)});
}

void SpecialTokenReport::Id(std::string_view content, int64_t id, std::string_view from) {
  ids_.push_back({std::string(content), id, std::string(from)});
}

void SpecialTokenReport::UnreadMap(const boost::json::object& map) {
  const JsonFields fields(map, "");
  for (const std::string_view name : kTokenNames) {
    const auto token =
        fields.Find(name) == nullptr ? Result<WrittenToken>(NotFound("")) : ReadToken(fields, name, kMapFile);
    if (token.ok()) Name(name, token->content(), kMapFile);
  }
}

void SpecialTokenReport::UnreadAdded(const boost::json::object& added) {
  for (const auto& [content, value] : added) {
    if (const auto id = JsonInteger(value)) Id(content, *id, kAddedFile);
  }
}

std::vector<std::string> SpecialTokenReport::Sentences(const std::vector<NamedToken>& named,
                                                       const std::vector<AddedTokenSpec>& before,
                                                       const std::vector<WrittenToken>& tokens,
                                                       const TokenizerSpec& spec) const {
  std::vector<std::string> sentences = sentences_;
  for (const SaidName& said : names_) {
    const NamedToken* counts = Find(named, said.name);
    if (said.text == (counts == nullptr ? "" : counts->text)) continue;
    sentences.push_back(said.name + " is " + (said.text.empty() ? "null" : Quoted(said.text)) + " in " +
                        said.from + ", but " +
                        (counts == nullptr ? std::string("another file takes it away")
                                           : Quoted(counts->text) + " of " + counts->from + " counts"));
  }
  std::unordered_map<std::string_view, const AddedTokenSpec*> old, now;
  std::unordered_map<std::string_view, std::string_view> from;  // the last file that has the token
  for (const AddedTokenSpec& token : before) old.emplace(token.content, &token);
  for (const AddedTokenSpec& token : spec.added) now.emplace(token.content, &token);
  for (const WrittenToken& token : tokens) from.insert_or_assign(token.content(), token.from);
  for (const SaidId& said : ids_) {
    if (said.content.empty()) continue;
    const auto token = now.find(said.content);
    if (token == now.end()) {
      sentences.push_back(Quoted(said.content) + " is an added token in " + said.from +
                          ", which is not read");
    } else if (token->second->id != said.id) {
      sentences.push_back(Quoted(said.content) + " has the id " + std::to_string(said.id) + " in " +
                          said.from + ", but " + std::to_string(token->second->id) + " counts");
    }
  }
  for (const AddedTokenSpec& token : spec.added) {
    const auto known = old.find(token.content);
    const std::string source(from.contains(token.content) ? from.at(token.content) : kTokenizerFile);
    if (known == old.end()) {
      sentences.push_back(Quoted(token.content) + " is not an added token of tokenizer.json; " + source +
                          " adds it with the id " + std::to_string(token.id));
    } else if (const std::string flags = Differing(token, *known->second); !flags.empty()) {
      sentences.push_back(Quoted(token.content) + " has other flags in tokenizer.json, but " + flags +
                          " of " + source + " counts");
    }
  }
  if (sentences.size() > kMostSentences) {
    const size_t left_out = sentences.size() - kMostSentences;
    sentences.resize(kMostSentences);
    sentences.push_back("and " + std::to_string(left_out) + " more");
  }
  return sentences;
}

}  // namespace prefixd
