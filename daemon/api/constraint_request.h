// The fields of a request that constrain its answer: `response_format`, `structured_outputs` and the forms of
// vLLM and llama.cpp. Any thread.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>

#include "daemon/api/context.h"
#include "daemon/api/generation_request.h"
#include "daemon/api/request_fields.h"
#include "grammar/call_grammar.h"

namespace prefixd {

// Whether a request has one of the fields, or functions that its answer may have to call.
bool AsksForConstraint(const boost::json::object& body);

// The rows of the fields that ReadConstraint reads.
void AddConstraintFields(FieldTable* table);

// Reads and compiles the constraint of a request, if it has one, and sets it in *request. Records errors in
// `fields`. Call it when the other fields are right: compiling may take some milliseconds.
void ReadConstraint(RequestFields& fields, const ApiContext& context, GenerationRequest* request);

// Compiles the grammar of calls and sets it in *request. `field` names the functions in errors.
std::optional<ApiError> SetCalls(grammar::CallSpec calls, const std::string& field, const ApiContext& context,
                                 GenerationRequest* request);

}  // namespace prefixd
