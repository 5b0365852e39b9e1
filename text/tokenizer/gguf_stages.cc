#include "text/tokenizer/gguf_stages.h"

#include <algorithm>

namespace prefixd {
namespace {

constexpr std::string_view kMark = "\u2581";  // stands for a space in tokens of SentencePiece

PreTokenizerSpec Split(std::string_view regex) {
  return {.kind = PreTokenizerSpec::kSplit,
          .pattern = {.is_regex = true, .text = std::string(regex)},
          .behavior = SplitBehavior::kIsolated};
}
PreTokenizerSpec ByteLevel(bool use_regex) {
  return {.kind = PreTokenizerSpec::kByteLevel, .use_regex = use_regex};
}

// Words, runs of at most `digits` digits, signs and spaces.
std::string WordsAndDigits(std::string_view digits) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + std::string(digits) +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

GgufStages ByteLevelStages(std::vector<PreTokenizerSpec> pre_tokenizers) {
  return {.pre_tokenizers = std::move(pre_tokenizers), .decoders = {{.kind = DecoderSpec::kByteLevel}}};
}
GgufStages OfGpt2() { return ByteLevelStages({ByteLevel(true)}); }
GgufStages OfSmolLm() {
  return ByteLevelStages({{.kind = PreTokenizerSpec::kDigits, .individual_digits = true}, ByteLevel(true)});
}
GgufStages OfDeepSeekCoder() {
  return ByteLevelStages({Split(R"([\r\n])"), Split(R"(\s?\p{L}+)"), Split(R"(\s?\p{P}+)"),
                          Split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), Split(R"(\p{N})"),
                          ByteLevel(false)});
}
GgufStages OfLlamaBpe() {
  GgufStages stages = ByteLevelStages({Split(WordsAndDigits("{1,3}")), ByteLevel(false)});
  stages.ignore_merges = true;
  return stages;
}
GgufStages OfQwen2() {
  GgufStages stages = ByteLevelStages({Split(WordsAndDigits("")), ByteLevel(false)});
  stages.normalizers = {{.kind = NormalizerSpec::kNfc}};
  return stages;
}

struct PreRow {
  std::string_view name;
  GgufStages (*stages)();
};
constexpr PreRow kPres[] = {
    {"gpt-2", OfGpt2},         {"smollm", OfSmolLm}, {"deepseek-coder", OfDeepSeekCoder},
    {"llama-bpe", OfLlamaBpe}, {"qwen2", OfQwen2},
};

}  // namespace

GgufStages StagesOf(const TokenizerSpec& spec) {
  return {spec.normalizers, spec.pre_tokenizers, spec.decoders.value_or(std::vector<DecoderSpec>()),
          spec.model.ignore_merges};
}

// A mark in front of the text and for each space.
GgufStages StagesOfLlama() {
  GgufStages stages;
  stages.normalizers = {{.kind = NormalizerSpec::kPrepend, .content = std::string(kMark)},
                        {.kind = NormalizerSpec::kReplace,
                         .pattern = {.is_regex = false, .text = " "},
                         .content = std::string(kMark)}};
  stages.decoders = {{.kind = DecoderSpec::kReplace, .pattern = std::string(kMark), .content = " "},
                     {.kind = DecoderSpec::kByteFallback},
                     {.kind = DecoderSpec::kFuse},
                     {.kind = DecoderSpec::kStrip, .content = " ", .start = 1}};
  return stages;
}

std::optional<GgufStages> StagesOfPre(std::string_view pre) {
  const auto* row = std::ranges::find(kPres, pre, &PreRow::name);
  return row == std::end(kPres) ? std::nullopt : std::optional(row->stages());
}

std::vector<std::string_view> PresWithStages(const GgufStages& stages) {
  std::vector<std::string_view> names;
  for (const PreRow& row : kPres) {
    GgufStages other = row.stages();
    other.ignore_merges = stages.ignore_merges;
    if (other == stages) names.push_back(row.name);
  }
  return names;
}

std::string NamesOfPres() {
  std::string names;
  for (const PreRow& row : kPres) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

}  // namespace prefixd
