// Runs requests through an Engine on the test's own thread and collects what their listeners hear.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "kernels/backend.h"

namespace prefixd::testing_support {

// What one request heard, and whether the engine kept its promises about it.
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

// Bit for bit: ids, logprobs, top logprobs.
bool SameTokens(const std::vector<GeneratedToken>& a, const std::vector<GeneratedToken>& b);
std::string Describe(const std::vector<GeneratedToken>& tokens);

// A backend and a model on it.
struct LoadedTransformer {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Transformer> model;
};
struct DriverLimits {
  int context = 256;
  int step_tokens = 64;
  int max_sequences = 8;
  int prompt_logit_rows = kPromptLogitRows;
};
LoadedTransformer LoadTransformer(const std::filesystem::path& folder, std::string_view backend, int threads,
                                  const DriverLimits& limits);

// Names of the backends that run on this machine, `ref` first.
std::vector<std::string> RunnableBackends();

}  // namespace prefixd::testing_support
