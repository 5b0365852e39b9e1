// The fields of a request that constrain its answer: `response_format`, `structured_outputs` and the forms of
// vLLM and llama.cpp. Any thread.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <string>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "grammar/call_grammar.h"
#include "grammar/constraint.h"

namespace prefixd {

// Whether a request has one of the fields, or functions that its answer may have to call.
bool AsksForConstraint(const boost::json::object& body);

// Reads and compiles the constraint of a request; null if it has none. Records errors in `fields`. Call it
// when the other fields are right: compiling may take some milliseconds.
std::shared_ptr<const grammar::Constraint> ReadConstraint(RequestFields& fields, const ApiContext& context);

// Compiles the grammar of calls. `param` names the field with the functions in errors.
Parsed<std::shared_ptr<const grammar::Constraint>> CompileCalls(grammar::CallSpec calls,
                                                                const std::string& param,
                                                                const ApiContext& context);

}  // namespace prefixd
