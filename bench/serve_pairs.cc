#include "bench/serve_pairs.h"

#include <array>
#include <atomic>
#include <boost/json.hpp>
#include <thread>

#include "base/check.h"
#include "base/prng.h"

namespace prefixd::bench {
namespace {

namespace json = boost::json;

// The first ids of prompts: those of the load, the common one, then one for each prompt that shares nothing.
// Ids below 300 may be special or bytes.
constexpr int kFirstId = 300;
constexpr int kLoadFirsts = 100;
constexpr int kCommonId = kFirstId + kLoadFirsts;
static_assert(kCommonId + kMaxPairs < kPairIds);

// `count` tokens that begin with `first`.
json::array Prompt(std::initializer_list<int> first, int count, Prng* random) {
  json::array ids(first.begin(), first.end());
  while (static_cast<int>(ids.size()) < count) {
    ids.push_back(kFirstId + static_cast<int>(random->Below(kPairIds - kFirstId)));
  }
  return ids;
}

std::string Body(const std::string& model, json::array prompt) {
  return json::serialize(json::object{{"model", model},
                                      {"prompt", std::move(prompt)},
                                      {"max_tokens", 1},
                                      {"temperature", 0},
                                      {"ignore_eos", true},
                                      {"stream", true},
                                      {"stream_options", {{"include_usage", true}}}});
}

// Sends prompts that share nothing with the pairs until it is destroyed.
class Load {
 public:
  Load(const PairOptions& options, const LoadOptions& load) {
    for (int i = 0; i < options.load_clients; ++i) {
      const uint64_t seed = options.seed + 100 + static_cast<uint64_t>(i);
      threads_.emplace_back(
          [this, seed, tokens = options.load_tokens, server = load.server, model = load.model] {
            Prng random(seed);
            Client client(server);
            while (!stop_) {
              const int first = kFirstId + static_cast<int>(random.Below(kLoadFirsts));
              client.Stream("/v1/completions", Body(model, Prompt({first}, tokens, &random)));
            }
          });
    }
  }
  ~Load() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace

PairResult RunPairs(const PairOptions& options, const LoadOptions& load) {
  PREFIXD_CHECK(options.pairs > 0 && options.pairs <= kMaxPairs) << options.pairs;
  PairResult result;
  Client client(load.server);
  Prng random(options.seed);
  const auto send = [&](int first_id, int second_id) {
    RequestResult got = client.Stream(
        "/v1/completions", Body(load.model, Prompt({first_id, second_id}, options.tokens, &random)));
    if (!got.error.empty() && result.failed++ == 0) result.first_error = got.error;
    return got;
  };
  send(kCommonId, kFirstId);
  const Load running(options, load);
  for (int pair = 0; pair < options.pairs; ++pair) {
    const int own_id = kCommonId + 1 + pair;
    const int first_ids[2] = {own_id, kCommonId};
    const size_t begins = random.Below(2);
    std::array<RequestResult, 2> got;  // sharing none, sharing one token
    for (const size_t shared : {begins, 1 - begins}) got[shared] = send(first_ids[shared], own_id);
    if (load.progress) load.progress(pair + 1);
    if (!got[0].error.empty() || !got[1].error.empty()) continue;
    if (got[0].cached_tokens != 0 || got[1].cached_tokens != 1 || got[0].arrivals.empty() ||
        got[1].arrivals.empty()) {
      ++result.unlike;
      continue;
    }
    result.unshared.push_back(got[0].arrivals.front());
    result.shared.push_back(got[1].arrivals.front());
  }
  return result;
}

}  // namespace prefixd::bench
