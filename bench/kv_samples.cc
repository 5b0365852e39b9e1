#include "bench/kv_samples.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "kernels/registry.h"
#include "model/mapped_file.h"
#include "model/model_loader.h"
#include "model/weights.h"
#include "text/tokenizer/tokenizer.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;
constexpr size_t kLargestFile = 64 << 20;

void ExitUnlessOk(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

template <typename T>
T OrDie(Result<T> result) {
  ExitUnlessOk(result.ok() ? Status::Ok() : result.status());
  return std::move(*result);
}

std::vector<std::vector<TokenId>> Tokenize(const std::string& folder, const std::vector<std::string>& files,
                                           int tokens) {
  const auto tokenizer =
      OrDie(Tokenizer::FromJson(OrDie(ReadSmallFile(folder + "/tokenizer.json", kLargestFile))));
  std::vector<std::vector<TokenId>> sequences;
  for (const std::string& file : files) {
    std::vector<TokenId> ids = OrDie(tokenizer->Encode(OrDie(ReadSmallFile(file, kLargestFile)), {}));
    ids.resize(std::min<size_t>(ids.size(), tokens) / kBlockTokens * kBlockTokens);
    if (!ids.empty()) sequences.push_back(std::move(ids));
  }
  return sequences;
}

}  // namespace

KvSamples ComputeKvSamples(const std::string& folder, const std::vector<std::string>& text_files, int tokens,
                           DType kv_dtype, int threads) {
  const ModelConfig config =
      OrDie(ParseModelConfig(OrDie(ReadSmallFile(folder + "/config.json", kLargestFile))));
  const WeightFiles files = OrDie(WeightFiles::Open(folder));
  const auto backend = OrDie(CreateBackend("auto", threads));
  const StepLimits limits = {tokens, tokens, 1};
  LoadedPlan plan = OrDie(LoadPlan(config, files, *backend, limits.context, {}));
  const auto model = OrDie(backend->CreateRunner(std::move(plan.plan), limits));

  KvSamples samples{.layout = model->shape().Kv(kBlockTokens, kv_dtype)};
  const auto pool = OrDie(backend->AllocateKv(samples.layout, tokens / kBlockTokens));
  const auto copier = OrDie(backend->CreateKvCopier(samples.layout));
  std::vector<BlockId> table(pool->blocks());
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<BlockId>(i);
  for (const std::vector<TokenId>& ids : Tokenize(folder, text_files, tokens)) {
    const SequenceSpan span = {0, static_cast<int>(ids.size()), 0, table};
    model->Launch({{ids, {&span, 1}}, {}, pool.get()}, {});
    ExitUnlessOk(model->Collect());
    for (size_t i = 0; i < ids.size() / kBlockTokens; ++i) {
      const std::shared_ptr<std::byte> staged = copier->Stage();
      const std::span<std::byte> block(staged.get(), samples.layout.BlockBytes());
      ExitUnlessOk(copier->Read(*pool, table[i], block));
      samples.bytes.insert(samples.bytes.end(), block.begin(), block.end());
      ++samples.blocks;
    }
  }
  return samples;
}

}  // namespace prefixd::bench
