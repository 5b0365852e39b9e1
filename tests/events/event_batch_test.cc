// The bytes of every event. They are those that vLLM 0.32 writes for the same values (msgspec.msgpack of its
// structs KVEventBatch, BlockStored, BlockRemoved and AllBlocksCleared).
#include "events/event_batch.h"

#include <gtest/gtest.h>

#include "tests/events/hex.h"

namespace prefixd {
namespace {

using testing_support::Hex;

constexpr BlockKey kRoot{.low = 1, .high = 2};

std::string Text(std::string_view text) {
  return Hex(std::string(1, static_cast<char>(0xa0 | text.size()))) + Hex(text);
}

const std::string kBegin = "93cb3ff800000000000091";  // [1.5, [one event
const std::string kEnd = "00";

TEST(EventBatch, AStoredBlock) {
  const BlockIndex::Entry entry{{.low = 0x0102030405060708, .high = 9},
                                {.parent = kRoot, .root = kRoot, .tokens = {1, 2, 300, 70000}}};
  const BlockIndex::Entry* run[] = {&entry};
  EventBatch batch;
  batch.AddStored(run, Tier::kDevice, kRoot);
  EXPECT_EQ(batch.events(), 1u);
  EXPECT_EQ(Hex(batch.Finish(1.5)),
            kBegin + "88" + Text("type") + Text("BlockStored") +      //
                Text("block_hashes") + "91cf0102030405060708" +       //
                Text("parent_block_hash") + "c0" +                    //
                Text("token_ids") + "940102cd012cce00011170" +        //
                Text("block_size") + "04" + Text("lora_id") + "c0" +  //
                Text("medium") + Text("GPU") + Text("lora_name") + "c0" + kEnd);
  EXPECT_EQ(batch.events(), 0u);
}

TEST(EventBatch, ARunAfterAParentInEachMedium) {
  const BlockIndex::Entry a{{.low = 7}, {.parent = {.low = 5}, .root = kRoot, .tokens = {1, 2}}};
  const BlockIndex::Entry b{{.low = 8}, {.parent = {.low = 7}, .root = kRoot, .tokens = {3, 4}}};
  const BlockIndex::Entry* run[] = {&a, &b};
  for (const auto& [tier, medium] :
       {std::pair(Tier::kDevice, "GPU"), {Tier::kHost, "CPU"}, {Tier::kDisk, "DISK"}}) {
    EventBatch batch;
    batch.AddStored(run, tier, kRoot);
    EXPECT_EQ(Hex(batch.Finish(1.5)), kBegin + "88" + Text("type") + Text("BlockStored") +
                                          Text("block_hashes") + "920708" + Text("parent_block_hash") + "05" +
                                          Text("token_ids") + "9401020304" + Text("block_size") + "02" +
                                          Text("lora_id") + "c0" + Text("medium") + Text(medium) +
                                          Text("lora_name") + "c0" + kEnd);
  }
}

// Only the first block of a namespace of its own has an extra key.
TEST(EventBatch, ANamespaceIsAnExtraKeyOfTheFirstBlock) {
  const BlockKey other{.low = 3, .high = 4};
  const BlockIndex::Entry a{{.low = 7}, {.parent = other, .root = other, .tokens = {1, 2}}};
  const BlockIndex::Entry b{{.low = 8}, {.parent = {.low = 7}, .root = other, .tokens = {3, 4}}};
  const BlockIndex::Entry* run[] = {&a, &b};
  EventBatch batch;
  batch.AddStored(run, Tier::kHost, kRoot);
  EXPECT_EQ(Hex(batch.Finish(1.5)),
            kBegin + "89" + Text("type") + Text("BlockStored") + Text("block_hashes") + "920708" +
                Text("parent_block_hash") + "c0" + Text("token_ids") + "9401020304" + Text("block_size") +
                "02" + Text("lora_id") + "c0" + Text("medium") + Text("CPU") + Text("lora_name") + "c0" +
                Text("extra_keys") + "9291d920" + Hex("00000000000000040000000000000003") + "c0" + kEnd);
  const BlockIndex::Entry* second[] = {&b};
  batch.AddStored(second, Tier::kHost, kRoot);
  EXPECT_EQ(batch.Finish(1.5).find("extra_keys"), std::string::npos);
}

TEST(EventBatch, RemovedAndCleared) {
  EventBatch batch;
  const BlockKey keys[] = {{.low = 7}, {.low = 200}};
  batch.AddRemoved({keys, 1}, Tier::kDevice);
  EXPECT_EQ(Hex(batch.Finish(1.5)), kBegin + "83" + Text("type") + Text("BlockRemoved") +
                                        Text("block_hashes") + "9107" + Text("medium") + Text("GPU") + kEnd);
  batch.AddCleared();
  EXPECT_EQ(Hex(batch.Finish(1.5)), kBegin + "81" + Text("type") + Text("AllBlocksCleared") + kEnd);
  batch.AddRemoved(keys, Tier::kDisk);
  batch.AddCleared();
  EXPECT_EQ(Hex(batch.Finish(1.5)),
            "93cb3ff800000000000092"
            "83" +
                Text("type") + Text("BlockRemoved") + Text("block_hashes") + "9207ccc8" + Text("medium") +
                Text("DISK") + "81" + Text("type") + Text("AllBlocksCleared") + kEnd);
  EXPECT_EQ(Hex(batch.Finish(1.5)),
            "93cb3ff8000000000000"
            "90" +
                kEnd);
}

}  // namespace
}  // namespace prefixd
