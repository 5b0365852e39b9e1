// LoadAt and SummarizeAt: describe the model at a path, and then load or summarize it. Plain functions; any
// thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "engine/loaded_model.h"

namespace prefixd::testing_support {

inline constexpr StepLimits kSmallSteps{.context = 128, .max_rows = 8, .max_logit_rows = 8};

inline Result<std::unique_ptr<LoadedModel>> LoadAt(const std::filesystem::path& path, Backend& backend,
                                                   std::string_view chat_template = "",
                                                   WeightSource weights = WeightSource::kFiles,
                                                   const LoadOptions& options = {.limits = kSmallSteps,
                                                                                 .quantize = {}}) {
  PREFIXD_ASSIGN_OR_RETURN(DescribedModel described, DescribeModel(path, chat_template, weights));
  return LoadModel(std::move(described), backend, options, {});
}

inline Result<ModelSummary> SummarizeAt(const std::filesystem::path& path, const Backend& backend,
                                        std::string_view chat_template = "",
                                        WeightSource weights = WeightSource::kFiles,
                                        Quantization quantize = {}) {
  PREFIXD_ASSIGN_OR_RETURN(const DescribedModel described, DescribeModel(path, chat_template, weights));
  return SummarizeModel(described, backend, quantize);
}

}  // namespace prefixd::testing_support
