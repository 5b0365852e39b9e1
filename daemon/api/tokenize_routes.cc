#include "daemon/api/tokenize_routes.h"

#include <boost/json.hpp>
#include <utility>

#include "base/utf8.h"
#include "daemon/api/chat_request.h"
#include "daemon/api/long_bodies.h"
#include "daemon/api/request_fields.h"
#include "daemon/http/error_response.h"

namespace prefixd {

namespace {

namespace json = boost::json;

// Checks the optional model, then returns the first error of the fields read so far.
std::optional<ApiError> CheckFields(RequestFields& fields, const ApiContext& context) {
  if (const auto model = fields.String("model")) {
    if (auto error = CheckModel(*model, context)) return error;
  }
  return fields.error();
}

void AppendId(TokenId id, std::string* out) { out->append(std::to_string(id)); }

void AppendString(std::string_view text, std::string* out) {
  out->push_back('"');
  AppendEscaped(text, out);
  out->push_back('"');
}

// The bytes of a token: a string, or a list of numbers when they are not valid UTF-8.
void AppendPiece(const std::string& bytes, std::string* out) {
  if (IsValidUtf8(bytes)) return AppendString(bytes, out);
  char separator = '[';
  for (const char c : bytes) {
    out->push_back(std::exchange(separator, ','));
    out->append(std::to_string(static_cast<unsigned char>(c)));
  }
  out->push_back(']');
}

// llama.cpp's response: the ids alone, or with the text of each.
std::optional<ApiError> TokenizeContent(const ApiContext& context, Exchange& exchange, RequestFields& fields,
                                        const std::string& content, Work& work) {
  const Tokenizer::EncodeOptions options{.add_special_tokens = fields.Bool("add_special", false),
                                         .parse_special = fields.Bool("parse_special", true)};
  const bool pieces = fields.Bool("with_pieces", false);
  if (fields.error()) return fields.error();
  Parsed<std::vector<TokenId>> ids = EncodeText(context, content, options, "content", work);
  if (!ids.ok()) return ids.error();
  TokenSection section{.head = "{\"tokens\":[", .item = AppendId};
  if (pieces) {
    section.item = [tokenizer = context.tokenizer](TokenId id, std::string* out) {
      out->append("{\"id\":").append(std::to_string(id)).append(",\"piece\":");
      AppendPiece(tokenizer->TokenBytes(id), out);
      out->push_back('}');
    };
  }
  return RespondTokens(exchange, *std::move(ids), {std::move(section)}, "]}");
}

// vLLM's response.
std::optional<ApiError> RespondTokenized(const ApiContext& context, Exchange& exchange,
                                         std::vector<TokenId> ids, bool with_texts) {
  std::vector<TokenSection> sections = {
      {.head = "{\"count\":" + std::to_string(ids.size()) +
               ",\"max_model_len\":" + std::to_string(context.context_length) + ",\"tokens\":[",
       .item = AppendId}};
  if (!with_texts)
    return RespondTokens(exchange, std::move(ids), std::move(sections), "],\"token_strs\":null}");
  sections.push_back(
      {.head = "],\"token_strs\":[", .item = [tokenizer = context.tokenizer](TokenId id, std::string* out) {
         AppendString(RepairUtf8(tokenizer->TokenBytes(id)), out);
       }});
  return RespondTokens(exchange, std::move(ids), std::move(sections), "]}");
}

// A tool is only shown, so nothing but its place is checked.
void AddPromptFields(FieldTable* table) {
  AddChatPromptFields(table);
  table->String("model").String("request_id").Array("tools", R"({"type":"object"})");
}

}  // namespace

const FieldTable& TokenizeFields() {
  static const FieldTable table = [] {
    FieldTable made;
    AddPromptFields(&made);
    made.String("content").String("prompt").Bool("return_token_strs");
    return made.Bool("add_special").Bool("parse_special").Bool("with_pieces");
  }();
  return table;
}

const FieldTable& DetokenizeFields() {
  static const FieldTable table = [] {
    FieldTable made;
    made.String("model").String("request_id").Array("tokens", R"({"type":"integer","minimum":0})");
    return made.Required("tokens");
  }();
  return table;
}

const FieldTable& ApplyTemplateFields() {
  static const FieldTable table = [] {
    FieldTable made;
    AddPromptFields(&made);
    return made.Required("messages");
  }();
  return table;
}

std::optional<ApiError> HandleTokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                       const json::object& body, Work& work) {
  RequestFields fields(body, TokenizeFields());
  const bool with_texts = fields.Bool("return_token_strs", false);
  const auto content = fields.String("content");
  const auto prompt = fields.String("prompt");
  if (auto error = CheckFields(fields, *context)) return error;
  if (content) return TokenizeContent(*context, *exchange, fields, *content, work);
  if (prompt) {
    const bool add_special = fields.Bool("add_special_tokens", true);
    if (fields.error()) return fields.error();
    Parsed<std::vector<TokenId>> ids =
        EncodeText(*context, *prompt, {.add_special_tokens = add_special}, "prompt", work);
    if (!ids.ok()) return ids.error();
    return RespondTokenized(*context, *exchange, *std::move(ids), with_texts);
  }
  if (fields.Find("messages") == nullptr) {
    return BadParameter("prompt", "One of 'prompt', 'messages' and 'content' is required.",
                        "missing_required_parameter");
  }
  ChatPrompt chat = ReadChatPrompt(fields);
  if (fields.error()) return fields.error();
  if (auto error = TakeMarks(&chat)) return error;
  Parsed<std::vector<TokenId>> ids = EncodeChat(*context, std::move(chat), /*must_fit=*/false, work);
  if (!ids.ok()) return ids.error();
  return RespondTokenized(*context, *exchange, *std::move(ids), with_texts);
}

std::optional<ApiError> HandleDetokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                         const json::object& body, Work&) {
  RequestFields fields(body, DetokenizeFields());
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
                              std::to_string(context->vocab_size - 1) + ", not " + QuoteJson(token) + ".",
                          "invalid_value");
    }
    ids.push_back(static_cast<TokenId>(*id));
  }
  // The names of vLLM and of llama.cpp.
  return RespondDecoded(*exchange, *context->tokenizer, std::move(ids), {"prompt", "content"});
}

std::optional<ApiError> HandleApplyTemplate(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                            const json::object& body, Work& work) {
  RequestFields fields(body, ApplyTemplateFields());
  ChatPrompt prompt = ReadChatPrompt(fields);
  if (auto error = CheckFields(fields, *context)) return error;
  if (auto error = TakeMarks(&prompt)) return error;
  Parsed<MarkedText> text = RenderChat(*context, std::move(prompt), work);
  if (!text.ok()) return text.error();
  MarkedText prompt_text = *std::move(text);
  return RespondText(*exchange, "prompt", std::move(prompt_text).TakeBytes());
}

}  // namespace prefixd
