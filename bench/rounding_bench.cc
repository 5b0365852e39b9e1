// What does it cost to round the activations that bf16 weights multiply? The program runs the beginning of a
// text through a model twice, with the numerics cpu-1 (activations in f32) and cpu-2 (rounded to bf16), and
// compares the two distributions of the token after each of its tokens:
//   KL          the Kullback-Leibler divergence of the second from the first, in nats
//   perplexity  of the text, exp of minus the mean log probability of its tokens, by each
// It exits with 1 when the mean KL, or the share by which perplexity changes, exceeds its bound.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness.h"
#include "kernels/registry.h"
#include "model/mapped_file.h"
#include "model/model_loader.h"
#include "model/weights.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;
constexpr int kChunk = 64;  // tokens of a step
constexpr size_t kLargestFile = 64 << 20;

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  std::exit(1);
}

// Turns logits into natural logarithms of probabilities.
void LogSoftmax(std::span<float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double log_sum = largest + std::log(sum);
  for (float& logit : logits) logit = static_cast<float>(logit - log_sum);
}

struct Model {
  std::string folder;
  std::string backend;
  int threads;
  DType kv_dtype;
};

// Calls row(i, logs) for every token i with the log probabilities of the token after it.
template <typename Row>
void ForEachDistribution(const Model& options, std::span<const TokenId> ids, numerics::Version version,
                         const Row& row) {
  const ModelConfig config =
      OrDie(ParseModelConfig(OrDie(ReadSmallFile(options.folder + "/config.json", kLargestFile))));
  const WeightFiles files = OrDie(WeightFiles::Open(options.folder));
  const auto backend = OrDie(CreateBackend(options.backend, options.threads, 0, false, version));
  const int tokens = static_cast<int>(ids.size());
  LoadedPlan plan = OrDie(LoadPlan(config, files, *backend, tokens, {}));
  const auto model = OrDie(backend->CreateRunner(std::move(plan.plan), {tokens, kChunk, kChunk}));
  const auto pool = OrDie(backend->AllocateKv(model->shape().Kv(kBlockTokens, options.kv_dtype),
                                              static_cast<uint32_t>(tokens / kBlockTokens + 1)));
  std::vector<BlockId> table(pool->blocks());
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<BlockId>(i);
  const auto vocab = static_cast<size_t>(model->shape().vocab);
  std::vector<float> logits(kChunk * vocab);
  for (int done = 0; done < tokens; done += kChunk) {
    const int rows = std::min(kChunk, tokens - done);
    std::vector<LogitRow> wanted(static_cast<size_t>(rows));
    for (int i = 0; i < rows; ++i) {
      wanted[static_cast<size_t>(i)].row = i;
      wanted[static_cast<size_t>(i)].given = 0;  // nothing is drawn
    }
    const SequenceSpan span = {0, rows, done, table};
    const auto chunk = ids.subspan(static_cast<size_t>(done), static_cast<size_t>(rows));
    model->Launch({{chunk, {&span, 1}}, wanted, pool.get(), logits.data()}, {});
    if (const Status status = model->Collect(); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
    for (int i = 0; i < rows; ++i) {
      const std::span<float> logs(logits.data() + static_cast<size_t>(i) * vocab, vocab);
      LogSoftmax(logs);
      row(static_cast<size_t>(done + i), logs);
    }
  }
}

struct Cost {
  double mean_kl = 0, largest_kl = 0;
  double perplexity_f32 = 0, perplexity_bf16 = 0;
  double same_choice = 0;  // share of the tokens after which both have the same likeliest token
  double Change() const { return std::abs(perplexity_bf16 / perplexity_f32 - 1); }
};

Cost Compare(const Model& model, std::span<const TokenId> ids) {
  std::vector<float> exact;  // [tokens][vocab]
  Cost cost;
  double loss_f32 = 0, loss_bf16 = 0;
  const auto after = static_cast<double>(ids.size() - 1);  // tokens that have one before them
  ForEachDistribution(model, ids, numerics::Version::kCpu1, [&](size_t i, std::span<const float> logs) {
    exact.insert(exact.end(), logs.begin(), logs.end());
    if (i + 1 < ids.size()) loss_f32 -= logs[static_cast<size_t>(ids[i + 1])];
  });
  ForEachDistribution(model, ids, numerics::Version::kCpu2, [&](size_t i, std::span<const float> logs) {
    const std::span<const float> p(exact.data() + i * logs.size(), logs.size());
    double kl = 0;
    for (size_t t = 0; t < p.size(); ++t) kl += std::exp(p[t]) * (static_cast<double>(p[t]) - logs[t]);
    cost.mean_kl += kl / static_cast<double>(ids.size());
    cost.largest_kl = std::max(cost.largest_kl, kl);
    const bool same = std::max_element(p.begin(), p.end()) - p.begin() ==
                      std::max_element(logs.begin(), logs.end()) - logs.begin();
    cost.same_choice += same / static_cast<double>(ids.size());
    if (i + 1 < ids.size()) loss_bf16 -= logs[static_cast<size_t>(ids[i + 1])];
  });
  cost.perplexity_f32 = std::exp(loss_f32 / after);
  cost.perplexity_bf16 = std::exp(loss_bf16 / after);
  return cost;
}

double BoundOf(const Arguments& arguments, const char* option) {
  char* end = nullptr;
  const std::string text = arguments.Text(option);
  const double bound = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(bound >= 0))
    arguments.Fail(InvalidArgument(std::string(option) + " '" + text + "' is no number from 0 on"));
  return bound;
}

int Main(int argc, char** argv) {
  Arguments arguments("rounding_bench",
                      "Compares a model of bf16 weights with activations rounded to bf16 and in f32.",
                      {{"--model", "DIR", "", "model folder; bench/fetch_smollm2.py makes a trained one"},
                       {"--text", "FILE", "", "text that the model reads"},
                       {"--tokens", "N", "1500", "tokens of it, from its beginning"},
                       {"--kv-dtype", "TYPE", "f32", "f32, f16 or bf16"},
                       {"--backend", "NAME", "auto", "a backend of the CPU"},
                       {"--threads", "N", "0", "compute threads; 0: one per CPU"},
                       {"--most-kl", "X", "0.0002", "bound of the mean KL"},
                       {"--most-change", "X", "0.001", "bound of the share by which perplexity changes"},
                       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const auto tokens = static_cast<size_t>(arguments.IntegerOrExit("--tokens", 2, 1 << 20));
  const double most_kl = BoundOf(arguments, "--most-kl"), most_change = BoundOf(arguments, "--most-change");
  const Result<std::string> kv = arguments.OneOf("--kv-dtype", {"f32", "f16", "bf16"});
  if (!kv.ok()) arguments.Fail(kv.status());
  const Model model{arguments.Text("--model"), arguments.Text("--backend"),
                    static_cast<int>(arguments.IntegerOrExit("--threads", 0, 1024)),
                    *kv == "f32"   ? DType::kF32
                    : *kv == "f16" ? DType::kF16
                                   : DType::kBF16};
  Report report(arguments);
  const auto tokenizer =
      OrDie(Tokenizer::FromJson(OrDie(ReadSmallFile(model.folder + "/tokenizer.json", kLargestFile))));
  std::vector<TokenId> ids =
      OrDie(tokenizer->Encode(OrDie(ReadSmallFile(arguments.Text("--text"), kLargestFile)), {}));
  if (ids.size() < tokens) {
    std::fprintf(stderr, "the text has %zu tokens, not %zu\n", ids.size(), tokens);
    return 1;
  }
  ids.resize(tokens);
  const Cost cost = Compare(model, ids);
  report.Add("mean KL", cost.mean_kl, "nats", {{"largest", cost.largest_kl}, {"bound", most_kl}});
  report.Add("perplexity with f32", cost.perplexity_f32, "");
  report.Add("perplexity with bf16", cost.perplexity_bf16, "",
             {{"change", cost.Change()}, {"bound", most_change}});
  report.Add("same likeliest token", cost.same_choice, "share", {{"tokens", static_cast<double>(tokens)}});
  const int written = report.Finish();
  if (cost.mean_kl <= most_kl && cost.Change() <= most_change) return written;
  std::fprintf(stderr, "rounding costs more than its bounds allow\n");
  return 1;
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
