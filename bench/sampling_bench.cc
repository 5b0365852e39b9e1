// Times the draw of the tokens of one decode step: a row of logits for each of `--rows` sequences, with
// Operations::ReadRows. It compares the draw with the matrix products of the same step of a 135M Llama (30
// layers, hidden 576, FFN 1536) that has this vocabulary, without attention.
//
//   spread   logits of a normal distribution with a standard deviation of 3, as models have
//   flat     logits that are all within 0.01
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/prng.h"
#include "bench/harness.h"
#include "bench/step_products.h"
#include "kernels/registry.h"

namespace prefixd::bench {
namespace {

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(result.status().code() == Code::kNotFound ? 2 : 1);
}

// [rows][vocab]
std::vector<float> Logits(int rows, int vocab, bool flat) {
  Prng prng(2);
  std::vector<float> logits(static_cast<size_t>(rows) * vocab);
  for (float& logit : logits) {
    double sum = 0;  // of uniform numbers: nearly normal
    for (int i = 0; i < (flat ? 1 : 6); ++i) sum += prng.Unit() - 0.5;
    logit = static_cast<float>(sum * (flat ? 0.01 : 3 / 0.7071));
  }
  return logits;
}

struct Setting {
  const char* name;
  bool flat;
  DrawParams params;
  int logprobs = -1;
};

void TimeDraws(Report& report, Operations& operations, int rows, int vocab, int runs, double products) {
  const Setting settings[] = {
      {"greedy, spread", false, {.temperature = 0}},
      {"temperature 1, spread", false, {}},
      {"temperature 1, flat", true, {}},
      {"top_k 50, spread", false, {.top_k = 50}},
      {"top_k 50, flat", true, {.top_k = 50}},
      {"top_p 0.9, spread", false, {.top_p = 0.9f}},
      {"top_p 0.9, flat", true, {.top_p = 0.9f}},
      {"top_k 50, top_p 0.9, spread", false, {.top_p = 0.9f, .top_k = 50}},
      {"greedy, spread, 20 logprobs", false, {.temperature = 0}, 20},
  };
  const std::vector<float> spread = Logits(rows, vocab, false), flat = Logits(rows, vocab, true);
  for (const Setting& setting : settings) {
    const float* logits = (setting.flat ? flat : spread).data();
    std::vector<LogitRow> samples(static_cast<size_t>(rows));
    for (size_t i = 0; i < samples.size(); ++i) {
      samples[i].draw.params = setting.params;
      samples[i].draw.params.seed = i;
      samples[i].logprobs = setting.logprobs;
    }
    const Timing t = Measure(runs, [&] {
      for (LogitRow& sample : samples) ++sample.draw.params.position;
      if (!operations.ReadRows(samples, logits, vocab).ok()) std::exit(1);
    });
    report.Add(setting.name, t.median * 1e3, "ms",
               {{"best", t.best * 1e3},
                {"best_per_row", t.best * 1e3 / rows},
                {"share_of_step", t.best / (t.best + products)}});
  }
}

int Main(int argc, char** argv) {
  Arguments arguments("sampling_bench", "Times the draw of the tokens of a decode step.",
                      {{"--backend", "NAME", "auto", "as in `prefixd serve --backend`"},
                       {"--threads", "N", "0", "compute threads; 0: one per CPU"},
                       {"--rows", "N", "64", "sequences that draw a token"},
                       {"--vocab", "N", "152000", "size of the vocabulary"},
                       {"--runs", "N", "9", "timed runs of each"},
                       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const int threads = static_cast<int>(arguments.IntegerOrExit("--threads", 0, 1024));
  const int rows = static_cast<int>(arguments.IntegerOrExit("--rows", 1, 4096));
  const int vocab = static_cast<int>(arguments.IntegerOrExit("--vocab", 1, 1 << 20));
  const int runs = static_cast<int>(arguments.IntegerOrExit("--runs", 1, 1000000));
  Report report(arguments);
  report.ProbeMachine();
  const auto operations = OrDie(CreateOperations(arguments.Text("--backend"), threads));
  std::printf("backend %s, %d threads, %d rows, vocabulary %d\n", std::string(operations->name()).c_str(),
              operations->threads(), rows, vocab);
  const double products = TimeStepProducts(report, *operations, rows, vocab, runs);
  TimeDraws(report, *operations, rows, vocab, runs, products);
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
