#include "bench/serve_workload.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>
#include <string_view>

#include "base/check.h"
#include "base/prng.h"
#include "bench/word_tokenizer.h"

namespace prefixd::bench {
namespace {

struct Shape {
  std::string_view name;
  uint64_t seed_offset;
  int requests, clients, prefix_words, question_words, turns;
  int openings;  // that all conversations share; 0: one for each conversation
};
constexpr Shape kShapes[] = {{"shared", 0, 24, 8, 1500, 100, 1, 1},
                             {"cold", 1010, 12, 4, 400, 40, 1, 0},
                             {"turns", 2010, 24, 4, 300, 80, 6, 0},
                             {"tenants", 3010, 48, 8, 400, 40, 1, 16}};

// Draws texts. Two texts that begin with Distinct() differ in their first word, up to 10,000 texts.
class Writer {
 public:
  explicit Writer(uint64_t seed) : random_(seed), words_(TwoSyllableWords()), firsts_(words_) {}

  std::string Text(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += (i == 0 ? "" : " ") + words_[random_.Below(words_.size())];
    return text;
  }
  std::string Distinct(int count) {
    if (firsts_.empty()) firsts_ = words_;
    const size_t at = random_.Below(firsts_.size());
    std::string text = firsts_[at];
    firsts_.erase(firsts_.begin() + static_cast<std::ptrdiff_t>(at));
    return count > 1 ? text + " " + Text(count - 1) : text;
  }
  Prng& random() { return random_; }

 private:
  Prng random_;
  std::vector<std::string> words_, firsts_;
};

// Index drawn by Zipf's law with exponent 1: i with a probability proportional to 1 / (i + 1).
size_t DrawZipf(size_t count, Prng& random) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += 1.0 / static_cast<double>(i + 1);
  double left = random.Unit() * sum;
  for (size_t i = 0; i < count; ++i) {
    left -= 1.0 / static_cast<double>(i + 1);
    if (left < 0) return i;
  }
  return count - 1;
}

std::vector<std::string> Split(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

}  // namespace

int Workload::requests() const {
  size_t count = 0;
  for (const Conversation& conversation : conversations) count += conversation.questions.size();
  return static_cast<int>(count);
}

std::vector<std::string> WorkloadNames() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Workload MakeWorkload(const std::string& name, const WorkloadOptions& options) {
  const Shape* shape =
      std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) { return s.name == name; });
  PREFIXD_CHECK(shape != std::end(kShapes)) << name;
  const auto either = [](int given, int standard) { return given > 0 ? given : standard; };
  const int requests = either(options.requests, shape->requests);
  const int prefix_words = either(options.prefix_words, shape->prefix_words);
  const int question_words = either(options.question_words, shape->question_words);

  Workload workload{.name = name, .clients = either(options.clients, shape->clients), .conversations = {}};
  Writer writer(options.seed + shape->seed_offset);
  std::vector<std::string> openings;
  const int shared = shape->openings == 0 ? 0 : either(options.tenants, shape->openings);
  for (int i = 0; i < shared; ++i) openings.push_back(writer.Distinct(prefix_words));
  for (int left = requests; left > 0;) {
    Conversation& conversation = workload.conversations.emplace_back();
    conversation.opening = openings.empty() ? writer.Distinct(prefix_words)
                                            : openings[DrawZipf(openings.size(), writer.random())];
    for (int turn = 0; turn < shape->turns && left > 0; ++turn, --left) {
      conversation.questions.push_back(writer.Distinct(question_words));
    }
  }
  return workload;
}

Workload MakeCacheWarmup(const Workload& workload, uint64_t seed) {
  constexpr int kMoreWords = 24, kQuestionWords = 8, kUnrelated = 8, kUnrelatedWords = 64;
  Workload used{.name = workload.name + " (used tree)", .clients = workload.clients, .conversations = {}};
  Writer writer(seed + 9010);
  std::set<std::string> openings;
  for (const Conversation& conversation : workload.conversations) openings.insert(conversation.opening);
  for (const std::string& opening : openings) {
    const std::vector<std::string> words = Split(opening);
    for (const size_t shared : {1, 7, 15, 16, 17, 40}) {
      if (shared >= words.size()) continue;
      std::string text, other = words[shared];
      for (size_t i = 0; i < shared; ++i) text += words[i] + " ";
      while (other.starts_with(words[shared])) other = writer.Text(kMoreWords);
      used.conversations.push_back({text + other, {writer.Text(kQuestionWords)}});
    }
  }
  for (int i = 0; i < kUnrelated; ++i) {
    used.conversations.push_back({writer.Text(kUnrelatedWords), {writer.Text(kQuestionWords)}});
  }
  return used;
}

std::vector<double> PoissonArrivals(int count, double rate, uint64_t seed) {
  Prng random(seed + 8010);
  std::vector<double> times;
  double now = 0;
  for (int i = 0; i < count; ++i) {
    times.push_back(now);
    now += -std::log1p(-random.Unit()) / rate;
  }
  return times;
}

}  // namespace prefixd::bench
