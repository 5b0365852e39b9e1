#include "tests/support/engine_driver.h"

#include <gtest/gtest.h>

#include <bit>
#include <sstream>
#include <utility>

#include "kernels/registry.h"
#include "model/model_loader.h"
#include "tests/support/shared_data.h"

namespace prefixd::testing_support {

void Recorder::OnEvent(RequestEvent event) {
  EXPECT_FALSE(finish.has_value()) << "an event after the last one";
  EXPECT_TRUE(tokens.empty() || event.prompt_logprobs.empty()) << "prompt logprobs after generated tokens";
  for (GeneratedToken& token : event.prompt_logprobs) prompt_logprobs.push_back(std::move(token));
  for (GeneratedToken& token : event.tokens) tokens.push_back(std::move(token));
  if (!tokens.empty() || event.finish) {
    if (!tokens.empty() && usage.total() > 0) {
      EXPECT_EQ(usage.tokens, event.prompt.tokens) << "the prompt usage is final with the first token";
    }
    usage = event.prompt;
  }
  times = event.times;
  finish = event.finish;
  error = event.error;
}

std::shared_ptr<Recorder> Submit(Engine& engine, Request request, RequestId* id) {
  auto recorder = std::make_shared<Recorder>();
  request.listener = recorder;
  const Result<RequestId> submitted = engine.Submit(std::move(request));
  PREFIXD_CHECK(submitted.ok()) << submitted.status().ToString();
  if (id != nullptr) *id = *submitted;
  return recorder;
}

bool SameTokens(const std::vector<GeneratedToken>& a, const std::vector<GeneratedToken>& b) {
  const auto same_bits = [](float x, float y) {
    return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y);
  };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].token != b[i].token || !same_bits(a[i].logprob, b[i].logprob) ||
        a[i].top.size() != b[i].top.size())
      return false;
    for (size_t k = 0; k < a[i].top.size(); ++k) {
      if (a[i].top[k].token != b[i].top[k].token || !same_bits(a[i].top[k].logprob, b[i].top[k].logprob))
        return false;
    }
  }
  return true;
}

std::string Describe(const std::vector<GeneratedToken>& tokens) {
  std::ostringstream out;
  for (const GeneratedToken& token : tokens) {
    out << token.token << ":" << std::hex << std::bit_cast<uint32_t>(token.logprob) << std::dec << " ";
  }
  return out.str();
}

Result<LoadedRunner> TryLoadRunner(const std::filesystem::path& folder, std::unique_ptr<Backend> backend,
                                   const DriverLimits& limits, Quantization quantize) {
  LoadedRunner loaded{.backend = std::move(backend), .model = nullptr};
  const Result<ModelConfig> config = ParseModelConfig(ReadFileOrDie(folder / "config.json"));
  PREFIXD_CHECK(config.ok()) << config.status().ToString();
  const Result<WeightFiles> files = WeightFiles::Open(folder);
  PREFIXD_CHECK(files.ok()) << files.status().ToString();
  PREFIXD_ASSIGN_OR_RETURN(LoadedPlan plan,
                           LoadPlan(*config, *files, *loaded.backend, limits.context, {}, quantize));
  PREFIXD_ASSIGN_OR_RETURN(
      loaded.model,
      loaded.backend->CreateRunner(std::move(plan.plan), {limits.context, limits.step_tokens,
                                                          limits.max_sequences + limits.prompt_logit_rows}));
  return loaded;
}

LoadedRunner LoadRunner(const std::filesystem::path& folder, std::string_view backend, int threads,
                        const DriverLimits& limits, numerics::Version version, Quantization quantize) {
  Result<std::unique_ptr<Backend>> made = CreateBackend(backend, threads, {}, version);
  PREFIXD_CHECK(made.ok()) << made.status().ToString();
  Result<LoadedRunner> loaded = TryLoadRunner(folder, std::move(*made), limits, quantize);
  PREFIXD_CHECK(loaded.ok()) << loaded.status().ToString();
  return std::move(*loaded);
}

std::vector<std::string> RunnableBackends() {
  std::vector<std::string> names;
  for (const BackendInfo& info : ListBackends()) {
    if (info.runs_here) names.emplace_back(info.name);
  }
  return names;
}

}  // namespace prefixd::testing_support
