#include "daemon/api/tokenize_routes.h"

#include <boost/json.hpp>
#include <utility>

#include "base/utf8.h"
#include "daemon/api/chat_request.h"
#include "daemon/api/request_fields.h"
#include "daemon/api/response_json.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

namespace json = boost::json;

std::nullopt_t RespondJson(Exchange& exchange, const json::object& body) {
  exchange.Respond({.body = json::serialize(body)});
  return std::nullopt;
}

// Checks the optional model, then returns the first error of the fields read so far.
std::optional<ApiError> CheckFields(RequestFields& fields, const ApiContext& context) {
  if (const auto model = fields.String("model")) {
    if (auto error = CheckModel(*model, context)) return error;
  }
  return fields.error();
}

// The bytes of a token: a string, or a list of numbers when they are not valid UTF-8.
json::value TokenPiece(const std::string& bytes) {
  if (IsValidUtf8(bytes)) return json::value(bytes);
  json::array numbers;
  for (const char c : bytes) numbers.emplace_back(static_cast<unsigned char>(c));
  return numbers;
}

// llama.cpp's response: the ids alone, or with the text of each.
std::optional<ApiError> TokenizeContent(const ApiContext& context, Exchange& exchange, RequestFields& fields,
                                        const std::string& content) {
  const Tokenizer::EncodeOptions options{.add_special_tokens = fields.Bool("add_special", false),
                                         .parse_special = fields.Bool("parse_special", true)};
  const bool pieces = fields.Bool("with_pieces", false);
  if (fields.error()) return fields.error();
  const Result<std::vector<TokenId>> ids = context.tokenizer->Encode(content, options);
  if (!ids.ok()) return BadParameter("content", ids.status().message(), "invalid_value");
  if (!pieces) return RespondJson(exchange, {{"tokens", IdsJson(*ids)}});
  json::array tokens;
  for (const TokenId id : *ids)
    tokens.push_back({{"id", id}, {"piece", TokenPiece(context.tokenizer->TokenBytes(id))}});
  return RespondJson(exchange, {{"tokens", std::move(tokens)}});
}

// vLLM's response.
std::optional<ApiError> RespondTokenized(const ApiContext& context, Exchange& exchange,
                                         const std::vector<TokenId>& ids, bool with_texts) {
  json::value texts = nullptr;
  if (with_texts) {
    json::array list;
    for (const TokenId id : ids) list.emplace_back(RepairUtf8(context.tokenizer->TokenBytes(id)));
    texts = std::move(list);
  }
  return RespondJson(exchange, {{"count", ids.size()},
                                {"max_model_len", context.context_length},
                                {"tokens", IdsJson(ids)},
                                {"token_strs", std::move(texts)}});
}

}  // namespace

std::optional<ApiError> HandleTokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                       const json::object& body) {
  RequestFields fields(body);
  const bool with_texts = fields.Bool("return_token_strs", false);
  const auto content = fields.String("content");
  const auto prompt = fields.String("prompt");
  if (auto error = CheckFields(fields, *context)) return error;
  if (content) return TokenizeContent(*context, *exchange, fields, *content);
  if (prompt) {
    const bool add_special = fields.Bool("add_special_tokens", true);
    if (fields.error()) return fields.error();
    const Result<std::vector<TokenId>> ids =
        context->tokenizer->Encode(*prompt, {.add_special_tokens = add_special});
    if (!ids.ok()) return BadParameter("prompt", ids.status().message(), "invalid_value");
    return RespondTokenized(*context, *exchange, *ids, with_texts);
  }
  if (fields.Find("messages") == nullptr) {
    return BadParameter("prompt", "One of 'prompt', 'messages' and 'content' is required.",
                        "missing_required_parameter");
  }
  ChatPrompt chat = ReadChatPrompt(fields);
  if (fields.error()) return fields.error();
  const Parsed<std::vector<TokenId>> ids = EncodeChat(*context, std::move(chat), /*must_fit=*/false);
  if (!ids.ok()) return ids.error();
  return RespondTokenized(*context, *exchange, *ids, with_texts);
}

std::optional<ApiError> HandleDetokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                         const json::object& body) {
  RequestFields fields(body);
  const json::array* tokens = fields.Array("tokens");
  if (auto error = CheckFields(fields, *context)) return error;
  if (tokens == nullptr) return BadParameter("tokens", "'tokens' is required.", "missing_required_parameter");
  std::vector<TokenId> ids;
  ids.reserve(tokens->size());
  for (const json::value& token : *tokens) {
    const std::optional<int64_t> id = AsInteger(token);
    if (!id || *id < 0 || *id >= context->vocab_size) {
      return BadParameter("tokens",
                          "'tokens' must be ids of the vocabulary, from 0 to " +
                              std::to_string(context->vocab_size - 1) + ".",
                          "invalid_value");
    }
    ids.push_back(static_cast<TokenId>(*id));
  }
  // The names of vLLM and of llama.cpp. The text may be large: it is escaped once, and no JSON value has it.
  const std::string text =
      json::serialize(json::string_view(context->tokenizer->Decode(ids, /*skip_special_tokens=*/false)));
  std::string answer;
  answer.reserve(2 * text.size() + 64);
  answer.append("{\"prompt\":").append(text).append(",\"content\":").append(text).append("}");
  exchange->Respond({.body = std::move(answer)});
  return std::nullopt;
}

std::optional<ApiError> HandleApplyTemplate(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                            const json::object& body) {
  RequestFields fields(body);
  ChatPrompt prompt = ReadChatPrompt(fields);
  if (auto error = CheckFields(fields, *context)) return error;
  const Parsed<std::string> text = RenderChat(*context, std::move(prompt));
  if (!text.ok()) return text.error();
  return RespondJson(*exchange, {{"prompt", *text}});
}

}  // namespace prefixd
