#include <boost/json.hpp>
#include <string_view>

#include "daemon/api/openapi.h"

namespace prefixd {

namespace {

// Members that are not listed may be there, too.
constexpr std::string_view kSchemas = R"({
"Any": {"type": "object"},
"Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "object",
  "required": ["message", "type", "param", "code"], "properties": {
    "message": {"type": "string"}, "type": {"type": "string"},
    "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}}}}},
"AnthropicError": {"type": "object", "required": ["type", "error", "request_id"], "properties": {
  "type": {"const": "error"}, "request_id": {"type": "string"}, "error": {"type": "object",
    "required": ["type", "message"], "properties": {
      "type": {"enum": ["invalid_request_error", "authentication_error", "permission_error",
        "not_found_error", "timeout_error", "request_too_large", "rate_limit_error", "api_error",
        "overloaded_error"]},
      "message": {"type": "string"}}}}},
"Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
"Ready": {"type": "object", "required": ["ready", "state", "checks"], "properties": {
  "ready": {"type": "boolean"}, "state": {"enum": ["loading", "serving", "draining", "degraded"]},
  "checks": {"type": "object", "additionalProperties": {"type": "string"}}}},
"Version": {"type": "object", "required": ["version"], "properties": {"version": {"type": "string"}}},
"KvEventSources": {"type": "object", "additionalProperties": {"type": "object",
  "required": ["endpoint", "replay_endpoint", "topic"], "properties": {
    "enable_kv_cache_events": {"const": true}, "publisher": {"const": "zmq"}, "endpoint": {"type": "string"},
    "replay_endpoint": {"type": ["string", "null"]}, "buffer_steps": {"type": "integer"},
    "hwm": {"type": "integer"}, "max_queue_size": {"type": "integer"}, "topic": {"type": "string"}}}},
"Rendered": {"type": "object", "required": ["request_id", "model", "token_ids"], "properties": {
  "request_id": {"type": "string"}, "model": {"type": "string"},
  "token_ids": {"type": "array", "items": {"type": "integer", "minimum": 0}}}},
"RenderedList": {"type": "array", "items": {"$ref": "#/components/schemas/Rendered"}},
"Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"},
  "owned_by": {"type": "string"}, "max_model_len": {"type": "integer"}}},
"ModelList": {"type": "object", "required": ["object", "data"], "properties": {
  "object": {"const": "list"}, "data": {"type": "array", "minItems": 1,
    "items": {"$ref": "#/components/schemas/Model"}}}},
"Usage": {"type": "object", "required": ["prompt_tokens", "completion_tokens", "total_tokens",
  "prompt_tokens_details", "completion_tokens_details"], "properties": {
    "prompt_tokens": {"type": "integer", "minimum": 0},
    "completion_tokens": {"type": "integer", "minimum": 0},
    "total_tokens": {"type": "integer", "minimum": 0},
    "prompt_tokens_details": {"type": "object", "required": ["cached_tokens", "cache_write_tokens"]},
    "completion_tokens_details": {"type": "object", "required": ["reasoning_tokens"]}}},
"ChatCompletion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
  "properties": {"id": {"type": "string"}, "object": {"const": "chat.completion"},
    "created": {"type": "integer"}, "model": {"type": "string"},
    "usage": {"$ref": "#/components/schemas/Usage"},
    "choices": {"type": "array", "items": {"type": "object",
      "required": ["index", "message", "logprobs", "finish_reason"], "properties": {
        "index": {"type": "integer", "minimum": 0},
        "finish_reason": {"enum": ["stop", "length", "tool_calls", "function_call"]},
        "message": {"type": "object", "required": ["role", "content", "refusal"], "properties": {
          "role": {"const": "assistant"}, "content": {"type": ["string", "null"]},
          "tool_calls": {"type": "array"}}}}}}}},
"Completion": {"type": "object", "required": ["id", "object", "created", "model", "choices", "usage"],
  "properties": {"id": {"type": "string"}, "object": {"const": "text_completion"},
    "created": {"type": "integer"}, "model": {"type": "string"},
    "usage": {"$ref": "#/components/schemas/Usage"},
    "choices": {"type": "array", "items": {"type": "object",
      "required": ["index", "text", "logprobs", "finish_reason"], "properties": {
        "index": {"type": "integer", "minimum": 0}, "text": {"type": "string"},
        "finish_reason": {"enum": ["stop", "length"]}}}}}},
"Response": {"type": "object", "required": ["id", "object", "created_at", "status", "model", "output",
  "usage", "error", "incomplete_details", "instructions", "metadata", "parallel_tool_calls", "temperature",
  "tool_choice", "tools", "top_p"], "properties": {
    "id": {"type": "string"}, "object": {"const": "response"}, "created_at": {"type": "number"},
    "status": {"enum": ["completed", "incomplete"]}, "model": {"type": "string"},
    "output": {"type": "array", "items": {"type": "object", "required": ["id", "type", "status"],
      "properties": {"type": {"enum": ["message", "function_call", "reasoning"]}}}},
    "usage": {"type": "object", "required": ["input_tokens", "input_tokens_details", "output_tokens",
      "output_tokens_details", "total_tokens"], "properties": {
        "input_tokens_details": {"type": "object", "required": ["cached_tokens", "cache_write_tokens"]},
        "output_tokens_details": {"type": "object", "required": ["reasoning_tokens"]}}}}},
"Deleted": {"type": "object", "required": ["id", "object", "deleted"], "properties": {
  "id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"const": true}}},
"ItemList": {"type": "object", "required": ["object", "data", "has_more", "first_id", "last_id"],
  "properties": {"object": {"const": "list"}, "has_more": {"type": "boolean"},
    "data": {"type": "array", "maxItems": 100, "items": {"type": "object", "required": ["id", "type"]}},
    "first_id": {"type": ["string", "null"]}, "last_id": {"type": ["string", "null"]}}},
"InputTokens": {"type": "object", "required": ["object", "input_tokens"], "properties": {
  "object": {"const": "response.input_tokens"}, "input_tokens": {"type": "integer", "minimum": 0}}},
"TokenCount": {"type": "object", "required": ["input_tokens"], "properties": {
  "input_tokens": {"type": "integer", "minimum": 0}}},
"Message": {"type": "object", "required": ["id", "type", "role", "model", "content", "stop_reason",
  "stop_sequence", "usage"], "properties": {
    "id": {"type": "string"}, "type": {"const": "message"}, "role": {"const": "assistant"},
    "model": {"type": "string"}, "stop_sequence": {"type": ["string", "null"]},
    "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use",
      "model_context_window_exceeded"]},
    "content": {"type": "array", "items": {"type": "object", "required": ["type"],
      "properties": {"type": {"enum": ["text", "thinking", "tool_use"]}}}},
    "usage": {"type": "object", "required": ["input_tokens", "cache_creation_input_tokens",
      "cache_read_input_tokens", "output_tokens"]}}},
"Tokens": {"type": "object", "required": ["tokens"], "properties": {
  "count": {"type": "integer", "minimum": 0}, "max_model_len": {"type": "integer"},
  "tokens": {"type": "array", "items": {"anyOf": [{"type": "integer"},
    {"type": "object", "required": ["id", "piece"]}]}},
  "token_strs": {"type": ["array", "null"], "items": {"type": "string"}}}},
"Detokenized": {"type": "object", "required": ["prompt", "content"], "properties": {
  "prompt": {"type": "string"}, "content": {"type": "string"}}},
"Prompt": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
})";

}  // namespace

boost::json::object AnswerSchemas() { return boost::json::parse(kSchemas).as_object(); }

}  // namespace prefixd
