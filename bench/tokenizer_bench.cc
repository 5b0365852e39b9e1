// Times tokenizers on one core: English-like text with a cold and a warm cache of words, adversarial texts at
// two sizes (the ratio of their times shows whether the cost grows linearly), and the decoding of ids to
// text.
//
// It measures the tokenizer of --model and those in the reference data, if that is there (PREFIXD_SHARED, or
// the folder `shared` beside the repository).
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>

#include "base/check.h"
#include "base/prng.h"
#include "bench/harness.h"
#include "engine/gguf_description.h"
#include "model/gguf.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCommonWords =
    "the of and to in is that it was for on are as with his they at be this from have or by one had not "
    "but what all were when we there can an your which their said if do will each about how up out them "
    "then she many some so these would other into has more her two like him see time could no make than "
    "first been its who now people my made over did down only way find use may water long little very "
    "after words called just where most know get through back much before go good new write our used me "
    "man too any day same right look think also around another came come work three word must because "
    "does part even place well such here take why things help put years different away again off went "
    "old number great tell men say small every found still between name should home big give air line "
    "set own under read last never us left end along while might next sound below saw something thought "
    "both few those always looked show large often together asked house world going want school "
    "important until form food keep children";

// Words drawn by Zipf's law, most of them made up, in sentences with capitals, numbers and punctuation.
std::string EnglishLike(size_t bytes) {
  Prng random(1);
  std::vector<std::string> words;
  for (size_t at = 0; at < kCommonWords.size();) {
    const size_t end = std::min(kCommonWords.find(' ', at), kCommonWords.size());
    words.emplace_back(kCommonWords.substr(at, end - at));
    at = end + 1;
  }
  while (words.size() < 30000) {
    std::string word;
    for (uint64_t n = random.Between(2, 5); n > 0; --n) {
      word += "bcdfghklmnprstvw"[random.Below(16)];
      word += "aeiou"[random.Below(5)];
      if (random.Chance(0.4)) word += "nrstl"[random.Below(5)];
    }
    words.push_back(word);
  }
  std::string text;
  const double scale = std::log(static_cast<double>(words.size()));
  while (text.size() < bytes) {
    for (uint64_t n = random.Between(4, 20); n > 0; --n) {
      const double rank = std::exp(static_cast<double>(random.Below(1 << 20)) / (1 << 20) * scale);
      std::string word = words[static_cast<size_t>(rank) - 1];
      if (random.Chance(0.1)) word[0] = static_cast<char>(word[0] - 32);
      if (random.Chance(0.02)) word = std::to_string(random.Below(10000));
      text += (text.empty() || text.back() == '\n' ? "" : " ") + word;
      if (random.Chance(0.1)) text += random.Chance(0.2) ? "'s" : ",";
    }
    text += random.Chance(0.2) ? ".\n\n" : ".";
  }
  text.resize(bytes);
  return text;
}

std::string Repeated(std::string_view unit, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += unit;
  return text;
}

std::string Read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// The text of a tokenizer.json, or the bytes of a GGUF file.
struct Subject {
  std::string name, file;
};

std::vector<Subject> Subjects(const std::string& model) {
  std::vector<Subject> subjects = {{fs::path(model).filename(), Read(fs::path(model) / "tokenizer.json")}};
  const char* set = std::getenv("PREFIXD_SHARED");
  const fs::path shared = set != nullptr ? fs::path(set) : fs::path("..") / "shared";
  const auto add = [&](const char* name, const fs::path& file) {
    if (fs::exists(file)) subjects.push_back({name, Read(file)});
  };
  for (const char* name : {"llama3", "qwen2", "spm"})
    add(name, shared / "golden" / "tokenizers" / name / "tokenizer.json");
  for (const char* name : {"gpt-2", "deepseek-coder", "llama-spm"})
    add(name, shared / "tokenizers" / ("ggml-vocab-" + std::string(name) + ".gguf"));
  return subjects;
}

Result<std::unique_ptr<Tokenizer>> TryLoad(const std::string& file) {
  const auto bytes = std::as_bytes(std::span(file));
  if (!IsGguf(bytes)) return Tokenizer::FromJson(file);
  PREFIXD_ASSIGN_OR_RETURN(const GgufFile gguf, ParseGguf("the file", bytes));
  PREFIXD_ASSIGN_OR_RETURN(TokenizerFiles files, ReadGgufTokenizer(gguf.values, ""));
  return std::move(files.tokenizer);
}

std::unique_ptr<Tokenizer> Load(const Subject& subject) {
  auto tokenizer = TryLoad(subject.file);
  PREFIXD_CHECK(tokenizer.ok()) << subject.name << ": " << tokenizer.status().ToString();
  return *std::move(tokenizer);
}

// CPU time of this thread in seconds. The tokenizer works on the calling thread alone, so that other
// processes do not distort this time.
double ThreadSeconds() {
  timespec now;
  PREFIXD_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// The shortest of `runs` runs of `body`, each after an untimed `prepare`.
double BestSeconds(
    int runs, const std::function<void()>& body, const std::function<void()>& prepare = [] {}) {
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < runs; ++i) {
    prepare();
    const double begin = ThreadSeconds();
    body();
    best = std::min(best, ThreadSeconds() - begin);
  }
  return best;
}

void MeasureSubject(const Subject& subject, const std::string& english, int runs, Report* report) {
  auto tokenizer = Load(subject);
  const auto encode = [&](const std::string& text) { PREFIXD_CHECK(tokenizer->Encode(text, {}).ok()); };
  const auto add = [&](const char* what, size_t bytes, double seconds, const Report::Extras& extras = {}) {
    report->Add(subject.name + ": " + what, static_cast<double>(bytes) / 1e6 / seconds, "MB/s", extras);
  };
  const auto ids = *tokenizer->Encode(english, {});
  const auto bytes_per_token = static_cast<double>(english.size()) / static_cast<double>(ids.size());
  add("warm", english.size(), BestSeconds(runs, [&] { encode(english); }),
      {{"bytes_per_token", bytes_per_token}});
  add("decode", english.size(), BestSeconds(runs, [&] { (void)tokenizer->Decode(ids, true); }));
  // Cold: a new tokenizer, and a text short enough that most of its words are new.
  const std::string head = english.substr(0, english.size() / 40);
  add("cold", head.size(),
      BestSeconds(
          runs, [&] { encode(head); }, [&] { tokenizer = Load(subject); }));

  const std::pair<const char*, std::string_view> adversarial[] = {{"letters", "a"},
                                                                  {"spaces", " "},
                                                                  {"newlines", "\n"},
                                                                  {"a1", "a1"},
                                                                  {"emoji", "\U0001f600"},
                                                                  {"han", "\u6f22"},
                                                                  {"han pairs", "\u6f22\u5b57"},
                                                                  {"marks", "\u0301"}};
  for (const auto& [name, unit] : adversarial) {
    const size_t size = english.size() / 10;
    const std::string text = Repeated(unit, size), longer = Repeated(unit, 4 * size);
    const double once = BestSeconds(runs, [&] { encode(text); }),
                 four = BestSeconds(runs, [&] { encode(longer); });
    add(name, size, once, {{"seconds", once}, {"seconds_of_4", four}, {"time_ratio", four / once}});
  }
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) {
  using namespace prefixd::bench;
  Arguments arguments("tokenizer_bench", "Times tokenizers on one core.",
                      {{"--model", "DIR", "deploy/models/demo", "model folder"},
                       {"--megabytes", "N", "10", "size of the English-like text, at most 1000"},
                       {"--runs", "N", "3", "timed runs"},
                       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const double megabytes = std::min(arguments.PositiveOrExit("--megabytes"), 1000.0);
  const int runs = static_cast<int>(arguments.IntegerOrExit("--runs", 1, 1000));
  Report report(arguments);
  report.ProbeMachine();
  const std::string english = EnglishLike(static_cast<size_t>(megabytes * 1e6));
  for (const Subject& subject : Subjects(arguments.Text("--model")))
    MeasureSubject(subject, english, runs, &report);
  return report.Finish();
}
