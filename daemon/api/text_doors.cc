#include "daemon/api/text_doors.h"

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

void Answer(Exchange& exchange, const json::object& body) {
  exchange.Respond({.body = json::serialize(body)});
}
void Refuse(Exchange& exchange, const ApiError& error) { exchange.Respond(ErrorResponse(error)); }

std::optional<ApiError> CheckOptionalModel(Fields& fields, const ApiContext& context) {
  const auto model = fields.String("model");
  return model ? CheckModel(*model, context) : std::nullopt;
}

// llama.cpp's form: ids alone, or with the text of each.
void TokenizeContent(const ApiContext& context, Exchange& exchange, Fields& fields,
                     const std::string& content) {
  const Tokenizer::EncodeOptions options{.add_special_tokens = fields.Bool("add_special", false),
                                         .parse_special = fields.Bool("parse_special", true)};
  const bool pieces = fields.Bool("with_pieces", false);
  if (fields.error()) return Refuse(exchange, *fields.error());
  const Result<std::vector<TokenId>> ids = context.tokenizer->Encode(content, options);
  if (!ids.ok()) return Refuse(exchange, BadParameter("content", ids.status().message(), "invalid_value"));
  if (!pieces) return Answer(exchange, {{"tokens", IdsJson(*ids)}});
  json::array tokens;
  for (const TokenId id : *ids) {
    const std::string bytes = context.tokenizer->TokenBytes(id);
    json::value piece = json::value(bytes);
    if (!IsValidUtf8(bytes)) {
      json::array numbers;
      for (const char c : bytes) numbers.emplace_back(static_cast<unsigned char>(c));
      piece = std::move(numbers);
    }
    tokens.push_back({{"id", id}, {"piece", std::move(piece)}});
  }
  Answer(exchange, {{"tokens", std::move(tokens)}});
}

// vLLM's forms.
void AnswerCount(const ApiContext& context, Exchange& exchange, const std::vector<TokenId>& ids,
                 bool with_texts) {
  json::value texts = nullptr;
  if (with_texts) {
    json::array list;
    for (const TokenId id : ids) list.emplace_back(RepairUtf8(context.tokenizer->TokenBytes(id)));
    texts = std::move(list);
  }
  Answer(exchange, {{"count", ids.size()},
                    {"max_model_len", context.context_length},
                    {"tokens", IdsJson(ids)},
                    {"token_strs", std::move(texts)}});
}

}  // namespace

void HandleTokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange, const json::object& body) {
  Fields fields(body);
  if (auto error = CheckOptionalModel(fields, *context)) return Refuse(*exchange, *error);
  const bool with_texts = fields.Bool("return_token_strs", false);
  if (const auto content = fields.String("content"))
    return TokenizeContent(*context, *exchange, fields, *content);
  if (const auto prompt = fields.String("prompt")) {
    const bool add_special = fields.Bool("add_special_tokens", true);
    if (fields.error()) return Refuse(*exchange, *fields.error());
    const Result<std::vector<TokenId>> ids =
        context->tokenizer->Encode(*prompt, {.add_special_tokens = add_special});
    if (!ids.ok()) return Refuse(*exchange, BadParameter("prompt", ids.status().message(), "invalid_value"));
    return AnswerCount(*context, *exchange, *ids, with_texts);
  }
  if (fields.error()) return Refuse(*exchange, *fields.error());
  if (fields.Find("messages") == nullptr) {
    return Refuse(*exchange, BadParameter("prompt", "One of 'prompt', 'messages' and 'content' is required.",
                                          "missing_required_parameter"));
  }
  ChatPrompt prompt = ReadChatPrompt(fields);
  if (fields.error()) return Refuse(*exchange, *fields.error());
  const Parsed<std::vector<TokenId>> ids = EncodeChat(*context, std::move(prompt));
  if (!ids.ok()) return Refuse(*exchange, ids.error());
  AnswerCount(*context, *exchange, *ids, with_texts);
}

void HandleDetokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                      const json::object& body) {
  Fields fields(body);
  if (auto error = CheckOptionalModel(fields, *context)) return Refuse(*exchange, *error);
  const json::array* tokens = fields.Array("tokens");
  if (fields.error()) return Refuse(*exchange, *fields.error());
  if (tokens == nullptr)
    return Refuse(*exchange, BadParameter("tokens", "'tokens' is required.", "missing_required_parameter"));
  std::vector<TokenId> ids;
  for (const json::value& token : *tokens) {
    const std::optional<int64_t> id = AsInteger(token);
    if (!id || *id < 0 || *id >= context->vocab_size) {
      return Refuse(*exchange, BadParameter("tokens",
                                            "'tokens' must be ids of the vocabulary, from 0 to " +
                                                std::to_string(context->vocab_size - 1) + ".",
                                            "invalid_value"));
    }
    ids.push_back(static_cast<TokenId>(*id));
  }
  const std::string text = context->tokenizer->Decode(ids, /*skip_special_tokens=*/false);
  Answer(*exchange, {{"prompt", text}, {"content", text}});
}

void HandleApplyTemplate(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                         const json::object& body) {
  Fields fields(body);
  if (auto error = CheckOptionalModel(fields, *context)) return Refuse(*exchange, *error);
  ChatPrompt prompt = ReadChatPrompt(fields);
  // Rendering shows tools as the template would, although the model cannot be made to call them yet.
  if (const json::array* tools = fields.Array("tools"); tools != nullptr && !tools->empty())
    prompt.input.tools = *tools;
  if (fields.error()) return Refuse(*exchange, *fields.error());
  const Parsed<std::string> text = RenderChat(*context, std::move(prompt));
  if (!text.ok()) return Refuse(*exchange, text.error());
  Answer(*exchange, {{"prompt", *text}});
}

}  // namespace prefixd
