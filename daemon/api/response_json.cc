#include "daemon/api/response_json.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <utility>

#include "base/utf8.h"
#include "daemon/api/long_bodies.h"
#include "daemon/api/sse.h"

namespace prefixd {

namespace json = boost::json;

namespace {

constexpr float kLowestLogprob = -9999.0f;

}  // namespace

json::object CacheDetailsJson(const TokenUsage& usage) {
  json::object details = {{"cached_tokens", usage.cached_tokens},
                          {"cache_write_tokens", usage.cache_write_tokens}};
  if (usage.asked_kept_tokens == 0) return details;
  const int half_day = usage.written_for[1];
  details["cache_write_tokens_details"] = {{"ttl_30m_tokens", usage.cache_write_tokens - half_day},
                                           {"ttl_12h_tokens", half_day}};
  details["retained_tokens"] = usage.kept_tokens;
  return details;
}

json::object UsageJson(const TokenUsage& usage) {
  json::object details = CacheDetailsJson(usage);
  details["audio_tokens"] = 0;
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_cache_hit_tokens", usage.cached_tokens},  // as DeepSeek spells it
          {"prompt_cache_miss_tokens", usage.computed_tokens()},
          {"prompt_tokens_details", std::move(details)},
          {"completion_tokens_details",
           {{"reasoning_tokens", usage.reasoning_tokens},
            {"audio_tokens", 0},
            {"accepted_prediction_tokens", 0},
            {"rejected_prediction_tokens", 0}}}};
}

json::array IdsJson(const std::vector<TokenId>& ids) {
  json::array array;
  array.reserve(ids.size());
  for (const TokenId id : ids) array.emplace_back(id);
  return array;
}

json::array TokenIdsJson(const std::vector<TextToken>& tokens) {
  json::array array;
  array.reserve(tokens.size());
  for (const TextToken& entry : tokens) array.emplace_back(entry.token.token);
  return array;
}

json::value StopReasonJson(const ChoiceFinish& end) {
  if (end.stop_string != nullptr) return json::value(*end.stop_string);
  if (end.stop_token) return json::value(*end.stop_token);
  return nullptr;
}

json::value LogprobJson(float logprob) {
  return static_cast<double>(std::isfinite(logprob) ? std::max(logprob, kLowestLogprob) : kLowestLogprob);
}

namespace {

// Without the brace at the end: a token at the top level has more members.
void AppendEntry(TokenId id, float logprob, const TokenNames& names, std::string* out) {
  ObjectText entry(out);
  entry.Text("token", names.Text(id));
  entry.Member("logprob", LogprobJson(logprob));
  entry.Key("bytes");
  names.AppendBytes(id, out);
}

}  // namespace

void AppendLogprobEntries(const std::vector<TextToken>& tokens, const TokenNames& names, std::string* out) {
  for (const TextToken& entry : tokens) {
    if (&entry != &tokens.front()) out->push_back(',');
    AppendEntry(entry.token.token, entry.token.logprob, names, out);
    out->append(",\"top_logprobs\":[");
    for (const TokenLogprob& other : entry.token.top) {
      if (&other != &entry.token.top.front()) out->push_back(',');
      AppendEntry(other.token, other.logprob, names, out);
      out->push_back('}');
    }
    out->append("]}");
  }
}

json::array PromptLogprobsJson(const std::vector<GeneratedToken>& logprobs, int top,
                               const Tokenizer& tokenizer) {
  json::array list;
  list.emplace_back(nullptr);
  for (const GeneratedToken& token : logprobs) {
    json::object entry;
    const auto add = [&](TokenId id, float logprob, int rank) {
      entry.emplace(std::to_string(id),
                    json::object{{"logprob", LogprobJson(logprob)},
                                 {"rank", rank},
                                 {"decoded_token", RepairUtf8(tokenizer.TokenBytes(id))}});
    };
    add(token.token, token.logprob, token.rank);
    const size_t shown = std::min(token.top.size(), static_cast<size_t>(top));
    for (size_t i = 0; i < shown; ++i) add(token.top[i].token, token.top[i].logprob, static_cast<int>(i) + 1);
    list.push_back(std::move(entry));
  }
  return list;
}

std::string TokenNames::Text(TokenId id) const {
  return as_ids_ ? ById(id) : RepairUtf8(tokenizer_->TokenBytes(id));
}

void TokenNames::AppendBytes(TokenId id, std::string* out) const {
  const bool hidden = skip_special_ && tokenizer_->IsSpecial(id);
  const std::string bytes = hidden ? std::string() : tokenizer_->TokenBytes(id);
  out->push_back('[');
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out->push_back(',');
    out->append(std::to_string(static_cast<unsigned char>(bytes[i])));
  }
  out->push_back(']');
}

void ObjectText::Key(std::string_view name) {
  if (!std::exchange(first_, false)) out_->push_back(',');
  out_->push_back('"');
  AppendEscaped(name, out_);
  out_->append("\":");
}

void ObjectText::Text(std::string_view name, std::string_view text) {
  Key(name);
  out_->push_back('"');
  AppendEscaped(text, out_);
  out_->push_back('"');
}

void ObjectText::Member(std::string_view name, const json::value& value) {
  Key(name);
  out_->append(json::serialize(value));
}

void ObjectText::Members(const json::object& members) {
  for (const auto& [name, value] : members) Member(name, value);
}

std::string ChunkHead(const json::object& members) {
  std::string head(kSseData);
  ObjectText chunk(&head);
  chunk.Members(members);
  chunk.Key("choices");
  head.push_back('[');
  return head;
}

void AppendFinish(const ChoiceFinish* end, ObjectText* choice, std::string* out) {
  if (end == nullptr) {
    choice->Key("finish_reason");
    out->append("null");
    return;
  }
  choice->Text("finish_reason", end->finish_reason);
  choice->Member("stop_reason", StopReasonJson(*end));
}

size_t LogprobTextBytes(const Tokenizer& tokenizer, TokenId id) {
  // The longest forms of a byte: an escape of 6, and 4 in a list of numbers.
  constexpr size_t kByte = 10;
  const auto text = tokenizer.TokenText(id);
  return kLogprobTextBytes + kByte * (text ? text->size() : 0);
}

size_t LogprobTextBytes(const Tokenizer& tokenizer, const GeneratedToken& token) {
  size_t bytes = LogprobTextBytes(tokenizer, token.token);
  for (const TokenLogprob& other : token.top) bytes += LogprobTextBytes(tokenizer, other.token);
  return bytes;
}

}  // namespace prefixd
