// The fields of a request that constrain its answer: `response_format`, `structured_outputs` and the forms of
// vLLM and llama.cpp. Any thread.
#pragma once

#include <boost/json/object.hpp>
#include <memory>

#include "daemon/api/context.h"
#include "daemon/api/request_fields.h"
#include "grammar/constraint.h"

namespace prefixd {

// Whether a request has one of the fields, whatever is in it.
bool AsksForConstraint(const boost::json::object& body);

// Reads and compiles the constraint of a request; null if it has none. Records errors in `fields`. Call it
// when the other fields are right: compiling may take some milliseconds.
std::shared_ptr<const grammar::Constraint> ReadConstraint(RequestFields& fields, const ApiContext& context);

}  // namespace prefixd
