// Draw: a token from each row of logits, and what its log probabilities need, a block for each row. Device
// code; kernels/sampling.h defines the draw, whose steps visit the tokens in any order; numerics.h, rule 7.
//
// Every step is a pass over the vocabulary by all threads. Selections (top_k, top_p) are radix selects over
// 64-bit ranks: the key of the logit, then the inverted id, so that a larger rank is a likelier token and no
// two are equal.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/launches.h"
#include "kernels/cuda/types.h"
#include "kernels/draw_parts.h"
#include "kernels/sampling.h"

namespace prefixd::cuda {

// Shared memory of the block: sums of a histogram, then one word for each thread.
inline constexpr int kDigits = 11;  // bits of a digit of a select
inline constexpr int kBuckets = 1 << kDigits;
PREFIXD_DEVICE uint64_t* Buckets() { return reinterpret_cast<uint64_t*>(device::SharedMemory()); }
PREFIXD_DEVICE uint64_t* Words() { return Buckets() + kBuckets; }
static_assert((kBuckets + kDrawThreads + 2) * sizeof(uint64_t) <= kDrawSharedBytes);

PREFIXD_DEVICE float LowestLogit() { return std::bit_cast<float>(0xFF800000u); }
PREFIXD_DEVICE float NotNan(float logit) { return logit == logit ? logit : LowestLogit(); }
PREFIXD_DEVICE uint64_t RankOf(float logit, int id) {
  return static_cast<uint64_t>(sampling::KeyOf(logit)) << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(id));
}
PREFIXD_DEVICE int IdOf(uint64_t rank) { return static_cast<int>(0xFFFFFFFFu - static_cast<uint32_t>(rank)); }

// Calls fn with the ids of this thread, ascending.
template <typename Fn>
PREFIXD_DEVICE void ForIds(int vocab, const Fn& fn) {
  for (int id = device::ThreadIndex(); id < vocab; id += kDrawThreads) fn(id);
}

// Calls fn(id, logits[id]) for the ids of this thread, ascending. It loads some logits before it uses the
// first of them: a pass over a large vocabulary then waits for the memory that much less often.
template <typename Fn>
PREFIXD_DEVICE void ForLogits(const float* logits, int vocab, const Fn& fn) {
  constexpr int kAtOnce = 8;
  for (int first = device::ThreadIndex(); first < vocab; first += kAtOnce * kDrawThreads) {
    float values[kAtOnce] = {};
    PREFIXD_UNROLL
    for (int j = 0; j < kAtOnce; ++j) {
      const int id = first + j * kDrawThreads;
      if (id < vocab) values[j] = LoadF32(logits + id);
    }
    PREFIXD_UNROLL
    for (int j = 0; j < kAtOnce; ++j) {
      const int id = first + j * kDrawThreads;
      if (id < vocab) fn(id, values[j]);
    }
  }
}

// The best of one word for each thread, as better(a, b) says; all threads get it. Collective over the block.
template <typename Better>
PREFIXD_DEVICE uint64_t BestOfBlock(uint64_t word, const Better& better) {
  device::SyncThreads();  // others may still read the words of a call before
  device::StoreShared(Words() + device::ThreadIndex(), word);
  device::SyncThreads();
  for (int half = kDrawThreads / 2; half > 0; half /= 2) {
    if (device::ThreadIndex() < half) {
      const auto a = device::LoadShared<uint64_t>(Words() + device::ThreadIndex());
      const auto b = device::LoadShared<uint64_t>(Words() + device::ThreadIndex() + half);
      if (better(b, a)) device::StoreShared(Words() + device::ThreadIndex(), b);
    }
    device::SyncThreads();
  }
  return device::LoadShared<uint64_t>(Words());
}
PREFIXD_DEVICE uint64_t LargestOfBlock(uint64_t word) {
  return BestOfBlock(word, [](uint64_t a, uint64_t b) { return a > b; });
}

// The sum of one integer for each thread. Collective over the block.
PREFIXD_DEVICE uint64_t SumOfBlock(uint64_t word) {
  device::SyncThreads();
  device::StoreShared(Words() + device::ThreadIndex(), word);
  device::SyncThreads();
  for (int half = kDrawThreads / 2; half > 0; half /= 2) {
    if (device::ThreadIndex() < half) {
      const auto a = device::LoadShared<uint64_t>(Words() + device::ThreadIndex());
      const auto b = device::LoadShared<uint64_t>(Words() + device::ThreadIndex() + half);
      device::StoreShared(Words() + device::ThreadIndex(), a + b);
    }
    device::SyncThreads();
  }
  return device::LoadShared<uint64_t>(Words());
}

// --- The logits of a row with its changes (kernels/logit_adjustment.h) and bans ---

struct DrawView {
  DrawSpec spec;
  const float* raw;  // [vocab]
  float* changed;    // [vocab]
  int vocab;
};

// The penalties for a token that the answer has `generated` times.
PREFIXD_DEVICE void Penalize(const DrawView& view, int token, int generated) {
  const DrawSpec& spec = view.spec;
  float* const at = view.changed + token;
  float logit = LoadF32(at);
  logit = logit > 0.0f ? device::Div(logit, spec.repetition_penalty)
                       : device::Mul(logit, spec.repetition_penalty);
  if (generated != 0) {
    const float frequency = device::Mul(spec.frequency_penalty, static_cast<float>(generated));
    logit = device::Add(device::Add(logit, -frequency), -spec.presence_penalty);
  }
  device::StoreGlobal(at, logit);
}

// Those for all tokens that are counted, and for the one that the step before drew.
PREFIXD_DEVICE void PenalizeAll(const DrawParamsTable& p, const DrawView& view) {
  const DrawSpec& spec = view.spec;
  const int drawn = spec.uncounted >= 0 ? device::LoadGlobal<int32_t>(&p.drawn[spec.uncounted].token) : -1;
  uint64_t is_counted = 0;
  for (int i = device::ThreadIndex(); i < spec.counts; i += kDrawThreads) {
    const auto count = device::LoadStruct(p.counts + spec.first_count + i);
    const bool again = count.token == drawn;
    Penalize(view, count.token, count.generated + (again ? 1 : 0));
    is_counted |= again ? 1 : 0;
  }
  if (drawn < 0) return;  // for the whole block
  is_counted = LargestOfBlock(is_counted);
  if (is_counted == 0 && device::ThreadIndex() == 0) Penalize(view, drawn, 1);
}

// Whether the mask of the row has the token.
PREFIXD_DEVICE bool IsAllowed(const DrawParamsTable& p, const DrawView& view, int id) {
  if (view.spec.first_allowed < 0) return true;
  const auto word = device::LoadGlobal<uint32_t>(p.allowed + view.spec.first_allowed + id / 32);
  return (word >> (id % 32) & 1) != 0;
}

PREFIXD_DEVICE void Change(const DrawParamsTable& p, const DrawView& view, bool ban) {
  const DrawSpec& spec = view.spec;
  device::SyncThreads();
  ForLogits(view.raw, view.vocab,
            [&](int id, float logit) { device::StoreGlobal(view.changed + id, logit); });
  device::SyncThreads();
  for (int i = device::ThreadIndex(); i < spec.biases; i += kDrawThreads) {
    const auto bias = device::LoadStruct(p.bias + spec.first_bias + i);
    float* const at = view.changed + bias.token;
    device::StoreGlobal(at, device::Add(LoadF32(at), bias.bias));
  }
  device::SyncThreads();
  PenalizeAll(p, view);
  device::SyncThreads();
  ForLogits(view.changed, view.vocab, [&](int id, float logit) {
    device::StoreGlobal(view.changed + id, IsAllowed(p, view, id) ? NotNan(logit) : LowestLogit());
  });
  device::SyncThreads();
  for (int i = device::ThreadIndex(); ban && i < spec.banned; i += kDrawThreads)
    device::StoreGlobal(view.changed + device::LoadGlobal<int32_t>(p.banned + spec.first_banned + i),
                        LowestLogit());
  device::SyncThreads();
}

// The lowest id that takes part, with or without the bans; -1 if none does. Overwrites the changed logits.
PREFIXD_DEVICE int FirstAllowed(const DrawParamsTable& p, const DrawView& view, bool ban) {
  device::SyncThreads();
  ForIds(view.vocab,
         [&](int id) { device::StoreGlobal(view.changed + id, IsAllowed(p, view, id) ? 0.0f : 1.0f); });
  device::SyncThreads();
  for (int i = device::ThreadIndex(); ban && i < view.spec.banned; i += kDrawThreads)
    device::StoreGlobal(view.changed + device::LoadGlobal<int32_t>(p.banned + view.spec.first_banned + i),
                        1.0f);
  device::SyncThreads();
  uint64_t first = 0;
  ForIds(view.vocab, [&](int id) {
    if (first == 0 && LoadF32(view.changed + id) == 0.0f) first = RankOf(0.0f, id);
  });
  first = LargestOfBlock(first);
  return first == 0 ? -1 : IdOf(first);
}

PREFIXD_DEVICE uint64_t BestRank(const DrawView& view) {
  uint64_t best = 0;
  ForLogits(view.changed, view.vocab, [&](int id, float logit) {
    const uint64_t rank = RankOf(logit, id);
    best = rank > best ? rank : best;
  });
  return LargestOfBlock(best);
}

// --- Which tokens take part in the race ---

// The tokens with a weight, of those not below a rank.
struct KeptTokens {
  const DrawView& view;
  int best;
  float largest;
  uint64_t cut;  // the smallest rank that is kept

  // Of a token with this changed logit; 0 for one that is not kept.
  PREFIXD_DEVICE float WeightOf(int id, float logit) const {
    if (RankOf(logit, id) < cut) return 0.0f;
    if (id == best) return 1.0f;
    const float weight = sampling::WeightOf(device::Div(device::Add(logit, -largest), view.spec.temperature));
    if (!(weight > 0.0f)) return 0.0f;
    return view.spec.min_p == 0.0f || weight >= view.spec.min_p ? weight : 0.0f;
  }
};

// Digit number `digit` of a rank, from the top: 11, 11 and 10 bits of the key, then of the id.
PREFIXD_DEVICE int DigitShift(int digit) {
  return 64 - digit / 3 * 32 - (digit % 3 == 2 ? 32 : (digit % 3 + 1) * kDigits);
}
PREFIXD_DEVICE int DigitBits(int digit) { return digit % 3 == 2 ? 10 : kDigits; }

// Raises the cut to the last of the fewest likeliest tokens whose measures sum to `wanted`. Requires
// 0 < wanted <= the sum of all measures. Collective over the block.
template <typename Measure>
PREFIXD_DEVICE void KeepLikeliest(KeptTokens* kept, uint64_t wanted, const Measure& measure) {
  uint64_t prefix = 0;
  for (int digit = 0; digit < 6; ++digit) {
    const int shift = DigitShift(digit), bits = DigitBits(digit);
    device::SyncThreads();
    for (int i = device::ThreadIndex(); i < kBuckets; i += kDrawThreads)
      device::StoreShared(Buckets() + i, uint64_t{0});
    device::SyncThreads();
    ForLogits(kept->view.changed, kept->view.vocab, [&](int id, float logit) {
      const float weight = kept->WeightOf(id, logit);
      const uint64_t rank = RankOf(logit, id);
      const bool shares = digit == 0 || rank >> (shift + bits) == prefix >> (shift + bits);
      if (weight > 0.0f && shares)
        device::AtomicAdd(Buckets() + (rank >> shift & ((1u << bits) - 1)), measure(weight));
    });
    device::SyncThreads();
    // Every thread walks over the same sums.
    uint64_t bucket = (uint64_t{1} << bits) - 1;
    for (;; --bucket) {
      const auto sum = device::LoadShared<uint64_t>(Buckets() + bucket);
      if (sum >= wanted) break;
      wanted -= sum;
    }
    prefix |= bucket << shift;
  }
  device::SyncThreads();
  kept->cut = prefix;
}

PREFIXD_DEVICE void KeepTopK(KeptTokens* kept) {
  uint64_t count = 0;
  ForLogits(kept->view.changed, kept->view.vocab,
            [&](int id, float logit) { count += kept->WeightOf(id, logit) > 0.0f ? 1 : 0; });
  const auto wanted = static_cast<uint64_t>(kept->view.spec.top_k);
  if (SumOfBlock(count) > wanted) KeepLikeliest(kept, wanted, [](float) { return uint64_t{1}; });
}

PREFIXD_DEVICE void KeepTopP(KeptTokens* kept) {
  const auto measure = [](float weight) { return sampling::FixedPoint(weight); };
  uint64_t sum = 0;
  ForLogits(kept->view.changed, kept->view.vocab,
            [&](int id, float logit) { sum += measure(kept->WeightOf(id, logit)); });
  const uint64_t wanted = sampling::SumForTopP(kept->view.spec.top_p, SumOfBlock(sum));
  KeepLikeliest(kept, wanted, measure);
}

// A race of steps 7 and 8: the smallest time this thread has seen, and whose it is. Times are above 0, so
// their bits are in their order.
struct Runner {
  uint64_t time = ~uint64_t{0};
  uint32_t index = ~uint32_t{0};

  PREFIXD_DEVICE void Enter(const DrawSpec& spec, sampling::Uniform of, uint32_t entrant, double weight) {
    const double uniform = sampling::UniformAt(spec.seed, spec.position, entrant, of);
    const auto bits = std::bit_cast<uint64_t>(sampling::ExponentialOf(uniform) / weight);
    if (bits < time) {
      time = bits;
      index = entrant;
    }
  }
  // The index with the smallest time of all threads; of equals the lowest. Collective over the block.
  PREFIXD_DEVICE uint32_t Winner() const {
    const uint64_t first = BestOfBlock(time, [](uint64_t a, uint64_t b) { return a < b; });
    return ~static_cast<uint32_t>(LargestOfBlock(time == first ? ~index : 0));
  }
};

// The sum of one integer for each lane. Collective over the warp.
PREFIXD_DEVICE uint64_t SumOfWarp(uint64_t word) {
  for (int mask = device::kWarp / 2; mask > 0; mask /= 2) {
    const uint64_t low = device::ShuffleXor(static_cast<uint32_t>(word), mask);
    const uint64_t high = device::ShuffleXor(static_cast<uint32_t>(word >> 32), mask);
    word += high << 32 | low;
  }
  return word;
}

// Step 7: a warp sums the mass of a block of tokens.
PREFIXD_DEVICE uint32_t WinningBlock(const KeptTokens& kept) {
  constexpr int kWarps = kDrawThreads / device::kWarp;
  Runner blocks;
  for (int block = device::Warp(); block * kSampleBlock < kept.view.vocab; block += kWarps) {
    uint64_t mass = 0;
    PREFIXD_UNROLL
    for (int j = 0; j < kSampleBlock; j += device::kWarp) {
      const int id = block * kSampleBlock + j + device::Lane();
      if (id < kept.view.vocab)
        mass += sampling::FixedPoint(kept.WeightOf(id, LoadF32(kept.view.changed + id)));
    }
    mass = SumOfWarp(mass);
    if (device::Lane() == 0 && mass > 0)
      blocks.Enter(kept.view.spec, sampling::Uniform::kOfBlock, static_cast<uint32_t>(block),
                   sampling::FromFixedPoint(mass));
  }
  return blocks.Winner();
}

// Steps 7 and 8.
PREFIXD_DEVICE int WinnerOf(const KeptTokens& kept) {
  const int first = static_cast<int>(WinningBlock(kept)) * kSampleBlock;
  const int last = first + kSampleBlock < kept.view.vocab ? first + kSampleBlock : kept.view.vocab;
  Runner tokens;
  for (int id = first + device::ThreadIndex(); id < last; id += kDrawThreads) {
    const float weight = kept.WeightOf(id, LoadF32(kept.view.changed + id));
    if (weight > 0.0f)
      tokens.Enter(kept.view.spec, sampling::Uniform::kOfToken, static_cast<uint32_t>(id),
                   static_cast<double>(weight));
  }
  return static_cast<int>(tokens.Winner());
}

PREFIXD_DEVICE int DrawnToken(const DrawParamsTable& p, const DrawView& view) {
  Change(p, view, true);
  uint64_t best = BestRank(view);
  const uint64_t nothing = static_cast<uint64_t>(sampling::KeyOf(LowestLogit())) << 32 | 0xFFFFFFFFu;
  if (best <= nothing) {
    if (const int allowed = FirstAllowed(p, view, true); allowed >= 0) return allowed;
    Change(p, view, false);
    best = BestRank(view);
    if (best <= nothing) return FirstAllowed(p, view, false);
  }
  const int id = IdOf(best);
  if (view.spec.temperature <= 0.0f || view.spec.top_k == 1) return id;
  KeptTokens kept{view, id, LoadF32(view.changed + id), 0};
  if (view.spec.top_k > 0) KeepTopK(&kept);
  if (view.spec.top_p < 1.0f) KeepTopP(&kept);
  return WinnerOf(kept);
}

// --- Log probabilities ---

// The sum of kernels/logit_row.h in the order of rule 7. Collective over the block.
PREFIXD_DEVICE double SumOfWeights(const DrawView& view, float largest) {
  const bool infinite = device::Add(largest, -largest) != 0.0f;  // NaN
  double sum = 0;
  ForLogits(view.raw, view.vocab, [&](int, float raw) {
    const float logit = NotNan(raw);
    const float weight =
        infinite ? (logit == largest ? 1.0f : 0.0f) : sampling::WeightOf(device::Add(logit, -largest));
    sum += static_cast<double>(weight);
  });
  device::SyncThreads();
  device::StoreShared(Words() + device::ThreadIndex(), std::bit_cast<uint64_t>(sum));
  device::SyncThreads();
  double total = 0;
  for (int i = 0; i < kDrawThreads; ++i)
    total += std::bit_cast<double>(device::LoadShared<uint64_t>(Words() + i));
  return total;
}

// The likeliest token of a rank below `below`. Collective over the block.
PREFIXD_DEVICE uint64_t LikeliestBelow(const DrawView& view, uint64_t below) {
  uint64_t best = 0;
  ForLogits(view.raw, view.vocab, [&](int id, float logit) {
    const uint64_t rank = RankOf(NotNan(logit), id);
    if (rank < below && rank > best) best = rank;
  });
  return LargestOfBlock(best);
}

PREFIXD_DEVICE void Score(const DrawParamsTable& p, const DrawView& view, DrawResult* result) {
  const DrawSpec& spec = view.spec;
  uint64_t rank = LikeliestBelow(view, ~uint64_t{0});
  result->largest = NotNan(LoadF32(view.raw + IdOf(rank)));
  result->logit = NotNan(LoadF32(view.raw + result->token));
  result->sum = SumOfWeights(view, result->largest);
  const uint64_t own = RankOf(result->logit, result->token);
  uint64_t likelier = 0;
  ForLogits(view.raw, view.vocab,
            [&](int id, float logit) { likelier += RankOf(NotNan(logit), id) > own ? 1 : 0; });
  result->rank = static_cast<int32_t>(SumOfBlock(likelier)) + 1;
  const int top = spec.logprobs < view.vocab ? spec.logprobs : view.vocab;
  for (int i = 0; i < top; ++i) {
    if (device::ThreadIndex() == 0) {
      device::StoreGlobal(p.top_tokens + spec.first_result + i, static_cast<int32_t>(IdOf(rank)));
      device::StoreGlobal(p.top_logits + spec.first_result + i, NotNan(LoadF32(view.raw + IdOf(rank))));
    }
    rank = LikeliestBelow(view, rank);
  }
}

PREFIXD_DEVICE void Draw(const DrawParamsTable& p) {
  const int index = device::BlockX();
  DrawView view{device::LoadStruct(p.specs + index), nullptr, nullptr, p.vocab};
  view.raw = p.logits + static_cast<size_t>(view.spec.row) * static_cast<size_t>(p.vocab);
  view.changed = p.changed + static_cast<size_t>(index) * static_cast<size_t>(p.vocab);
  DrawResult result{};
  result.token = view.spec.given >= 0 ? view.spec.given : DrawnToken(p, view);
  if (view.spec.logprobs >= 0) Score(p, view, &result);
  if (device::ThreadIndex() == 0) device::StoreStruct(p.results + index, result);
}

}  // namespace prefixd::cuda
