#include "daemon/admin/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "daemon/admin/live_text.h"

namespace prefixd {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

constexpr Moment kNow{.seconds = 1000, .unix_seconds = 1'700'000'000};

RequestTrace Missed(MissReason reason) {
  RequestTrace trace{.name = "req_1", .id = 7, .root = {1, 2}, .prompt_tokens = 100, .generated_tokens = 5};
  trace.usage.tokens = {60, 40, 0, 0, 0};
  trace.miss_tokens[static_cast<size_t>(reason)] = 60;
  trace.first_miss = {{.token = 40, .key = {3, 4}}, reason};
  trace.times = {.submitted = 980, .scheduled = 981, .finished = 990, .first_token = 985};
  return trace;
}

std::string Explained(const RequestTrace& trace) { return ExplainMiss(trace, 16); }

TEST(Documents, EveryReasonIsExplained) {
  std::set<std::string> texts;
  for (int i = 0; i < kMissReasons; ++i) {
    const std::string text = Explained(Missed(static_cast<MissReason>(i)));
    EXPECT_THAT(text, HasSubstr("leaves the cache at token 40, in block 2; "));
    EXPECT_THAT(text, HasSubstr("60 of 100 tokens were computed. "));
    EXPECT_TRUE(text.ends_with(".")) << text;
    EXPECT_TRUE(texts.insert(text).second) << "two reasons have one text: " << text;
  }
}

TEST(Documents, AnEvictedBlockHasTheTimeAndTheTier) {
  RequestTrace trace = Missed(MissReason::kEvictedDevice);
  trace.first_miss->place.lost = 969;
  EXPECT_THAT(Explained(trace),
              HasSubstr("The device cache evicted the block 12 s before the request began"));
  trace = Missed(MissReason::kLoadSlower);
  trace.first_miss->place.resides = {false, true, true};
  EXPECT_THAT(Explained(trace), HasSubstr("The block is in host memory"));
  trace.first_miss->place.resides = {false, false, true};
  EXPECT_THAT(Explained(trace), HasSubstr("The block is in the disk"));
  trace.first_miss.reset();
  EXPECT_EQ(Explained(trace), "It computed no token of its prompt.");
}

TEST(Documents, ARequestHasItsFigures) {
  RequestTrace traces[] = {Missed(MissReason::kNeverSeen)};
  traces[0].usage.load_wait_seconds = {0, 0.5, 0.25};
  const json::object document = RequestsDocument(traces, 16, kNow);
  EXPECT_EQ(document.at("schema"), json::value(kAdminSchema));
  const json::value& request = document.at("requests").at(0);
  EXPECT_EQ(request.at("sources"), json::parse(R"({"computed":60,"device":40})"));
  EXPECT_EQ(request.at("miss_tokens"), json::parse(R"({"never_seen":60})"));
  EXPECT_EQ(request.at("load_wait_seconds"), json::value(0.75));
  EXPECT_EQ(request.at("load_waits"), json::parse(R"({"host":0.5,"disk":0.25})"));
  EXPECT_EQ(request.at("finished").as_double(), 1'699'999'990);
  EXPECT_EQ(request.at("queue_seconds").as_double(), 1);
  EXPECT_EQ(request.at("ttft_seconds").as_double(), 5);
  EXPECT_EQ(request.at("first_miss").at("block"), json::value(2));
  EXPECT_TRUE(request.at("first_miss").at("lost").is_null()) << "it is not known";
  const std::string text = RequestAsText(document);
  EXPECT_THAT(text, HasSubstr("req_1, ended 2023-11-14 22:13:10 UTC (stop)"));
  EXPECT_THAT(text, HasSubstr("100 tokens: computed 60, device 40"));
  EXPECT_THAT(text, testing::ContainsRegex("load .* \\(host .*, disk .*\\), first token"));
  EXPECT_THAT(RequestsAsText(document), HasSubstr("40/100"));
}

json::object Status(const EngineStats& engine, const DiskTierStats& disk,
                    const RemoteTierStats& remote = {}) {
  const json::object ready = {{"ready", true}, {"state", "serving"}, {"checks", {{"device", "ok"}}}};
  AdminFacts facts{.version = "1", .revision = "r", .model = "m", .backend = "ref", .threads = 2};
  facts.started = kNow.unix_seconds - 200;
  facts.config = {{"threads", "2"}};
  facts.engine = engine;
  facts.disk = disk;
  facts.remote = remote;
  PrefixTable table{.asked = 999, .nodes = 9, .prefixes = 1};
  table.rows = {{.key = {1, 2}, .root = {3, 4}, .tokens = 32, .hits = 5, .resides = {true, false, true}}};
  const PastRates past = {.until = 990, .rates = {.decode_tokens_per_second = 5}};
  return StatusDocument(facts, ready, {}, {&past, 1}, table, kNow);
}

TEST(Documents, TiersAddUpAndThoseThatAreOffAreAbsent) {
  EngineStats engine;
  engine.block_bytes = 1000;
  engine.blocks[0] = {.free = 5, .cached = 3, .leased = 2};
  const json::object status = Status(engine, {});
  const json::object& tiers = status.at("tiers").as_object();
  ASSERT_EQ(tiers.size(), 1u);
  const json::value& device = tiers.at("device");
  EXPECT_EQ(device.at("capacity_blocks"), json::value(10));
  EXPECT_EQ(device.at("cached_bytes"), json::value(3000));
  EXPECT_EQ(status.at("uptime_seconds"), json::value(200));
  EXPECT_TRUE(status.at("rates").at("cached_share").is_null());
  EXPECT_EQ(status.at("history").at("until"), json::array{static_cast<double>(kNow.unix_seconds) - 10});
  EXPECT_EQ(status.at("history").at("decode_tokens_per_second"), json::array{5.0});
  EXPECT_EQ(status.at("history").at("cached_share"), json::array{nullptr});

  DiskTierStats disk{.on = true, .bytes = 700, .capacity = 5000};
  disk.store.records = 4;
  disk.store.pending_bytes = 11;
  engine.pending_disk_blocks = 2;
  engine.blocks[1] = {.free = 1};
  const json::object all = Status(engine, disk);
  EXPECT_EQ(all.at("tiers").as_object().size(), 3u);
  EXPECT_EQ(all.at("tiers").at("disk").at("spill_pending_bytes"), json::value(2011));
  EXPECT_EQ(all.at("tiers").at("disk").at("free_bytes"), json::value(4300));
  const auto remote = [&](uint64_t capacity) {
    const json::object with = Status(engine, disk, {.on = true, .bytes = 30, .capacity = capacity});
    EXPECT_THAT(StatusAsText(with, false), HasSubstr("remote "));
    return with.at("tiers").at("remote");
  };
  EXPECT_EQ(remote(100), json::parse(R"({"cached_bytes":30,"capacity_bytes":100,"free_bytes":70})"));
  EXPECT_EQ(remote(0), json::parse(R"({"cached_bytes":30})")) << "its server has no limit";
}

TEST(Documents, PrefixesAreATreeAndSayWhatIsHeldBack) {
  PrefixTable table{.asked = 999, .nodes = 90, .prefixes = 7};
  table.rows = {{.key = {1, 2}, .root = {3, 4}, .tokens = 32, .hits = 5, .own_blocks = 2},
                {.key = {5, 6}, .root = {3, 4}, .tokens = 64, .hits = 2, .parent = 0, .own_blocks = 2}};
  table.rows[1].own_blocks_in = {1, 0, 2};
  table.rest_of_others = 3;
  const json::object document = PrefixesDocument(table, AdminFacts{.model = "m", .block_tokens = 16}, kNow);
  const json::value& rows = document.at("rows");
  EXPECT_TRUE(rows.at(0).at("parent").is_null());
  EXPECT_EQ(rows.at(1).at("parent"), json::value(0));
  EXPECT_EQ(rows.at(1).at("own_tokens"), json::value(32));
  EXPECT_EQ(rows.at(1).at("own_blocks"),
            json::value({{"device", 1}, {"host", 0}, {"disk", 2}, {"remote", 0}}));
  EXPECT_EQ(
      document.at("held_back"),
      (json::object{{"prefixes", 5}, {"nodes", 86}, {"tenants", json::object()}, {"other_tenants", 3}}));
  EXPECT_TRUE(PrefixesDocument(std::nullopt, AdminFacts{.block_tokens = 16}, kNow).at("at").is_null())
      << "nobody has looked";
}

TEST(Documents, MissesHaveEveryReasonAndEveryTierThatIsThere) {
  AdminFacts facts;
  facts.engine.prompt_tokens = {70, 30, 0, 0, 0};
  facts.engine.miss_tokens[static_cast<size_t>(MissReason::kEvictedDevice)] = 70;
  facts.engine.blocks[0] = {.free = 4};
  facts.engine.block_bytes = 100;
  facts.engine.ghost_hit_tokens[0] = {10, 20, 30, 40};
  PastRates past{.until = 990};
  past.rates.miss_tokens[static_cast<size_t>(MissReason::kEvictedDevice)] = 7;
  const json::object document = MissesDocument(facts, {&past, 1}, kNow);
  EXPECT_EQ(document.at("sources").at("device"), json::value(30));
  EXPECT_EQ(document.at("miss_tokens").as_object().size(), static_cast<size_t>(kMissReasons));
  EXPECT_EQ(document.at("miss_tokens").at("evicted_device"), json::value(70));
  EXPECT_EQ(document.at("miss_tokens").at("never_seen"), json::value(0));
  EXPECT_EQ(document.at("history").at("miss_tokens").at("evicted_device"), json::array{7u});
  ASSERT_EQ(document.at("what_if").as_object().size(), 1u) << "there is no lower tier";
  const json::value& device = document.at("what_if").at("device");
  EXPECT_EQ(device.at("capacity_bytes"), json::value(400));
  EXPECT_EQ(device.at("scales").at(3).at("scale"), json::value(4.0));
  EXPECT_EQ(device.at("scales").at(3).at("hit_tokens"), json::value(40));
}

TEST(Documents, TheStatusAsTextHasColorsOnlyWhenAsked) {
  const json::object status = Status({}, {.on = true, .bytes = 5, .capacity = 10});
  const std::string plain = StatusAsText(status, false);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  EXPECT_THAT(plain, HasSubstr("serving: device ok\n"));
  EXPECT_THAT(plain, HasSubstr("options: threads=2"));
  EXPECT_THAT(plain, HasSubstr("device+disk"));
  EXPECT_THAT(StatusAsText(status, true), HasSubstr("\x1b[32mserving\x1b[0m"));
}

}  // namespace
}  // namespace prefixd
