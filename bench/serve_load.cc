#include "bench/serve_load.h"

#include <boost/json.hpp>
#include <chrono>
#include <deque>
#include <optional>
#include <thread>

#include "base/mutex.h"

namespace prefixd::bench {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

// The conversations of a workload, and which of them has a turn that can be sent now. Any thread.
class Schedule {
 public:
  struct Next {
    size_t conversation;
    size_t turn;
    std::vector<std::string> answers;  // of the turns before
  };

  Schedule(const Workload& workload, const LoadOptions& options)
      : workload_(workload), options_(options), answers_(workload.conversations.size()) {
    for (size_t i = 0; i < answers_.size(); ++i) ready_.push_back(i);
  }

  // Waits for a turn that can be sent. Nothing when no more will be.
  std::optional<Next> Take() {
    MutexLock lock(mutex_);
    while (ready_.empty() && running_ > 0) changed_.Wait(mutex_);
    if (ready_.empty()) return std::nullopt;
    const size_t conversation = ready_.front();
    ready_.pop_front();
    ++running_;
    return Next{conversation, answers_[conversation].size(), answers_[conversation]};
  }

  // The turn that Take returned has ended.
  void Done(size_t conversation, RequestResult result) {
    MutexLock lock(mutex_);
    const size_t turns = workload_.conversations[conversation].questions.size();
    std::vector<std::string>& answers = answers_[conversation];
    --running_;
    if (result.error.empty()) {
      answers.push_back(result.text);
      if (answers.size() < turns) ready_.push_back(conversation);
      results_.push_back(std::move(result));
    } else {
      results_.push_back(std::move(result));
      for (size_t turn = answers.size() + 1; turn < turns; ++turn) {
        results_.push_back({.error = "not sent: an earlier turn of its conversation failed"});
      }
    }
    if (options_.progress) options_.progress(static_cast<int>(results_.size()));
    changed_.NotifyAll();
  }

  // Call when no request runs any more.
  std::vector<RequestResult> TakeResults() {
    MutexLock lock(mutex_);
    return std::move(results_);
  }

 private:
  const Workload& workload_;
  const LoadOptions& options_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<size_t> ready_ GUARDED_BY(mutex_);
  size_t running_ GUARDED_BY(mutex_) = 0;
  std::vector<std::vector<std::string>> answers_ GUARDED_BY(mutex_);  // by conversation
  std::vector<RequestResult> results_ GUARDED_BY(mutex_);
};

void Send(const Workload& workload, const LoadOptions& options, const Schedule::Next& next, Client* client,
          Schedule* schedule) {
  const std::string body =
      RequestBody(workload.conversations[next.conversation], next.turn, next.answers, options);
  schedule->Done(next.conversation,
                 client->Stream(options.chat ? "/v1/chat/completions" : "/v1/completions", body));
}

void RunClosedLoop(const Workload& workload, const LoadOptions& options, Schedule* schedule) {
  std::vector<std::thread> threads;
  for (int i = 0; i < workload.clients; ++i) {
    threads.emplace_back([&] {
      Client client(options.server);
      while (const auto next = schedule->Take()) Send(workload, options, *next, &client, schedule);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

void RunOpenLoop(const Workload& workload, const LoadOptions& options, Schedule* schedule) {
  std::vector<std::thread> threads;
  const Clock::time_point start = Clock::now();
  for (const double time : PoissonArrivals(workload.requests(), options.rate, options.seed)) {
    std::this_thread::sleep_until(
        start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(time)));
    const auto next = schedule->Take();
    if (!next) break;
    threads.emplace_back([&, next = *next] {
      Client client(options.server);
      Send(workload, options, next, &client, schedule);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

std::string RequestBody(const Conversation& conversation, size_t turn,
                        const std::vector<std::string>& answers, const LoadOptions& options) {
  json::object body = {
      {"model", options.model}, {"max_tokens", options.output_tokens},         {"temperature", 0},
      {"stream", true},         {"stream_options", {{"include_usage", true}}}, {"ignore_eos", true}};
  json::array messages = {{{"role", "system"}, {"content", conversation.opening}}};
  std::string prompt = conversation.opening;
  for (size_t i = 0; i <= turn; ++i) {
    messages.push_back({{"role", "user"}, {"content", conversation.questions[i]}});
    prompt += "\n" + conversation.questions[i] + "\n";
    if (i == turn) break;
    messages.push_back({{"role", "assistant"}, {"content", answers[i]}});
    prompt += answers[i];
  }
  if (options.chat) {
    body["messages"] = std::move(messages);
  } else {
    body["prompt"] = prompt;
  }
  return json::serialize(body);
}

LoadResult RunLoad(const Workload& workload, const LoadOptions& options) {
  Schedule schedule(workload, options);
  const Clock::time_point start = Clock::now();
  if (options.rate > 0) {
    RunOpenLoop(workload, options, &schedule);
  } else {
    RunClosedLoop(workload, options, &schedule);
  }
  LoadResult result;
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  result.requests = schedule.TakeResults();
  return result;
}

}  // namespace prefixd::bench
