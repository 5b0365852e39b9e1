#include "daemon/api/explain/explanation.h"

#include <boost/json.hpp>
#include <utility>

#include "daemon/api/explain/miss_sentence.h"
#include "daemon/api/explain/request_memory.h"
#include "daemon/api/middleware.h"
#include "daemon/api/tier_names.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

namespace json = boost::json;

// The template or the tokenization of the conversation differs from what the earlier request left.
bool Diverged(const PromptRecord& record) {
  if (!record.comparison) return false;
  const PromptChange change = record.comparison->change;
  return change == PromptChange::kTemplate || change == PromptChange::kTokenization;
}

// What callers may know. A token that was never seen, where the template wrote another one than before, is
// explained by that.
MissReason ReasonFor(const PromptRecord& record, MissReason reason) {
  if (reason == MissReason::kOtherTenant) reason = MissReason::kNeverSeen;
  return reason == MissReason::kNeverSeen && Diverged(record) ? MissReason::kTemplateDiverged : reason;
}

// Nothing changed that has KV.
bool Kept(const PromptComparison& comparison) {
  return comparison.change == PromptChange::kNone || comparison.whole;
}

// The prompt found all that the earlier request has left: what was computed is new.
bool FoundAll(const PromptRecord& record) {
  if (!record.misses.first) return true;
  const MissReason reason = record.misses.first->reason;
  return reason == MissReason::kNeverSeen || reason == MissReason::kBlockTail ||
         reason == MissReason::kOtherTenant;
}

json::value OrNull(const std::optional<double>& seconds, const PromptRecord& record) {
  return seconds ? json::value(record.misses_unix - (record.misses_at - *seconds)) : json::value(nullptr);
}

void AddPlace(const std::optional<MessagePlace>& place, json::object* object) {
  object->emplace("message", place ? json::value(place->message) : json::value(nullptr));
  object->emplace("character",
                  place && place->character ? json::value(*place->character) : json::value(nullptr));
}

json::value FirstMissJson(const PromptRecord& record) {
  if (!record.misses.first) return nullptr;
  const auto& [place, reason] = *record.misses.first;
  json::array tiers;
  for (size_t i = 0; i < kTiers; ++i)
    if (place.resides[i]) tiers.emplace_back(kTierNames[i]);
  json::object miss = {{"token", place.token}};
  AddPlace(record.first_miss, &miss);
  miss.emplace("reason", MissReasonName(ReasonFor(record, reason)));
  miss.emplace("tiers", std::move(tiers));
  miss.emplace("lost", OrNull(place.lost, record));
  miss.emplace("last_use", OrNull(place.last_use, record));
  return miss;
}

json::value ComparisonJson(const PromptRecord& record) {
  if (!record.comparison) return nullptr;
  const PromptComparison& comparison = *record.comparison;
  json::object object = {{"response_id", comparison.id},
                         {"change", PromptChangeName(comparison.change)},
                         {"common_tokens", comparison.common_tokens}};
  AddPlace(comparison.place, &object);
  object.emplace("in_answer", comparison.in_answer);
  return object;
}

std::string Where(const PromptComparison& comparison) {
  std::string text = "message " + std::to_string(comparison.place->message);
  if (comparison.place->character) text += ", character " + std::to_string(*comparison.place->character);
  return comparison.in_answer ? text + ", the answer of that request" : text;
}

std::string ChangeSentence(const PromptComparison& comparison) {
  const std::string with = "Compared with " + comparison.id + ", ";
  switch (comparison.change) {
    case PromptChange::kNone:
      return with + "nothing changed: one prompt begins with the other.";
    case PromptChange::kSalt:
      return with + "the request has another cache_salt, and so no cached prefix in common.";
    case PromptChange::kTools:
      return with + "the tools changed.";
    case PromptChange::kEffort:
      return with + "the effort of reasoning changed, which the chat template shows.";
    case PromptChange::kVariables:
      return with + "an input of the chat template changed that is no message.";
    case PromptChange::kMessage:
      return with + "the conversation differs from " + Where(comparison) + " on.";
    case PromptChange::kTemplate:
      return with + "the messages are the same, but the chat template writes them otherwise from " +
             Where(comparison) + " on.";
    case PromptChange::kTokenization:
      return with + "the text is the same, but it has other tokens than those that were generated, from " +
             Where(comparison) + " on.";
  }
  return "";
}

std::string Explanation(const PromptRecord& record) {
  std::string text = std::to_string(record.usage.computed()) + " of " + std::to_string(record.usage.total()) +
                     " prompt tokens were computed";
  if (const auto& first = record.misses.first) {
    FirstMiss told = *first;
    told.reason = ReasonFor(record, told.reason);
    text +=
        ", from token " + std::to_string(told.place.token) + " on. " + MissSentence(told, record.misses_at);
  } else {
    text += ".";
  }
  if (record.template_changed)
    text +=
        " Since prefixd started it has another chat template than before: if the conversation is older, "
        "it is written otherwise from there on.";
  return record.comparison ? text + " " + ChangeSentence(*record.comparison) : text;
}

std::string_view OpenAiReason(PromptChange change) {
  switch (change) {
    case PromptChange::kSalt:
      return "prompt_cache_key_changed";
    case PromptChange::kTools:
      return "tools_changed";
    case PromptChange::kEffort:
      return "reasoning_effort_changed";
    default:
      return "input_changed";
  }
}

// Null where Anthropic has no word for it.
const char* AnthropicReason(const PromptComparison& comparison) {
  if (Kept(comparison)) return nullptr;
  switch (comparison.change) {
    case PromptChange::kNone:
    case PromptChange::kSalt:
      return nullptr;
    case PromptChange::kTools:
      return "tools_changed";
    default:
      return comparison.in_system ? "system_changed" : "messages_changed";
  }
}

ApiError UnknownRequest(std::string_view id) {
  if (id.empty()) {
    return BadParameter("response_id", "'response_id' is required: /v1/cache/explain?response_id=ID.",
                        "missing_required_parameter");
  }
  return {.status = 404,
          .code = "response_not_found",
          .param = "response_id",
          .message = "This key has no recent request with the response id '" + std::string(id) +
                     "'. Requests are remembered for a while and until a restart."};
}

}  // namespace

void CompareWithEarlier(const ApiContext& context, std::string_view owner, std::string_view compare_with,
                        std::span<const TokenId> ids, PromptRecord* record) {
  const RequestMemory::Record before = compare_with.empty() ? context.remembered->Nearest(owner, *record)
                                                            : context.remembered->Find(owner, compare_with);
  if (before) record->comparison = ComparePrompts(*record, ids, *before, *context.tokenizer);
}

void RecordMisses(const ApiContext& context, const RequestEvent& event, std::span<const TokenId> ids,
                  PromptRecord* record) {
  if (event.misses == nullptr || event.prompt.total() == 0) return;
  const bool known = record->usage.total() > 0;
  record->usage = event.prompt;
  record->misses = *event.misses;
  if (known) return;
  record->misses_at = context.clock->NowSeconds();
  record->misses_unix = static_cast<double>(context.clock->UnixSeconds());
  const auto& first = record->misses.first;
  if (!first) return;
  record->first_miss = record->PlaceOfToken(ids, static_cast<size_t>(first->place.token), *context.tokenizer);
  const bool goes_on = record->comparison && Kept(*record->comparison);
  const MissReason told = first->reason == MissReason::kOtherTenant ? MissReason::kNeverSeen : first->reason;
  if (context.has_other_template && record->is_chat() && told == MissReason::kNeverSeen && !goes_on)
    record->template_changed = context.started;
}

json::object ExplanationJson(const PromptRecord& record) {
  json::object sources, reasons;
  for (size_t i = 0; i < kTokenSources; ++i)
    if (record.usage.tokens[i] > 0) sources.emplace(kSourceNames[i], record.usage.tokens[i]);
  for (size_t i = 0; i < kMissReasons; ++i) {
    if (record.misses.tokens[i] == 0) continue;
    json::value& tokens = reasons[MissReasonName(ReasonFor(record, static_cast<MissReason>(i)))];
    tokens = (tokens.is_null() ? 0 : tokens.to_number<uint64_t>()) + record.misses.tokens[i];
  }
  return {{"object", "cache.explanation"},
          {"response_id", record.id},
          {"created", record.created},
          {"prompt_tokens", record.usage.total()},
          {"cached_tokens", record.usage.cached()},
          {"computed_tokens", record.usage.computed()},
          {"sources", std::move(sources)},
          {"miss_tokens", std::move(reasons)},
          {"first_miss", FirstMissJson(record)},
          {"template_changed", record.template_changed ? json::value(*record.template_changed) : nullptr},
          {"comparison", ComparisonJson(record)},
          {"explanation", Explanation(record)}};
}

json::object OpenAiDiagnostics(const PromptRecord& record) {
  if (!record.comparison) return {{"type", "comparison_response_not_found"}};
  const PromptComparison& comparison = *record.comparison;
  json::object diagnostics;
  if (record.usage.total() == 0 || (Kept(comparison) && !FoundAll(record))) {
    diagnostics.emplace("type", "unavailable");
  } else if (Kept(comparison)) {
    diagnostics.emplace("type", "cache_hit");
  } else {
    diagnostics = {{"type", "cache_miss"},
                   {"reason", OpenAiReason(comparison.change)},
                   {"cache_missed_tokens", record.usage.computed()},
                   {"comparison_reusable_tokens", comparison.common_tokens}};
  }
  diagnostics.emplace("prefixd", ExplanationJson(record));
  return diagnostics;
}

json::value AnthropicMissReason(const PromptRecord& record) {
  if (!record.comparison) return json::object{{"type", "previous_message_not_found"}};
  const PromptComparison& comparison = *record.comparison;
  json::object reason;
  if (const char* type = AnthropicReason(comparison)) {
    reason = {{"type", type}, {"cache_missed_input_tokens", record.usage.computed()}};
  } else if (Kept(comparison) && FoundAll(record)) {
    return nullptr;
  } else {
    reason = {{"type", "unavailable"}};
  }
  reason.emplace("prefixd", ExplanationJson(record));
  return reason;
}

void HandleExplain(const ApiContext& context, Exchange& exchange) {
  const std::string id(QueryValue(exchange.request().query, "response_id"));
  const RequestMemory::Record record = context.remembered->Find(OwnerOf(exchange.request()), id);
  if (record == nullptr) return RespondError(exchange, UnknownRequest(id));
  json::object told = ExplanationJson(*record);
  if (record->key) {
    const RequestMemory::OfKey sum = context.remembered->Sum(OwnerOf(exchange.request()), *record->key);
    told.emplace("prompt_cache_key", json::object{{"requests", sum.requests},
                                                  {"prompt_tokens", sum.prompt_tokens},
                                                  {"cached_tokens", sum.cached_tokens}});
  }
  exchange.Respond({.body = json::serialize(told)});
}

}  // namespace prefixd
