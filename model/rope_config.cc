#include "model/rope_config.h"

#include <algorithm>
#include <optional>
#include <span>

#include "base/json_fields.h"
#include "base/log.h"
#include "kernels/portable_math.h"
#include "model/canonical.h"
#include "model/config.h"

namespace prefixd {
namespace {

constexpr double kLargestTheta = 1e15;
constexpr double kLargestFactor = 1e6;
constexpr double kSmallestFactor = 1e-3;
constexpr std::string_view kOriginal = "original_max_position_embeddings";

constexpr std::string_view kCommonKeys[] = {"rope_type", "type",   "rope_theta", "partial_rotary_factor",
                                            "factor",    kOriginal};
constexpr std::string_view kLlama3Keys[] = {"low_freq_factor", "high_freq_factor"};
constexpr std::string_view kYarnKeys[] = {"attention_factor", "beta_fast",      "beta_slow",
                                          "mscale",           "mscale_all_dim", "truncate"};

// The rope types, each with the keys that only it reads.
struct RopeRow {
  RopeType type;
  std::string_view name;
  std::span<const std::string_view> keys;
};
constexpr RopeRow kRopes[] = {{RopeType::kDefault, "default", {}},
                              {RopeType::kLinear, "linear", {}},
                              {RopeType::kDynamic, "dynamic", {}},
                              {RopeType::kLlama3, "llama3", kLlama3Keys},
                              {RopeType::kYarn, "yarn", kYarnKeys}};

std::string RopeNames() {
  std::string names;
  for (const RopeRow& row : kRopes) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

bool Contains(std::span<const std::string_view> keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

Result<const RopeRow*> FindRow(const JsonFields& fields) {
  const std::string_view key = fields.Find("rope_type") != nullptr ? "rope_type" : "type";
  PREFIXD_ASSIGN_OR_RETURN(const std::string name, fields.String(key).Or("default"));
  for (const RopeRow& row : kRopes) {
    if (row.name == name) return &row;
  }
  return fields.Unsupported(key, RopeNames());
}

// The scaling object and the related values of config.json.
struct Source {
  const JsonFields& scaling;
  const JsonFields& config;
  double theta;
  int max_positions;
};

// Returns the original context: from the scaling object, from config.json beside it, or else
// max_position_embeddings. Sets *is_set to whether one of the first two has it.
Result<int> OriginalContext(const Source& source, bool* is_set) {
  constexpr int kMost = kConfigLimits.max_positions;
  PREFIXD_ASSIGN_OR_RETURN(const int beside, source.config.Integer(kOriginal, 1, kMost).Or(0));
  PREFIXD_ASSIGN_OR_RETURN(const int inside, source.scaling.Integer(kOriginal, 1, kMost).Or(beside));
  if (beside != 0 && inside != beside) {
    return source.config.Wrong(kOriginal, "the value of " + source.scaling.PathOf(kOriginal));
  }
  *is_set = inside != 0;
  return *is_set ? inside : source.max_positions;
}

Status ParseLlama3(const Source& source, RopeConfig* rope) {
  const JsonFields& fields = source.scaling;
  PREFIXD_ASSIGN_OR_RETURN(rope->low_freq_factor,
                           fields.Number("low_freq_factor", kSmallestFactor, kLargestFactor).Required());
  PREFIXD_ASSIGN_OR_RETURN(rope->high_freq_factor,
                           fields.Number("high_freq_factor", kSmallestFactor, kLargestFactor).Required());
  if (rope->high_freq_factor <= rope->low_freq_factor)
    return fields.Wrong("high_freq_factor", "more than low_freq_factor");
  bool is_set = false;
  PREFIXD_ASSIGN_OR_RETURN(rope->original_context, OriginalContext(source, &is_set));
  return Status::Ok();
}

// 0 means not set, as in transformers.
Result<double> Beta(const JsonFields& fields, std::string_view key, double fallback) {
  PREFIXD_ASSIGN_OR_RETURN(const double beta, fields.Number(key, 0, kLargestFactor).Or(fallback));
  if (beta == 0) return fallback;
  return fields.Number(key, kSmallestFactor, kLargestFactor).Or(fallback);
}

Result<double> AttentionFactor(const JsonFields& fields, double factor) {
  PREFIXD_ASSIGN_OR_RETURN(const double mscale, fields.Number("mscale", 0, kLargestFactor).Or(0));
  PREFIXD_ASSIGN_OR_RETURN(const double all_dim, fields.Number("mscale_all_dim", 0, kLargestFactor).Or(0));
  const double growth = 0.1 * portable::Log(factor);
  const double inferred =
      mscale != 0 && all_dim != 0 ? (1 + mscale * growth) / (1 + all_dim * growth) : 1 + growth;
  return fields.Number("attention_factor", kSmallestFactor, kLargestFactor).Or(inferred);
}

Status ParseYarn(const Source& source, ParsedRope* parsed) {
  const JsonFields& fields = source.scaling;
  RopeConfig& rope = parsed->rope;
  if (rope.theta <= 1) return fields.Wrong("rope_theta", "more than 1 for yarn");
  bool is_set = false;
  PREFIXD_ASSIGN_OR_RETURN(rope.original_context, OriginalContext(source, &is_set));
  PREFIXD_ASSIGN_OR_RETURN(rope.beta_fast, Beta(fields, "beta_fast", 32));
  PREFIXD_ASSIGN_OR_RETURN(rope.beta_slow, Beta(fields, "beta_slow", 1));
  PREFIXD_ASSIGN_OR_RETURN(rope.attention_factor, AttentionFactor(fields, rope.factor));
  // In transformers null means false here, not absent.
  PREFIXD_ASSIGN_OR_RETURN(rope.truncate, fields.Bool("truncate").Or(!fields.IsNull("truncate")));
  const double extended = rope.factor * rope.original_context;
  if (is_set && extended > parsed->context) {
    parsed->context = static_cast<int>(std::min<double>(extended, kConfigLimits.max_positions));
    parsed->context_reason = "yarn: factor times " + std::string(kOriginal);
  }
  return Status::Ok();
}

// Dynamic scaling rotates every position anew once a sequence is longer than the original context, so KV
// would depend on later tokens. Up to that length it equals the default type.
Status ParseDynamic(const Source& source, ParsedRope* parsed) {
  PREFIXD_ASSIGN_OR_RETURN(
      const int original,
      source.scaling.Integer(kOriginal, 2, kConfigLimits.max_positions).Or(parsed->context));
  parsed->context = std::min(parsed->context, original);
  parsed->context_reason =
      "beyond it rope type dynamic changes the keys of earlier tokens, which no cache can keep";
  return Status::Ok();
}

Result<ParsedRope> ParseScaling(const Source& source) {
  const JsonFields& fields = source.scaling;
  ParsedRope parsed{{}, source.max_positions, "max_position_embeddings"};
  PREFIXD_ASSIGN_OR_RETURN(const RopeRow* row, FindRow(fields));
  for (const auto& [key, value] : fields.object()) {
    const std::string_view name = key;
    if (!value.is_null() && !Contains(kCommonKeys, name) && !Contains(row->keys, name)) {
      if (value.is_object())  // parameters for each type of layer
        return fields.Unsupported(name, "the keys of a rope of type " + std::string(row->name));
      // transformers ignores it, too, so the model was made without it.
      Log(LogLevel::kWarning,
          "this rope type does not read a key of config.json; check its name, or remove it",
          {{"key", fields.PathOf(name)}, {"value", QuoteJson(value)}, {"rope_type", row->name}});
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(const double share, fields.Number("partial_rotary_factor", 0, 1).Or(1));
  if (share != 1) return fields.Unsupported("partial_rotary_factor", "1");
  RopeConfig& rope = parsed.rope;
  rope.type = row->type;
  PREFIXD_ASSIGN_OR_RETURN(rope.theta, fields.Number("rope_theta", 1, kLargestTheta).Or(source.theta));
  if (rope.type == RopeType::kDefault) return parsed;
  PREFIXD_ASSIGN_OR_RETURN(rope.factor, fields.Number("factor", 1, kLargestFactor).Required());
  if (rope.type == RopeType::kLlama3) PREFIXD_RETURN_IF_ERROR(ParseLlama3(source, &rope));
  if (rope.type == RopeType::kYarn) PREFIXD_RETURN_IF_ERROR(ParseYarn(source, &parsed));
  if (rope.type == RopeType::kDynamic) PREFIXD_RETURN_IF_ERROR(ParseDynamic(source, &parsed));
  return parsed;
}

}  // namespace

Result<ParsedRope> ParseRopeConfig(const JsonFields& config, int max_positions) {
  PREFIXD_ASSIGN_OR_RETURN(const double theta,
                           config.Number("rope_theta", 1, kLargestTheta).Or(RopeConfig().theta));
  std::optional<ParsedRope> found;
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    PREFIXD_ASSIGN_OR_RETURN(const std::optional<JsonFields> scaling, config.Object(key).Optional());
    if (!scaling.has_value()) continue;
    PREFIXD_ASSIGN_OR_RETURN(const ParsedRope parsed, ParseScaling({*scaling, config, theta, max_positions}));
    if (found.has_value() && (found->rope != parsed.rope || found->context != parsed.context))
      return config.Wrong(
          key, "the same as rope_parameters, " + QuoteJson(*config.Find("rope_parameters")) + ", or null");
    found = parsed;
  }
  if (found.has_value()) return *found;
  ParsedRope plain{{}, max_positions, "max_position_embeddings"};
  plain.rope.theta = theta;
  return plain;
}

std::string_view RopeTypeName(RopeType type) {
  return std::find_if(std::begin(kRopes), std::end(kRopes),
                      [&](const RopeRow& row) { return row.type == type; })
      ->name;
}

std::string CanonicalRope(const RopeConfig& rope) {
  std::string text = std::string(RopeTypeName(rope.type)) + " theta=" + Shortest(rope.theta);
  if (rope.type != RopeType::kDefault) text += " factor=" + Shortest(rope.factor);
  if (rope.type == RopeType::kLlama3) {
    text += " low=" + Shortest(rope.low_freq_factor) + " high=" + Shortest(rope.high_freq_factor) +
            " original=" + Shortest(rope.original_context);
  }
  if (rope.type == RopeType::kYarn) {
    text += " original=" + Shortest(rope.original_context) + " fast=" + Shortest(rope.beta_fast) +
            " slow=" + Shortest(rope.beta_slow) + " truncate=" + (rope.truncate ? "yes" : "no") +
            " attention=" + Shortest(rope.attention_factor);
  }
  if (!rope.divisors.empty()) text += " divisors=";
  for (size_t i = 0; i < rope.divisors.size(); ++i) text += (i == 0 ? "" : ",") + Shortest(rope.divisors[i]);
  return text;
}

}  // namespace prefixd
