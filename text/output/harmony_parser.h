// The parser of harmony, the format of gpt-oss. Its answer is a list of messages, each with a header:
//
//   <|channel|>analysis<|message|>reasoning<|end|>
//   <|start|>assistant<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{...}<|call|>
//   <|start|>assistant<|channel|>final<|message|>text
//
// The recipient may stand before the channel. The prompt ends with "<|start|>assistant". The contract is that
// of output_parser.h.
#pragma once

#include <memory>

#include "text/output/output_parser.h"

namespace prefixd {

std::unique_ptr<OutputParser> MakeHarmonyParser(OutputOptions options);

}  // namespace prefixd
