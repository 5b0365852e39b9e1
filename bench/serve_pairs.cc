#include "bench/serve_pairs.h"

#include <atomic>
#include <boost/json.hpp>
#include <thread>

#include "base/prng.h"
#include "bench/serve_words.h"

namespace prefixd::bench {
namespace {

namespace json = boost::json;

std::string Body(const std::string& model, const std::string& prompt) {
  return json::serialize(json::object{{"model", model},
                                      {"prompt", prompt},
                                      {"max_tokens", 1},
                                      {"temperature", 0},
                                      {"ignore_eos", true},
                                      {"stream", true},
                                      {"stream_options", {{"include_usage", true}}}});
}

// Sends prompts that share nothing until it is destroyed.
class Load {
 public:
  Load(const PairOptions& options, const LoadOptions& load) {
    for (int i = 0; i < options.load_clients; ++i) {
      const uint64_t seed = options.seed + 100 + static_cast<uint64_t>(i);
      threads_.emplace_back(
          [this, seed, words = options.load_words, server = load.server, model = load.model] {
            Writer writer(seed);
            Client client(server);
            while (!stop_) client.Stream("/v1/completions", Body(model, " " + writer.Distinct(words)));
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
  PairResult result;
  Client client(load.server);
  Writer writer(options.seed);
  const std::string common = " " + writer.Distinct(1);
  const auto send = [&](const std::string& prompt) {
    RequestResult got = client.Stream("/v1/completions", Body(load.model, prompt));
    if (got.error.empty() && got.arrivals.empty()) got.error = "an answer without text";
    if (!got.error.empty() && result.failed++ == 0) result.first_error = got.error;
    return got;
  };
  send(common + " " + writer.Text(options.words));
  const Load running(options, load);
  for (int pair = 0; pair < options.pairs; ++pair) {
    const std::string prompts[2] = {" " + writer.Distinct(options.words),
                                    common + " " + writer.Distinct(options.words - 1)};
    const int first = static_cast<int>(writer.random().Below(2));
    for (const int shared : {first, 1 - first}) {
      const RequestResult got = send(prompts[shared]);
      if (!got.error.empty()) continue;
      (shared == 1 ? result.shared : result.unshared).push_back(got.arrivals.front());
      if (got.cached_tokens != shared) ++result.unlike;
    }
    if (load.progress) load.progress(pair + 1);
  }
  return result;
}

}  // namespace prefixd::bench
