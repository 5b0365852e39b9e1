"""The panels of the Grafana dashboards: one row each, from which make_dashboards.py writes the JSON.

In an expression, [w] is the window of rates and [span] the whole time that the dashboard shows. Selectors are
written without the variables of the dashboard: make_dashboards.py adds job, instance and model_name to each.
`meaning` says what a panel shows, `action` what to do about it. A division has a `> 0` below it, so that it
is empty without traffic, and not NaN.
"""

from typing import NamedTuple

TOKENS, REQUESTS, PER_SECOND, BYTES_PER_SECOND = "suffix:tokens/s", "reqps", "ops", "binBps"
SECONDS, SHARE, BYTES, COUNT, AGE = "s", "percentunit", "bytes", "short", "dtdurations"


class Panel(NamedTuple):
    title: str
    unit: str
    targets: list  # pairs of an expression and the legend of its series
    meaning: str
    action: str
    kind: str = "timeseries"  # or stat, heatmap
    width: int = 8  # of 24 columns
    stack: bool = False
    words: dict = {}  # what a stat says in place of a number


class Page(NamedTuple):
    name: str
    title: str
    about: str
    panels: list


def quantiles(name, *shares, by=""):
    """Quantiles of a histogram."""
    legend = f"{{{{{by}}}}} p{{}}" if by else "p{}"
    labels = f"le, {by}" if by else "le"
    return [(f"histogram_quantile({share}, sum by ({labels}) (rate({name}_bucket[w])))",
             legend.format(round(100 * share))) for share in shares]


def rates(name, label):
    """The rate of a counter by the values of a label."""
    return [(f"sum by ({label}) (rate({name}[w]))", f"{{{{{label}}}}}")]


PROMPTS = "sum(rate(prefixd_prompt_tokens_total[w]))"
CACHED = f'1 - sum(rate(prefixd_prompt_tokens_total{{source="computed"}}[w])) / ({PROMPTS} > 0)'

OVERVIEW = [
    Panel("Ready", COUNT, [("min(prefixd_ready)", "ready")],
          "Whether all chosen instances accept new requests: the worst of them.",
          "Not ready: /ready of the instance names its state and the check that fails.",
          kind="stat", width=4, words={"0": "not ready", "1": "ready"}),
    Panel("Firing alerts", COUNT, [('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")],
          "Alerts of prefixd.rules.yml that fire now.",
          "docs/OPERATIONS.md has a section for each under \"Alerts\".", kind="stat", width=4),
    Panel("Version", COUNT, [("count by (version, revision) (prefixd_build_info)",
                                "{{version}} {{revision}}")],
          "Instances by the version and the commit that they run.",
          "More than one outside an upgrade: restart what was left behind.", kind="stat", width=4),
    Panel("Uptime", AGE, [("time() - max(process_start_time_seconds)", "youngest")],
          "Time since the last start among the chosen instances.",
          "Short without an upgrade: the end of the log of the instance says why it ended.",
          kind="stat", width=4),
    Panel("Cached share", SHARE, [
        ('1 - sum(increase(prefixd_prompt_tokens_total{source="computed"}[span]))'
         " / (sum(increase(prefixd_prompt_tokens_total[span])) > 0)", "cached")],
          "Share of prompt tokens whose KV was not computed, over the time shown.",
          "A share alone is no fault: see \"Misses by reason\" of the page Cache.", kind="stat", width=4),
    Panel("Time to first token, p95", SECONDS, [
        ("histogram_quantile(0.95, sum by (le) (increase(vllm:time_to_first_token_seconds_bucket[span])))",
         "p95")],
          "One request in twenty waited longer, over the time shown.",
          "See the page Requests: waiting, loading or computing.", kind="stat", width=4),
    Panel("Prompt tokens by source", TOKENS, rates("prefixd_prompt_tokens_total", "source"),
          "Where the KV of prompts came from. `shared`: another request was computing it.",
          "If `computed` grows and the sum does not, see \"Misses by reason\" of the page Cache.",
          stack=True),
    Panel("Generated tokens", TOKENS, [
        ("sum by (instance) (rate(vllm:generation_tokens_total[w]))", "{{instance}}")],
          "Tokens of answers per second and instance.",
          "Falls while requests run: compare the step time of the page Requests, and the clocks of the CPU "
          "or GPU."),
    Panel("Running and waiting requests", COUNT, [
        ("sum(vllm:num_requests_running)", "running"), ("sum(vllm:num_requests_waiting)", "waiting")],
          "Sequences that run, and those that wait for room.",
          "Waiting for long: more --max-sequences while blocks are free, else more --device-cache."),
    Panel("Time to first token", SECONDS,
          quantiles("vllm:time_to_first_token_seconds", 0.5, 0.95, 0.99),
          "From the arrival of a request to its first token.",
          "Slow: if the queue time is as long, see \"Running and waiting requests\"; if not, prompts are "
          "long or no longer found."),
    Panel("Finished requests", REQUESTS, rates("vllm:request_success_total", "finished_reason"),
          "Finished sequences by reason. `abort`: the client left.",
          "`error` above 0: the log names each failed request. Many `abort`: clients give up; see times."),
    Panel("KV blocks that requests hold", SHARE, [
        ("vllm:kv_cache_usage_perc", "{{instance}}")],
          "Share of the device cache that running requests hold.",
          "Near 100 % with preemptions: more --device-cache or fewer --max-sequences."),
    Panel("Seconds of prefill saved per second", COUNT, [
        ("sum by (instance) (rate(prefixd_prefill_seconds_saved_total[w]))", "{{instance}}")],
          "What the cache is worth: computing time that hits saved, per second.",
          "Size tiers by this, not by the share of hits."),
    Panel("CPU", COUNT, [("rate(process_cpu_seconds_total[w])", "{{instance}}")],
          "Processors that the daemon uses.",
          "At --threads while requests are slow: the machine is the limit. Below it while they are slow: "
          "others take the CPU, or the disk is waited for."),
    Panel("Resident memory", BYTES, [("process_resident_memory_bytes", "{{instance}}")],
          "Memory of the process. It stays below the memory plan of `prefixd validate`.",
          "Above the plan: report it with the log. Near what the machine has: a smaller --device-cache."),
]

CACHE = [
    Panel("Cached share", SHARE, [(CACHED, "cached")],
          "Share of prompt tokens whose KV was not computed.",
          "Falls: \"Misses by reason\" says why. Low from the start: it may be the traffic."),
    Panel("Misses by reason", SHARE, [
        (f"sum by (reason) (rate(prefixd_cache_miss_tokens_total[w])) / ignoring (reason) group_left () "
         f"({PROMPTS} > 0)", "{{reason}}")],
          "Share of prompt tokens that were computed, by the reason.",
          "`never_seen`, `other_tenant`: new prompts. `block_tail`: prompts end within a block; a smaller "
          "--block-tokens helps. `evicted_...`: that tier is too small. `template_diverged`: clients change "
          "earlier messages. `corrupt`: see the disk.", width=16, stack=True),
    Panel("Seconds of prefill saved per second", COUNT, [
        ("sum(rate(prefixd_prefill_seconds_saved_total[w]))", "saved")],
          "Computing time that hits saved, per second.",
          "Near 0 with a high cached share: hits are short; the cache buys little."),
    Panel("Median age at a hit and at eviction", SECONDS,
          [(f"histogram_quantile(0.5, sum by (le, tier) (rate(prefixd_block_age_at_{what}_seconds_bucket"
            "[w])))", f"{{{{tier}}}} at {said}")
           for what, said in (("hit", "a hit"), ("eviction", "eviction"))],
          "How long blocks had not been used when they were hit, and when they were evicted; of the disk, "
          "how long ago they were written.",
          "A tier is too small where its blocks are evicted at the age at which others are hit. Evicted far "
          "later: it merely turns over.", width=16),
    Panel("Device blocks by state", COUNT, [
        ('sum by (state) (prefixd_blocks{tier="device"})', "{{state}}")],
          "Blocks of the device cache; they sum to its capacity. `leased`: running requests hold them.",
          "`leased` without a request: see the alert PrefixdLeasesLeaked. Nothing `free` is normal.",
          stack=True),
    Panel("Evicted blocks", PER_SECOND, rates("prefixd_tier_evictions_total", "tier"),
          "Blocks evicted per second and tier.",
          "A fault only where `evicted_...` misses follow: then that tier is too small."),
    Panel("Preemptions", PER_SECOND, [
        ("sum(rate(vllm:num_preemptions_total[w]))", "preemptions")],
          "Requests that had to give their blocks back and are computed again.",
          "Above 0 for long: more --device-cache, or fewer --max-sequences."),
    Panel("Tokens computed again after a preemption", TOKENS, [
        ("sum(rate(prefixd_recomputed_tokens_total[w]))", "recomputed")],
          "Work that preemptions threw away.",
          "As for \"Preemptions\"."),
    Panel("Tokens that became reusable", TOKENS, rates("prefixd_cache_write_tokens_total", "part"),
          "Tokens of new blocks: of prompts, of answers, or again after an eviction.",
          "Much `again`: the device cache is too small for the requests that run."),
    Panel("Attention reads that sharing saved", BYTES_PER_SECOND, [
        ("sum(rate(prefixd_attention_read_bytes_total[w]))", "read"),
        ("sum(rate(prefixd_attention_saved_bytes_total[w]))", "saved")],
          "KV that attention read on the CPU, and that it did not read because one read served several "
          "sequences. With a GPU both are 0.",
          "`saved` near 0 with equal beginnings: requests do not run at the same time.", stack=True),
    Panel("Retention: use of its limit", SHARE, [
        ("sum by (tier) (prefixd_retained_bytes) / (sum by (tier) (prefixd_retained_bytes_limit) > 0)",
         "{{tier}}")],
          "What requests have asked to keep, as a share of what each tier may keep (--retained-share).",
          "At 1 for long: requests want more kept than there is room for; see what is refused."),
    Panel("Retention: tokens asked for", TOKENS, rates("prefixd_retention_tokens_total", "result"),
          "Tokens that requests asked to keep: `kept`, or `refused` beyond the limit.",
          "Much `refused`: a higher --retained-share, or shorter lifetimes.", stack=True),
    Panel("Retention: blocks not kept any more", PER_SECOND, rates("prefixd_retention_ended_total", "reason"),
          "Why blocks are not kept any more, in all tiers.",
          "`evicted`: running requests needed them; a lower --retained-share. `displaced`: tenants share the "
          "limit. `expired` is normal."),
    Panel("vLLM's hit share", SHARE, [
        ("sum(rate(vllm:prefix_cache_hits_total[w])) / (sum(rate(vllm:prefix_cache_queries_total[w])) > 0)",
         "hits")],
          "Share of prompt tokens that were found in the prefix cache, as vLLM counts it.",
          "For comparison with vLLM. Above the cached share: what was found was not loaded."),
    Panel("Tokens of further choices", TOKENS, rates("prefixd_repeated_prompt_tokens_total", "source"),
          "Prompt tokens of second and further choices of a prompt, which usage counts once.",
          "Explains a difference between usage and the counters; nothing to do."),
    Panel("Laws of the counters", COUNT, [
        ("sum by (instance) (prefixd_prompt_tokens_total) - sum by (instance) (vllm:prompt_tokens_total)",
         "prompts {{instance}}"),
        ('sum by (instance) (prefixd_cache_miss_tokens_total) - sum by (instance) '
         '(prefixd_prompt_tokens_total{source="computed"})', "misses {{instance}}")],
          "Two differences that are always 0: sources sum to prompts, reasons of misses to what was "
          "computed.",
          "Anything but 0 is a bug in prefixd: report it. The other panels cannot be trusted then."),
]

TIERS = [
    Panel("Fill", SHARE, [
        ("prefixd_tier_bytes / (prefixd_tier_capacity_bytes > 0)", "{{tier}} {{instance}}")],
          "Share of a tier's capacity that is used; of the disk, physical bytes. Absent without the tier.",
          "Full is normal. A large tier that stays empty: nothing is used twice, or it fails."),
    Panel("Capacity", BYTES, [("prefixd_tier_capacity_bytes", "{{tier}} {{instance}}")],
          "Bytes that each tier may take; 0 is a tier that is off.",
          "Other than configured: the log lines `limits` and `disk cache` say where it comes from."),
    Panel("Prompt tokens found, by tier", TOKENS, [
        ('sum by (source) (rate(prefixd_prompt_tokens_total{source!~"computed|shared"}[w]))', "{{source}}")],
          "Which tier answered.",
          "A tier that answers nothing for days costs memory or wear: turn it off.", stack=True),
    Panel("What other sizes of a tier would hit", SHARE, [
        ("sum by (tier, scale) (rate(prefixd_ghost_hit_tokens_total[w])) / ignoring (tier, scale) "
         "group_left () (sum(rate(vllm:prompt_tokens_total[w])) > 0)", "{{tier}} x{{scale}}")],
          "Estimated share of prompt tokens that a tier would hit by itself at these multiples of its size.",
          "x2 far above x1: a larger tier pays. x0.5 as high as x1: a smaller one does.", width=16),
    Panel("Hits of the device cache at its size", SHARE, [
        ('sum(rate(prefixd_prompt_tokens_total{source="device"}[w])) / '
         "(sum(rate(prefixd_prompt_tokens_total[w])) > 0)", "measured"),
        ('sum(rate(prefixd_ghost_hit_tokens_total{tier="device", scale="1"}[w])) / '
         "(sum(rate(prefixd_prompt_tokens_total[w])) > 0)", "estimated")],
          "The estimate beside what the device cache really hit, which it is measured against.",
          "Far apart for hours: do not trust the other estimates for this traffic."),
    Panel("Bytes read", BYTES_PER_SECOND, rates("prefixd_tier_read_bytes_total", "tier"),
          "KV that transfers read from each tier, as stored.",
          "Compare with \"Bytes written\"."),
    Panel("Bytes written", BYTES_PER_SECOND, rates("prefixd_tier_written_bytes_total", "tier"),
          "KV that transfers wrote to each tier, as stored; of the disk, once it is durable.",
          "Much for a disk that is hardly read: without --disk-write-through only what is used twice goes "
          "there."),
    Panel("Disk bytes written for each byte read", COUNT, [
        ('sum(increase(prefixd_tier_written_bytes_total{tier="disk"}[span]))'
         ' / (sum(increase(prefixd_tier_read_bytes_total{tier="disk"}[span])) > 0)', "written / read")],
          "Wear for use, over the time shown. Empty when nothing was read.",
          "Far above 1 over days: turn --disk-write-through off, or the tier.", kind="stat"),
    Panel("Decisions about hits in lower tiers", PER_SECOND, [
        ("sum by (tier, decision) (rate(prefixd_load_decisions_total[w]))", "{{tier}} {{decision}}")],
          "Whether hits were loaded, computed, or both from two ends. `overtaken` counts in addition: a load "
          "was late and part of it was computed.",
          "Mostly `recompute`: the tier is slower than the machine computes. Much `overtaken`: its speed "
          "changes; see \"Estimated rates\".", width=12),
    Panel("Estimated rates", BYTES_PER_SECOND, [
        ("prefixd_tier_bytes_per_second", "{{tier}} {{instance}}")],
          "What loads from each tier bring, by which decisions are made; 0 is not known yet.",
          "Far below what the disk can do: others use it, or it fails.", width=12),
    Panel("Time of a load", SECONDS, quantiles("prefixd_load_seconds", 0.5, 0.95),
          "How long the transfer of one block to the device cache takes.",
          "p95 far above p50: the disk has other users; hits there are computed instead."),
    Panel("Wait for the disk's workers", SECONDS, quantiles("prefixd_store_queue_seconds", 0.5, 0.95),
          "How long transfers from and to the disk waited before they began.",
          "Long: more is spilled or loaded than the disk brings."),
    Panel("Loads and spills by result", PER_SECOND, [
        ("sum by (result) (rate(prefixd_tier_loads_total[w]))", "load {{result}}"),
        ("sum by (result) (rate(prefixd_tier_spills_total[w]))", "spill {{result}}")],
          "Transfers of blocks between tiers.",
          "`failed`: see \"Tier errors\". `corrupt`: see \"Verify failures\". `missing`: the record had "
          "been evicted meanwhile."),
    Panel("Bytes that wait for the disk", BYTES, [
        ("prefixd_spill_pending_bytes", "{{instance}}")],
          "Decided for the disk and not durable yet.",
          "Grows for long: see the alert PrefixdSpillStuck."),
    Panel("Deferred spills", PER_SECOND, [
        ("sum(rate(prefixd_spills_deferred_total[w]))", "deferred")],
          "Blocks that were not to be written before no request computes, because writing costs more than "
          "the disk can save.",
          "Many on a daemon that is never at rest: the disk gets little. See \"What spills cost\"."),
    Panel("What spills cost, and what a disk can save", SHARE, [
        ("prefixd_spill_cost_ratio", "cost {{instance}}"),
        ("prefixd_spill_chance_ratio", "chance {{instance}}")],
          "Time for writing every block over the time of the steps, and the share of missing blocks that "
          "memory had lost before. Where the cost is above 1 % and above the chance, blocks are deferred.",
          "Nothing; it explains \"Deferred spills\"."),
    Panel("Tier errors", PER_SECOND, [
        ("sum by (tier, kind) (rate(prefixd_tier_errors_total[w]))", "{{tier}} {{kind}}")],
          "Transfers that failed; requests compute what they cannot load.",
          "See \"A disk that fails\" in docs/OPERATIONS.md. `full`: more room, or a smaller --disk-cache."),
    Panel("Verify failures", PER_SECOND, rates("prefixd_verify_failures_total", "kind"),
          "Blocks that were found and not used because a check failed. None was served.",
          "`fingerprint` follows a change of the model. Any other: `prefixd verify`, and look at the disk."),
    Panel("Bytes that eviction copied forward", BYTES_PER_SECOND, [
        ("sum(rate(prefixd_disk_rewritten_bytes_total[w]))", "rewritten")],
          "Live records of dropped segments that were written again: wear without use.",
          "Much beside \"Bytes written\": a larger --disk-cache."),
    Panel("Time of the engine for tiers", SHARE, [
        ("sum by (instance) (rate(prefixd_tier_engine_seconds_total[w]))", "{{instance}}")],
          "Share of the engine thread's time that transfers and decisions take.",
          "Above some per cent: report it with the traffic."),
    Panel("Blocks and records", COUNT, [
        ("sum by (tier, state) (prefixd_blocks)", "{{tier}} {{state}}")],
          "Blocks of each tier by state. Records of the disk count as cached.",
          "As for \"Fill\"."),
]

REQUESTS_PAGE = [
    Panel("Time to first token, all requests", SECONDS, [
        ("sum by (le) (increase(vllm:time_to_first_token_seconds_bucket[w]))", "{{le}}")],
          "How many requests took how long to their first token. Hits and misses make two humps; a quantile "
          "between them means nothing.",
          "A third hump above them: waiting or loading; see the panels beside.", kind="heatmap", width=12),
    Panel("Time to first token", SECONDS, quantiles("vllm:time_to_first_token_seconds", 0.5, 0.95, 0.99),
          "From arrival to the first token.",
          "Compare \"Time in the queue\" and \"Time of a step\".", width=12),
    Panel("Time between tokens", SECONDS, quantiles("vllm:inter_token_latency_seconds", 0.5, 0.95, 0.99),
          "From one token of an answer to the next.",
          "p99 far above p50: prompts are computed beside answers; a smaller --step-seconds shortens that."),
    Panel("Time in the queue", SECONDS, quantiles("vllm:request_queue_time_seconds", 0.5, 0.95),
          "From arrival until a request runs.",
          "Long: more --max-sequences while blocks are free, else more --device-cache."),
    Panel("Time of a whole request", SECONDS, quantiles("vllm:e2e_request_latency_seconds", 0.5, 0.95),
          "From arrival to the end. It grows with the length of answers.",
          "Slow at equal lengths: the panels before this one say where."),
    Panel("Prefill speed", TOKENS, [("prefixd_prefill_tokens_per_second", "{{instance}}")],
          "How fast prompts are computed beside what else runs, as the daemon estimates it.",
          "Falls at equal load: clocks, swap, or others on the machine."),
    Panel("Decode speed", TOKENS, [
        ("sum by (instance) (rate(vllm:generation_tokens_total[w]))", "{{instance}}")],
          "Generated tokens per second. Never add it to the prefill speed: one hides the other.",
          "Falls at equal load while prefill holds: memory bandwidth, swap, or many sequences."),
    Panel("Time of a step", SECONDS, quantiles("prefixd_step_seconds", 0.5, 0.95),
          "Duration of an engine step.",
          "Above --step-seconds: answers stutter; lower it, or --step-tokens."),
    Panel("Requests in the engine", COUNT, [
        ("vllm:num_requests_running", "running {{instance}}"),
        ("vllm:num_requests_waiting", "waiting {{instance}}")],
          "Sequences by instance.",
          "One instance waits while others rest: balance by prefix and load, not by connection."),
    Panel("Finished requests", REQUESTS, rates("vllm:request_success_total", "finished_reason"),
          "Finished sequences by reason.",
          "`error`: the log has the request. `length`: max_tokens cut the answer."),
    Panel("Prompt tokens", TOKENS, [
        ("sum by (instance) (rate(vllm:prompt_tokens_total[w]))", "{{instance}}")],
          "Prompt tokens per second, computed or not.",
          "Nothing; it is the load."),
    Panel("Tokens of unanswered requests", TOKENS, rates("prefixd_unanswered_tokens_total", "kind"),
          "Work for requests that ended without an answer: the client left, or there was an error.",
          "Much: clients have a shorter time limit than answers need."),
    Panel("Tokens computed after the end", TOKENS, [
        ("sum(rate(prefixd_discarded_tokens_total[w]))", "discarded")],
          "Tokens of steps that were in flight when an answer ended.",
          "About one for each request is normal."),
    Panel("Failed steps", PER_SECOND, [("sum(rate(prefixd_failed_steps_total[w]))", "failed")],
          "Steps of the backend that ended with an error; their requests failed.",
          "Above 0: the log has the reason; three in a row and the device has failed."),
    Panel("Bytes of requests and answers", BYTES, [
        ("prefixd_inflight_bytes", "used {{instance}}"),
        ("prefixd_inflight_limit_bytes", "limit {{instance}}")],
          "Memory of all requests and answers; 0 at rest.",
          "Near the limit: requests are answered 503. A larger --max-inflight, or slower clients."),
    Panel("Bytes to explain requests", BYTES, [
        ("prefixd_remembered_request_bytes", "{{instance}}")],
          "Hashes of recent requests, by which /v1/cache/explain says what changed.",
          "Nothing: a fixed limit bounds it, and the oldest requests are forgotten first."),
    Panel("Refused for want of memory", PER_SECOND, [
        ("sum(rate(prefixd_inflight_refusals_total[w]))", "refused"),
        ("sum(rate(prefixd_slow_readers_total[w]))", "slow readers")],
          "Requests and answers that found no room below --max-inflight, and clients that did not read.",
          "Above 0 for long: a larger --max-inflight; look at the clients that are slow."),
    Panel("Requests with a format", REQUESTS, [
        ("sum(rate(prefixd_format_requests_total[w]))", "with a format"),
        ("sum(rate(prefixd_forced_tokens_total[w]))", "tokens without a step"),
        ("sum(rate(prefixd_refused_tokens_total[w]))", "tokens drawn again"),
        ("sum(rate(prefixd_ignored_schema_keywords_total[w]))", "ignored keywords"),
        ("sum(rate(prefixd_skipped_tools_total[w]))", "skipped tools")],
          "Requests whose answers follow a schema, regex or grammar, tokens that those left no choice about, "
          "tokens that were drawn again because a prompt would have other ones for the text, keywords of "
          "schemas that were ignored, and tools that were left out because they are no functions.",
          "Ignored keywords: answers may break the schema; clients should set `strict`."),
    Panel("Steps given ahead, and time to draw", COUNT, [
        ("sum(rate(prefixd_steps_ahead_total[w]))", "steps ahead per second"),
        ("sum(rate(prefixd_draw_cpu_seconds_total[w]))", "processors that draw")],
          "Steps that began before the tokens of the one before had come back, and CPU time for drawing "
          "tokens.",
          "Much drawing: requests ask for many log probabilities."),
    Panel("Open files", COUNT, [
        ("process_open_fds", "open {{instance}}"), ("process_max_fds", "limit {{instance}}")],
          "File descriptors of the process; each connection takes one.",
          "Near the limit: a larger LimitNOFILE, or fewer --max-connections."),
]

PAGES = [
    Page("overview", "prefixd: Overview", "Is it well, and what does the cache save?", OVERVIEW),
    Page("cache", "prefixd: Cache", "Why prompts hit or miss, and what that is worth.", CACHE),
    Page("tiers", "prefixd: Tiers", "Device, host and disk: what they hold, read, write and lose.", TIERS),
    Page("requests", "prefixd: Requests", "Where the time of requests goes.", REQUESTS_PAGE),
]
