// Helpers for tests that run requests through an Engine on their own thread: a listener that records events,
// and a backend with a model. One thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "kernels/backend.h"
#include "kernels/numerics.h"
#include "model/model_loader.h"

namespace prefixd::testing_support {

// Records the events of one request and checks the order that the engine guarantees.
class Recorder final : public RequestListener {
 public:
  void OnEvent(RequestEvent event) override;
  bool finished() const { return finish.has_value(); }

  std::vector<GeneratedToken> prompt_logprobs;
  std::vector<GeneratedToken> tokens;
  std::optional<FinishReason> finish;
  PromptUsage usage;
  RequestTimes times;
  Status error;
};

// Submits a request with a new listener, which it returns. Writes its id to `id`, unless that is null.
std::shared_ptr<Recorder> Submit(Engine& engine, Request request, RequestId* id = nullptr);

// Compares ids, logprobs and top logprobs bit for bit.
bool SameTokens(const std::vector<GeneratedToken>& a, const std::vector<GeneratedToken>& b);
std::string Describe(const std::vector<GeneratedToken>& tokens);

// A backend and a model that it runs.
struct LoadedRunner {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<ModelRunner> model;
};
struct DriverLimits {
  int context = 256;
  int step_tokens = 64;
  int max_sequences = 8;
  int prompt_logit_rows = EngineOptions().prompt_logit_rows;
};
LoadedRunner LoadRunner(const std::filesystem::path& folder, std::string_view backend, int threads,
                        const DriverLimits& limits, numerics::Version version = numerics::kLatest,
                        Quantization quantize = {});
// For a backend that may fail.
Result<LoadedRunner> TryLoadRunner(const std::filesystem::path& folder, std::unique_ptr<Backend> backend,
                                   const DriverLimits& limits, Quantization quantize = {});

// Returns the names of the backends that run on this machine, `ref` first.
std::vector<std::string> RunnableBackends();

}  // namespace prefixd::testing_support
