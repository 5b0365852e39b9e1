// The handlers of POST /tokenize, /detokenize and /apply-template. They accept the requests of vLLM and those
// of llama.cpp, which name their fields differently. Each handler either responds and returns nothing, or
// returns the error with which the caller responds. Any thread.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>

#include "daemon/api/context.h"
#include "daemon/api/field_table.h"
#include "daemon/api/work.h"
#include "daemon/http/error_response.h"
#include "daemon/http/exchange.h"

namespace prefixd {

// The fields of the three routes.
const FieldTable& TokenizeFields();
const FieldTable& DetokenizeFields();
const FieldTable& ApplyTemplateFields();

std::optional<ApiError> HandleTokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                       const boost::json::object& body, Work& work);
std::optional<ApiError> HandleDetokenize(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                         const boost::json::object& body, Work& work);
std::optional<ApiError> HandleApplyTemplate(const ApiContext* context, std::shared_ptr<Exchange> exchange,
                                            const boost::json::object& body, Work& work);

}  // namespace prefixd
