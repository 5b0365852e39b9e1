// Times constraints on one core: compiling a format, and the mask of each token of answers that follow it,
// for vocabularies of 2,000, 32,000 and 152,000 tokens, as shares of a decode step of a 135M Llama. An answer
// is drawn at random from its masks. "first" are masks that no answer had before, "again" those that are
// kept.
// What takes more than TokenMasks::kMostWorkNow is given up then, and made by another thread: "late".
// With a tokenizer of words: "encodes back" is what it takes to judge a token that was drawn, and "append" to
// go on by it. Also compiles the JSON Schemas of a file that has one in each line, such as that of
// bench/wild_schemas.py.
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/prng.h"
#include "bench/harness.h"
#include "bench/step_products.h"
#include "bench/word_tokenizer.h"
#include "grammar/constraint_cache.h"

namespace prefixd::bench {
namespace {

using grammar::ConstraintSpec;

struct Format {
  const char* name;
  const char* schema;  // null: any JSON object
  const char* regex = nullptr;
};
constexpr Format kFormats[] = {
    {"any object", nullptr},
    {"person", R"({"type":"object","properties":{"name":{"type":"string","maxLength":40},
       "age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":"string","format":"email"},
       "tags":{"type":"array","items":{"type":"string"},"maxItems":5},
       "role":{"enum":["admin","user","guest"]}},"required":["name","age","email","tags","role"],
       "additionalProperties":false})"},
    {"tree", R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"value":{"type":"string"},
       "children":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["value","children"],
       "additionalProperties":false}}})"},
    {"open", R"({"type":"object","properties":{"title":{"type":"string"},"score":{"type":"number"}}})"},
    {"words", nullptr, R"((\w{1,10}\s?){1,50})"},
};

// All bytes, then words with and without a space, pieces of JSON, and some text of several bytes a character.
std::shared_ptr<const grammar::Vocabulary> MakeVocabulary(size_t size) {
  Prng prng(1);
  std::vector<std::string> texts(1);
  for (int byte = 0; byte < 256; ++byte) texts.emplace_back(1, static_cast<char>(byte));
  constexpr const char* kJson[] = {"\",", "\":",    "{\"",    "\"}", "\"]", "},",
                                   "],",  "\": \"", "\", \"", "[\"", "[[",  "]]"};
  for (const char* text : kJson) texts.emplace_back(text);
  while (texts.size() < size) {
    std::string text = prng.Chance(0.5) ? " " : "";
    const bool wide = prng.Chance(0.15);
    for (uint64_t n = prng.Between(1, wide ? 4 : 9); n > 0; --n) {
      if (wide) {
        text += {static_cast<char>(0xE4 + prng.Below(4)), static_cast<char>(0x80 + prng.Below(64)),
                 static_cast<char>(0x80 + prng.Below(64))};
      } else {
        text += static_cast<char>('a' + prng.Below(26));
      }
    }
    if (prng.Chance(0.02)) text += "\"";
    texts.push_back(std::move(text));
  }
  const auto count = static_cast<int>(texts.size());
  return std::make_shared<const grammar::Vocabulary>(std::move(texts), std::vector<TokenId>{0}, count);
}

double Microseconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - since).count();
}

// `step` is the time of a step.
void Add(Report& report, const std::string& name, std::vector<double> times, double step) {
  if (times.empty()) return;
  std::sort(times.begin(), times.end());
  double sum = 0;
  for (const double time : times) sum += time;
  const double mean = sum / static_cast<double>(times.size());
  report.Add(name, mean, "us",
             {{"of_step", mean / step},
              {"times", static_cast<double>(times.size())},
              {"99_percent", times[times.size() * 99 / 100]},
              {"longest", times.back()}});
}

TokenId AnyOf(Prng& prng, const grammar::TokenMask& mask) {
  std::vector<TokenId> allowed;
  for (size_t id = 0; id < mask.size() * 32; ++id)
    if ((mask[id / 32] >> (id % 32) & 1) != 0) allowed.push_back(static_cast<TokenId>(id));
  return allowed.empty() ? 0 : allowed[prng.Below(allowed.size())];
}

ConstraintSpec SpecOf(const Format& format) {
  ConstraintSpec spec;
  if (format.regex != nullptr) {
    spec.kind = ConstraintSpec::Kind::kRegex;
    spec.text = format.regex;
  } else if (format.schema != nullptr) {
    spec.kind = ConstraintSpec::Kind::kJsonSchema;
    spec.schema = boost::json::parse(format.schema);
  }
  return spec;
}

void MeasureFormat(Report& report, const Format& format,
                   const std::shared_ptr<const grammar::Vocabulary>& vocabulary, int64_t answers,
                   double step) {
  const ConstraintSpec spec = SpecOf(format);
  grammar::ConstraintCache cache(vocabulary, {});
  const auto begun = std::chrono::steady_clock::now();
  const auto made = cache.Get(spec);
  const double compile = Microseconds(begun);
  PREFIXD_CHECK(made.ok()) << made.status().ToString();
  const grammar::Constraint& constraint = *made->constraint;
  const std::string name = std::to_string(vocabulary->size()) + " tokens, " + format.name;
  report.Add(name + ", compile", compile, "us",
             {{"states", static_cast<double>(constraint.grammar().states())},
              {"nodes", static_cast<double>(constraint.counts().nodes)}});
  std::vector<double> first, again, late;
  Prng prng(2);
  for (int64_t answer = 0; answer < answers; ++answer) {
    grammar::ConstraintState state(made->constraint);
    for (int i = 0; i < 200 && !state.ended(); ++i) {
      const uint64_t computed = constraint.counts().computed;
      auto asked = std::chrono::steady_clock::now();
      const auto tried = state.MaskWithin(grammar::TokenMasks::kMostWorkNow);
      (constraint.counts().computed > computed ? first : again).push_back(Microseconds(asked));
      asked = std::chrono::steady_clock::now();
      const auto mask = state.Mask();
      if (!tried.mask) late.push_back(Microseconds(asked));
      PREFIXD_CHECK(mask != nullptr) << name;
      state.Append(AnyOf(prng, *mask));
    }
  }
  Add(report, name + ", first", std::move(first), step);
  Add(report, name + ", again", std::move(again), step);
  Add(report, name + ", late", std::move(late), step);
}

// What the engine does with a token that was drawn, where any token of a mask is as likely as any other.
void MeasureTokens(Report& report, const Format& format,
                   const std::shared_ptr<const grammar::Vocabulary>& vocabulary, int64_t answers,
                   double step) {
  grammar::ConstraintCache cache(vocabulary, {});
  const auto made = cache.Get(SpecOf(format));
  PREFIXD_CHECK(made.ok()) << made.status().ToString();
  std::vector<double> judged, appended, after_refusals;
  Prng prng(2);
  for (int64_t answer = 0; answer < answers; ++answer) {
    grammar::ConstraintState state(made->constraint);
    bool is_refused = false;
    for (int i = 0; i < 200 && !state.complete() && !state.ended(); ++i) {
      auto asked = std::chrono::steady_clock::now();
      const auto mask = state.Mask();
      if (is_refused) after_refusals.push_back(Microseconds(asked));
      const TokenId id = AnyOf(prng, *mask);
      asked = std::chrono::steady_clock::now();
      is_refused = state.Refuses(id);
      judged.push_back(Microseconds(asked));
      if (is_refused) continue;
      asked = std::chrono::steady_clock::now();
      state.Append(id);
      appended.push_back(Microseconds(asked));
    }
  }
  const std::string name = std::to_string(vocabulary->size()) + " tokens, " + format.name;
  Add(report, name + ", encodes back", std::move(judged), step);
  Add(report, name + ", append", std::move(appended), step);
  Add(report, name + ", mask after a refusal", std::move(after_refusals), step);
}

// The schemas of a file, compiled for the vocabulary, with the masks that are made ahead.
void MeasureSchemas(Report& report, const std::string& path,
                    const std::shared_ptr<const grammar::Vocabulary>& vocabulary) {
  std::ifstream file(path);
  boost::json::parse_options deep;
  deep.max_depth = 200;
  std::vector<double> times;
  size_t refused = 0, ignoring = 0;
  for (std::string line; std::getline(file, line);) {
    grammar::ConstraintCache cache(vocabulary, {});
    const ConstraintSpec spec = {.kind = ConstraintSpec::Kind::kJsonSchema,
                                 .schema = boost::json::parse(line, {}, deep)};
    const auto begun = std::chrono::steady_clock::now();
    const auto made = cache.Get(spec);
    times.push_back(Microseconds(begun));
    refused += made.ok() ? 0 : 1;
    ignoring += made.ok() && !made->ignored.empty() ? 1 : 0;
    if (!made.ok()) std::printf("refused: %.200s\n", made.status().ToString().c_str());
  }
  if (times.empty()) {
    std::fprintf(stderr, "grammar_bench: %s has no schemas\n", path.c_str());
    std::exit(2);
  }
  const double count = static_cast<double>(times.size());
  std::sort(times.begin(), times.end());
  report.Add(std::to_string(vocabulary->size()) + " tokens, schemas, compile", times[times.size() / 2], "us",
             {{"schemas", count},
              {"90_percent", times[times.size() * 9 / 10]},
              {"longest", times.back()},
              {"refused", static_cast<double>(refused)},
              {"ignoring", static_cast<double>(ignoring)}});
}

int Main(int argc, char** argv) {
  Arguments arguments("grammar_bench", "Times compiling formats, and the masks of answers.",
                      {{"--vocab", "N", "0", "tokens of the vocabulary; 0: 2000, 32000 and 152000"},
                       {"--answers", "N", "20", "answers for each format"},
                       {"--schemas", "FILE", "", "JSON Schemas to compile, one a line"},
                       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const int64_t vocab = arguments.IntegerOrExit("--vocab", 0, 1 << 20),
                answers = arguments.IntegerOrExit("--answers", 1, 10000);
  const std::string schemas = arguments.Given("--schemas") ? arguments.Text("--schemas") : "";
  Report report(arguments);
  report.ProbeMachine();
  const auto operations = CreateOperations("auto", 0);
  PREFIXD_CHECK(operations.ok()) << operations.status().ToString();
  for (const int64_t size :
       vocab > 0 ? std::vector<int64_t>{vocab} : std::vector<int64_t>{2'000, 32'000, 152'000}) {
    const auto begun = std::chrono::steady_clock::now();
    const auto vocabulary = MakeVocabulary(static_cast<size_t>(size));
    report.Add(std::to_string(size) + " tokens, tree", Microseconds(begun), "us",
               {{"nodes", static_cast<double>(vocabulary->nodes().size())},
                {"bytes", static_cast<double>(vocabulary->bytes())}});
    const double step = TimeStepProducts(report, **operations, 1, static_cast<int>(size), 5) * 1e6;
    for (const Format& format : kFormats) MeasureFormat(report, format, vocabulary, answers, step);
    const WordTokenizer words(static_cast<int>(size));
    const auto tokenizer = Tokenizer::FromJson(words.TokenizerJson());
    PREFIXD_CHECK(tokenizer.ok()) << tokenizer.status().ToString();
    const auto spoken = grammar::Vocabulary::Of(**tokenizer, {words.end_of_turn()}, static_cast<int>(size));
    for (const Format& format : kFormats) MeasureTokens(report, format, spoken, answers, step);
    if (!schemas.empty()) MeasureSchemas(report, schemas, vocabulary);
  }
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
