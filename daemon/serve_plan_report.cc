#include "daemon/serve_plan_report.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <iomanip>
#include <sstream>
#include <vector>

#include "base/bytes.h"
#include "base/utf8.h"
#include "model/safetensors.h"

namespace prefixd {
namespace {

namespace json = boost::json;

struct Fact {
  std::string name;  // "chat template"
  std::string text;
  json::value value;
};
using Facts = std::vector<Fact>;

std::string Number(int64_t number) { return std::to_string(number); }

std::string Rounded(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Fact Architecture(const ModelConfig& c) {
  return {"architecture",
          c.model_type + ": " + Number(c.layers) + " layers, hidden " + Number(c.hidden) + ", feed-forward " +
              Number(c.intermediate) + ", " + Number(c.heads) + " heads on " + Number(c.kv_heads) +
              " of keys and values, " + Number(c.head_dim) + " wide; vocabulary " + Number(c.vocab),
          json::object{{"family", c.model_type},
                       {"layers", c.layers},
                       {"hidden", c.hidden},
                       {"intermediate", c.intermediate},
                       {"heads", c.heads},
                       {"kv_heads", c.kv_heads},
                       {"head_dim", c.head_dim},
                       {"vocabulary", c.vocab},
                       {"canonical", CanonicalArchitecture(c)}}};
}

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// How matrices are kept in memory, where that is not what the names of the types in the files say.
std::string InMemory(const ModelSummary& model) {
  const WeightFormat most = model.formats.front();
  const std::string size = FormatSize(model.packed_bytes), format(most.name());
  if (model.quantization) return "; quantised to " + format + ": " + size;
  const auto plain = [](const auto& entry) {
    return std::ranges::any_of(kDTypes, [&](DType t) { return entry.first == SafetensorsName(t); });
  };
  if (std::ranges::all_of(model.bytes_of_dtypes, plain)) return "";
  return std::string("; in memory ") + (most.quantized() ? "as they are" : "widened") + ", most numbers as " +
         format + ": " + size;
}

Fact Weights(const ModelSummary& model) {
  std::vector<std::string> words;
  json::object dtypes;
  for (const auto& [dtype, bytes] : model.bytes_of_dtypes) {
    words.push_back(dtype + " " + FormatSize(bytes));
    dtypes[dtype] = bytes;
  }
  const bool dummy = model.weights == WeightSource::kDummy;
  return {"weights",
          FormatSize(model.weight_bytes) +
              (dummy ? " of dummies, made from config.json: " : " in the files: ") + Joined(words) +
              InMemory(model),
          json::object{{"bytes", model.weight_bytes},
                       {"dtypes", std::move(dtypes)},
                       {"dummy", dummy},
                       {"format", std::string(model.formats.front().name())},
                       {"quantize", model.quantization ? std::string(model.quantization->name()) : "none"}}};
}

Fact TokenizerOf(const TokenizerSummary& tokenizer) {
  json::array prefix;
  for (const std::string& token : tokenizer.prefix) prefix.emplace_back(token);
  const auto named = [](const std::string& token) { return token.empty() ? "none" : token; };
  return {"tokenizer",
          tokenizer.kind + ", " + Number(tokenizer.vocab_size) + " ids; BOS " + named(tokenizer.bos) +
              ", EOS " + named(tokenizer.eos) +
              "; in front of a text: " + (tokenizer.prefix.empty() ? "nothing" : Joined(tokenizer.prefix)),
          json::object{{"kind", tokenizer.kind},
                       {"vocabulary", tokenizer.vocab_size},
                       {"bos", tokenizer.bos},
                       {"eos", tokenizer.eos},
                       {"prefix", std::move(prefix)}}};
}

// Where each special token came from, and what the files of the tokenizer contradict each other about.
void AddSpecialTokens(const TokenizerSummary& tokenizer, Facts* facts) {
  std::vector<std::string> words;
  json::array names;
  for (const NamedToken& token : tokenizer.named) {
    words.push_back(token.name + " " + token.text + " from " + token.from);
    names.emplace_back(json::object{{"name", token.name}, {"text", token.text}, {"from", token.from}});
  }
  facts->push_back({"special tokens", words.empty() ? "none" : Joined(words), std::move(names)});
  json::array sentences;
  std::string text;
  for (const std::string& sentence : tokenizer.contradictions) {
    sentences.emplace_back(sentence);
    text += (text.empty() ? "" : "; ") + sentence;
  }
  facts->push_back({"tokenizer files", text.empty() ? "agree" : text, std::move(sentences)});
}

// Roles whose text does not reach the prompt as the string that it is in the request.
void AddContent(const ChatTemplate::Caps& caps, std::vector<std::string>* said, json::object* value) {
  static constexpr const char* kRoles[] = {"system", "user", "assistant", "tool"};
  static constexpr const char* kForms[] = {"text", "text or list", "list", "dropped"};
  json::object forms;
  std::vector<std::string> listed, dropped;
  for (size_t i = 0; i < std::size(kRoles); ++i) {
    const ChatTemplate::Content form = caps.content[i];
    forms[kRoles[i]] = kForms[static_cast<size_t>(form)];
    if (form == ChatTemplate::Content::kList) listed.emplace_back(kRoles[i]);
    if (form == ChatTemplate::Content::kDropped) dropped.emplace_back(kRoles[i]);
  }
  if (!listed.empty()) {
    said->push_back("it drops content that is a string in messages of the roles " + Joined(listed) +
                    ", so that it gets a list of parts there");
  }
  if (!dropped.empty()) said->push_back("it drops the text of messages of the roles " + Joined(dropped));
  (*value)["content"] = std::move(forms);
}

// The capabilities of a template in words. The top of chat_template.h states the rules that follow from them.
Fact TemplateOf(const std::optional<TemplateSummary>& chat) {
  if (!chat) return {"chat template", "none: chat requests are rejected", nullptr};
  const ChatTemplate::Caps& caps = chat->caps;
  struct Word {
    const char* key;
    bool holds;
    const char* if_so;
    const char* if_not;
  };
  const Word words[] = {
      {"supports_system_role", caps.supports_system_role, "system role",
       "no system role: its text goes in front of the first user message"},
      {"knows_developer_role", caps.knows_developer_role, "developer role", ""},
      {"supports_tools", caps.supports_tools, "tools", "no tools"},
      {"supports_tool_calls", caps.supports_tool_calls, "tool calls", ""},
      {"needs_object_arguments", caps.needs_object_arguments, "tool arguments as objects", ""},
      {"accepts_content_lists", caps.accepts_content_lists, "lists of content parts", ""},
      {"supports_parallel_tool_calls", caps.supports_parallel_tool_calls, "parallel tool calls", ""},
      {"requires_non_null_content", caps.requires_non_null_content, "content that is not null", ""},
      {"emits_bos", caps.emits_bos, "BOS written by itself", ""},
      {"shows_date", caps.shows_date, "the date, so that a prompt's prefix changes daily", ""},
  };
  std::vector<std::string> said;
  json::object value{{"from", chat->place}};
  for (const Word& word : words) {
    value[word.key] = word.holds;
    if (const char* text = word.holds ? word.if_so : word.if_not; *text != '\0') said.emplace_back(text);
  }
  AddContent(caps, &said, &value);
  json::array rewrites;
  for (const std::string& rewrite : chat->rewrites) rewrites.emplace_back(rewrite);
  value["append_only"] = rewrites.empty();
  value["rewrites"] = std::move(rewrites);
  return {"chat template",
          chat->place + ": " + Joined(said) + "; " +
              (chat->rewrites.empty() ? "append-only" : "not append-only: " + Joined(chat->rewrites)),
          std::move(value)};
}

// The sum, then a line for each part, the largest first.
Fact Memory(std::string name, MemoryPlan parts, const MemoryState& state) {
  const uint64_t sum = SumOf(parts);
  json::object value{{"plan_bytes", sum}, {"available_bytes", state.available}, {"total_bytes", state.total}};
  for (const MemoryPart& part : parts) value[part.key] = part.bytes;
  std::ranges::stable_sort(parts, std::ranges::greater(), &MemoryPart::bytes);
  std::string text = "at most " + FormatSize(sum) + " of " + FormatSize(state.available) + " free, " +
                     FormatSize(state.total) + " in total:";
  for (const MemoryPart& part : parts)
    text += "\n" + FormatSize(part.bytes) + " " + part.name + ": " + part.note;
  return {std::move(name), std::move(text), std::move(value)};
}

// The memory of the host, and that of the device, where there is one.
void AddMemory(const ServePlan& plan, Facts* facts) {
  const std::optional<DeviceInfo>& device = plan.device_info;
  if (device) {
    facts->push_back(
        {"device", Number(plan.cuda.device) + ": " + device->name + ", " + device->versions,
         json::object{{"number", plan.cuda.device}, {"name", device->name}, {"versions", device->versions}}});
    facts->push_back(Memory("device memory", PartsOf(plan.limits.memory, /*of_backend=*/true),
                            {device->free_bytes, device->bytes}));
  }
  facts->push_back(Memory("memory",
                          device ? PartsOf(plan.limits.memory, /*of_backend=*/false) : plan.limits.memory,
                          plan.memory));
}

// How many tokens each tier holds.
Fact CachedTokens(const ServePlan& plan) {
  const EngineLimits& limits = plan.limits;
  const DiskPlan& disk = plan.tiers.disk;
  const int64_t device = static_cast<int64_t>(limits.blocks) * limits.block_tokens;
  const int64_t host = static_cast<int64_t>(plan.tiers.host_blocks) * limits.block_tokens;
  // Without compression, and without the overhead of the store.
  const auto on_disk = static_cast<int64_t>(disk.capacity / limits.kv_bytes_per_token);
  return {"cached tokens",
          "device " + Number(device) + ", host " + (host > 0 ? Number(host) : "off") + ", disk " +
              (disk.on ? "about " + Number(on_disk) : "off"),
          json::object{{"device", device}, {"host", host}, {"disk", on_disk}}};
}

Fact DiskCache(const TierPlan& tiers) {
  const DiskPlan& disk = tiers.disk;
  if (!disk.on) return {"disk cache", "off", nullptr};
  const std::string compression(PayloadCodecName(disk.codec.codec));
  return {"disk cache",
          FormatSize(disk.capacity) + " in " + disk.dir + " (" + disk.capacity_source + "), payloads " +
              compression + (disk.write_through ? ", all blocks" : ", blocks that are used twice") +
              "; loads: " + std::string(LoadPolicyName(tiers.load_policy)),
          json::object{{"directory", disk.dir},
                       {"capacity_bytes", disk.capacity},
                       {"source", disk.capacity_source},
                       {"codec", compression},
                       {"write_through", disk.write_through},
                       {"max_age_seconds", disk.max_age_seconds},
                       {"load_policy", LoadPolicyName(tiers.load_policy)}}};
}

void AddRates(const ServePlan& plan, const ProbedRates& rates, Facts* facts) {
  const double prefill = rates.PrefillTokensPerSecond(plan.model.parameters);
  const double context = plan.limits.context;
  const double compute = context / prefill;
  const double copy = context * static_cast<double>(plan.limits.kv_bytes_per_token) / rates.copy_bytes;
  facts->push_back({"prefill",
                    "about " + Rounded(prefill, prefill < 10 ? 1 : 0) + " tokens/s (probed: " +
                        Rounded(rates.flops / 1e9, 1) + " GFLOP/s, without attention)",
                    json::object{{"tokens_per_second", prefill}, {"flops_per_second", rates.flops}}});
  facts->push_back({"reuse",
                    "a context of " + Number(plan.limits.context) + " tokens: computing it about " +
                        Rounded(compute, 3) + " s, copying its KV from host RAM about " + Rounded(copy, 3) +
                        " s (probed: " + FormatSize(static_cast<uint64_t>(rates.copy_bytes)) + "/s)",
                    json::object{{"context", plan.limits.context},
                                 {"compute_seconds", compute},
                                 {"host_copy_seconds", copy},
                                 {"host_copy_bytes_per_second", rates.copy_bytes}}});
}

void AddLimits(const ServePlan& plan, Facts* facts) {
  const EngineLimits& limits = plan.limits;
  const auto add = [&](const char* name, std::string text, json::value value) {
    facts->push_back({name, std::move(text), std::move(value)});
  };
  add("kv bytes per token",
      Number(static_cast<int64_t>(limits.kv_bytes_per_token)) + " in " + std::string(plan.kv_dtype.name()),
      limits.kv_bytes_per_token);
  add("device cache bytes",
      FormatSize(limits.device_cache_bytes) + ": " + Number(limits.blocks) + " blocks of " +
          Number(limits.block_tokens) + " tokens, " +
          Number(static_cast<int64_t>(limits.blocks) * limits.block_tokens) + " tokens in total",
      limits.device_cache_bytes);
  add("context",
      Number(limits.context) + " tokens; the model supports " + Number(plan.model.config.max_positions) +
          ", the device cache holds up to " + Number(limits.longest_context),
      limits.context);
  add("sequences that fit",
      Number(limits.sequences_that_fit) + " of " + Number(limits.context) + " tokens at the same time",
      limits.sequences_that_fit);
  add("max sequences",
      Number(limits.max_sequences) + " run at the same time, if they are shorter or share a prefix",
      limits.max_sequences);
  add("step tokens", Number(limits.step_tokens), limits.step_tokens);
  add("step seconds", Rounded(limits.step_seconds, 3), limits.step_seconds);
  add("max queue", Number(limits.max_queue), limits.max_queue);
  add("max tokens in flight", Number(limits.max_tokens) + " of prompts that wait or run", limits.max_tokens);
}

Facts FactsOf(const ServePlan& plan, const ProbedRates& rates) {
  const ModelSummary& model = plan.model;
  Facts facts;
  facts.push_back({"model", plan.served_name, json::value(plan.served_name)});
  facts.push_back(Architecture(model.config));
  facts.push_back({"parameters", Number(model.parameters), model.parameters});
  for (const auto& [name, text] : DescribeConfig(model.config))
    facts.push_back({name, text, json::value(text)});
  facts.push_back(Weights(model));
  facts.push_back(TokenizerOf(model.tokenizer));
  AddSpecialTokens(model.tokenizer, &facts);
  facts.push_back(TemplateOf(model.chat_template));
  facts.push_back({"backend", plan.backend, json::value(plan.backend)});
  if (const std::optional<Bf16Products>& products = plan.bf16_products; products) {
    facts.push_back({"bf16 products", "by " + products->by + " (" + products->reason + ")",
                     json::object{{"by", products->by}, {"reason", products->reason}}});
  }
  facts.push_back({"threads", Number(plan.threads.count) + ", from the " + plan.threads.source,
                   json::object{{"count", plan.threads.count}, {"source", plan.threads.source}}});
  facts.push_back({"kv dtype", std::string(plan.kv_dtype.name()), json::value(plan.kv_dtype.name())});
  AddMemory(plan, &facts);
  AddLimits(plan, &facts);
  facts.push_back(CachedTokens(plan));
  facts.push_back(DiskCache(plan.tiers));
  AddRates(plan, rates, &facts);
  facts.push_back({"api keys",
                   plan.api_keys.empty() ? "none: no key is required"
                                         : Number(static_cast<int64_t>(plan.api_keys.size())),
                   plan.api_keys.size()});
  return facts;
}

}  // namespace

std::string ServePlanAsText(const ServePlan& plan, const ProbedRates& rates) {
  const Facts facts = FactsOf(plan, rates);
  size_t widest = 0;
  for (const Fact& fact : facts) widest = std::max(widest, fact.name.size());
  std::string text;
  for (const Fact& fact : facts) {
    text += fact.name + ":" + std::string(widest + 1 - fact.name.size(), ' ');
    for (const char c : RepairUtf8(fact.text)) {
      text += c;
      if (c == '\n') text += std::string(widest + 4, ' ');
    }
    text += "\n";
  }
  return text;
}

std::string ServePlanAsJson(const ServePlan& plan, const ProbedRates& rates) {
  json::object document{{"schema", 1}, {"ok", true}};
  for (Fact& fact : FactsOf(plan, rates)) {
    std::ranges::replace(fact.name, ' ', '_');
    document[fact.name] = std::move(fact.value);
  }
  document["blocks"] = plan.limits.blocks;
  document["block_tokens"] = plan.limits.block_tokens;
  document["context_that_fits"] = plan.limits.longest_context;
  document["max_positions"] = plan.model.config.max_positions;
  json::array warnings;
  for (const std::string& warning : plan.limits.warnings) warnings.emplace_back(warning);
  document["warnings"] = std::move(warnings);
  return json::serialize(document);
}

}  // namespace prefixd
