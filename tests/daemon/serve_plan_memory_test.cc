// The parts of the memory plan, compared with the heap that their objects take.
#include "daemon/serve_plan_memory.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <memory>
#include <numeric>
#include <vector>

#include "engine/sequence.h"
#include "kernels/logit_row.h"

namespace prefixd {
namespace {

constexpr int kVocab = 50'000;

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();  // a sanitizer's heap reports 0
  return info.uordblks + info.hblkhd;
}

Options SmallOptions() {
  Options options = BuildOptions({}).value();
  options.max_sequences = 4;
  options.max_queue = 12;
  options.max_tokens_in_flight = 64'000;
  return options;
}

// A request whose prompt has `tokens` distinct tokens.
Request RequestOf(int tokens, float repetition_penalty) {
  Request request;
  request.prompt.resize(static_cast<size_t>(tokens));
  std::iota(request.prompt.begin(), request.prompt.end(), 0);
  request.sampling.repetition_penalty = repetition_penalty;
  return request;
}

// As many requests as may wait and run, with as many tokens as may be in flight; those that run have
// generated up to the context.
size_t HeapOfSequences(const Options& options, int context, float repetition_penalty) {
  const size_t before = HeapBytes();
  std::vector<std::unique_ptr<Sequence>> sequences;
  const auto count = static_cast<size_t>(options.max_sequences + options.max_queue);
  for (size_t i = 0; i < count; ++i) {
    sequences.push_back(std::make_unique<Sequence>(
        i,
        RequestOf(static_cast<int>(options.max_tokens_in_flight) / static_cast<int>(count),
                  repetition_penalty),
        BlockKeys({i, 1}, static_cast<int>(options.block_tokens))));
  }
  for (int64_t i = 0; i < options.max_sequences; ++i) {
    Sequence& sequence = *sequences[static_cast<size_t>(i)];
    while (static_cast<int>(sequence.tokens.size()) < context)
      sequence.Append(static_cast<TokenId>(sequence.tokens.size()));
    sequence.keys.Extend(sequence.tokens);
  }
  return HeapBytes() - before;
}

TEST(TokenBytes, BoundsTheSequencesOfAllRequests) {
  const Options options = SmallOptions();
  for (const int context : {4'000, 20'000}) {
    const uint64_t bound = TokenBytes(options, context, kVocab);
    const size_t plain = HeapOfSequences(options, context, 1.0f);
    const size_t counted = HeapOfSequences(options, context, 1.1f);
    EXPECT_LE(plain, counted);
    EXPECT_LE(counted, bound) << context;
    if (counted > 0) {
      EXPECT_LE(bound, 3 * counted + (size_t{1} << 20)) << "the bound is of use";
    }
  }
}

TEST(TokenBytes, CountsATokenOnceForEachSequence) {
  const Options options = SmallOptions();
  EXPECT_LT(TokenBytes(options, 4'000, 100), TokenBytes(options, 4'000, kVocab) / 3);
  EXPECT_EQ(TokenBytes(options, 4'000, 100'000), TokenBytes(options, 4'000, kVocab));
}

TEST(ResultBytes, BoundsTheResultsOfTwoSteps) {
  Options options = SmallOptions();
  for (const int64_t top : {0, 20, -1}) {
    options.max_logprobs = top;
    const size_t before = HeapBytes();
    std::vector<LogitRow> rows(2 * static_cast<size_t>(StepLimitsFor(options, 1, 1).max_logit_rows));
    for (LogitRow& row : rows) row.result.top.resize(static_cast<size_t>(top < 0 ? kVocab : top));
    EXPECT_LE(HeapBytes() - before, ResultBytes(options, kVocab)) << top;
  }
}

TEST(ProgramBytes, BeginsAtThePeakOfTheProcess) {
  Options options = SmallOptions();
  const uint64_t two = ProgramBytes(options, 2);
  EXPECT_GT(two, PeakResidentBytes());
  options.io_threads += 100;
  EXPECT_GE(ProgramBytes(options, 102), two + 200 * (uint64_t{64} << 10));
}

}  // namespace
}  // namespace prefixd
