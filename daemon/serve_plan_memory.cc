#include "daemon/serve_plan_memory.h"

#include <algorithm>

#include "cache/node.h"
#include "cache/what_if.h"
#include "daemon/http_memory.h"
#include "daemon/kv_events.h"
#include "daemon/limit_table.h"
#include "daemon/memory_limit.h"
#include "engine/inbox.h"
#include "engine/sequence.h"
#include "kernels/logit_row.h"
#include "model/model_loader.h"

namespace prefixd {
namespace {

uint64_t Sequences(const Options& options) {
  const auto queue = static_cast<int>(options.max_queue);
  return static_cast<uint64_t>(options.max_sequences + queue + Inbox::Reserve(queue));
}

// One entry of a hash table of the standard library: the node with its heap header, and its buckets while
// the table grows.
constexpr uint64_t HashEntry(uint64_t key_and_value) { return key_and_value + 48; }

uint64_t BooksBytes(const Options& options, const TierPlan& tiers, const KvLayout& layout, uint32_t blocks) {
  if (blocks == 0) return 0;
  WhatIf::Options what_if{.block_tokens = static_cast<int>(options.block_tokens)};
  if (!options.no_prefix_cache) what_if.blocks = {blocks, tiers.host_blocks, tiers.disk.Blocks(layout)};
  return WhatIf::MaxMemoryBytes(what_if) +
         PrefixCache::MaxMemoryBytes({.block_tokens = static_cast<int>(options.block_tokens),
                                      .blocks = blocks,
                                      .retained_percent = static_cast<int>(options.retained_share),
                                      .host_blocks = tiers.host_blocks,
                                      .disk = tiers.disk.on,
                                      .remote = tiers.remote.on,
                                      .losses = RememberedLosses(tiers, layout, blocks)});
}

}  // namespace

StepLimits StepLimitsFor(const Options& options, int step_tokens, int context) {
  return {.context = context,
          .max_rows = step_tokens,
          .max_logit_rows = static_cast<int>(options.max_sequences) + Limit("prompt-logit-rows")};
}

uint64_t ProgramBytes(const Options& options, int compute_threads) {
  // Measured: see "The memory plan" in docs/OPERATIONS.md.
  constexpr uint64_t kHeap = uint64_t{8} << 20;
  constexpr uint64_t kThread = uint64_t{64} << 10;
  const int64_t threads =
      options.io_threads + Limit("worker-threads") + Limit("mask-threads") + compute_threads;
  return PeakResidentBytes() + Limit<uint64_t>("stored-response-bytes") +
         Limit<uint64_t>("remembered-request-bytes") + Limit<uint64_t>("format-bytes") +
         Limit<uint64_t>("generated-id-bytes") + kHeap + static_cast<uint64_t>(threads) * kThread;
}

uint64_t TokenBytes(const Options& options, int context, int vocab) {
  // A prompt is held once. Its keys and checks grow by one, so the vectors have up to twice the room; so have
  // the tokens of a sequence that generates.
  constexpr uint64_t kId = sizeof(TokenId);
  constexpr uint64_t kKeysOfBlock = 2 * (sizeof(BlockKey) + sizeof(uint64_t));
  // While a sequence runs: its path, its block table, its claims and their lists.
  constexpr uint64_t kLeaseOfBlock =
      2 * (sizeof(NodeId) + sizeof(BlockId) + sizeof(BlockKey)) + HashEntry(sizeof(BlockKey) + sizeof(void*));
  constexpr uint64_t kCount = 2 * sizeof(TokenCount) + HashEntry(sizeof(TokenId) + sizeof(size_t));
  constexpr uint64_t kSequence =
      sizeof(Sequence) + (uint64_t{4} << 10) + Limit<uint64_t>("logit-biases") * sizeof(LogitBias);
  const auto block = static_cast<uint64_t>(options.block_tokens);
  const int64_t in_flight = MaxTokensInFlight(options, context);
  const auto prompts = static_cast<uint64_t>(in_flight + Inbox::Reserve(in_flight, context));
  const uint64_t running = static_cast<uint64_t>(options.max_sequences) * static_cast<uint64_t>(context);
  const uint64_t distinct =
      std::min(prompts + running, Sequences(options) * static_cast<uint64_t>(std::min(context, vocab)));
  return prompts * kId + prompts / block * kKeysOfBlock + running * 2 * kId +
         running / block * (kKeysOfBlock + kLeaseOfBlock) + distinct * kCount +
         Sequences(options) * kSequence;
}

uint64_t ResultBytes(const Options& options, int vocab) {
  const int64_t top = options.max_logprobs < 0 ? vocab : std::min<int64_t>(options.max_logprobs, vocab);
  constexpr uint64_t kHeapPiece = 4096;  // a large list has pages of its own
  const auto rows = static_cast<uint64_t>(StepLimitsFor(options, 1, 1).max_logit_rows);
  return 2 * rows *
         (sizeof(LogitRow) + sizeof(GeneratedToken) + static_cast<uint64_t>(top) * sizeof(TokenLogprob) +
          kHeapPiece);
}

MemoryPlan PartsBesideKv(const Options& options, const ModelSummary& model, const Backend& backend,
                         const TierPlan& tiers, const KvLayout& layout, uint64_t program_bytes,
                         int step_tokens, int context, uint32_t blocks) {
  const StepMemory step =
      backend.StepMemoryFor(ShapeOf(model.config), StepLimitsFor(options, step_tokens, context));
  const uint64_t weights =
      model.packed_bytes + static_cast<uint64_t>(context) * model.packed_bytes_per_position;
  const int vocab = model.config.vocab;
  MemoryPlan parts = {
      {"weight_bytes", "weights", weights, "as the backend packs them", "a smaller model", true},
      {"activation_bytes", "activations", step.activations, "of one step", "step-tokens, max-sequences",
       true},
      {"scratch_bytes", "scratch", step.scratch, "of attention, matrix products and draws",
       "context, step-tokens, threads", true},
      {"cache_book_bytes", "cache books", BooksBytes(options, tiers, layout, blocks),
       "nodes, ghosts, states of blocks and what-if caches, at most",
       "device-cache, host-cache, block-tokens"},
      {"result_bytes", "step results", ResultBytes(options, vocab), "log probabilities of two steps, at most",
       "max-logprobs, max-sequences"},
      {"token_bytes", "tokens", TokenBytes(options, context, vocab),
       "of requests, at most " + std::to_string(MaxTokensInFlight(options, context)) +
           " of prompts in flight",
       "max-tokens-in-flight, max-sequences, context"},
      {"inflight_bytes", "requests and answers", InflightLimitBytes(options), "in flight, at most",
       "max-inflight, max-body"},
      {"connection_bytes", "connections", ConnectionsBytes(options), "headers and chunks, at most",
       "max-connections"},
      {"program_bytes", "program", program_bytes, "with tokenizer, threads and heap", "a smaller model"},
  };
  if (step.pinned > 0) {
    const bool copies = tiers.host_blocks > 0 || tiers.disk.on || tiers.remote.on;
    parts.push_back({"pinned_bytes", "pinned memory",
                     step.pinned + (copies ? KvCopier::kMostBuffers * layout.BlockBytes() : 0),
                     "that copies to and from the device go through", "step-tokens, context, block-tokens"});
  }
  if (!options.kv_events.empty()) {
    const size_t most = MostEventBlocks(tiers, layout, blocks);
    parts.push_back({"event_bytes", "KV events", KvEventBytes(most, layout.block_tokens),
                     "for " + std::to_string(most) + " blocks", "device-cache, host-cache, disk-cache"});
  }
  for (MemoryPart& part : TierMemory(tiers, layout)) parts.push_back(std::move(part));
  return parts;
}

}  // namespace prefixd
