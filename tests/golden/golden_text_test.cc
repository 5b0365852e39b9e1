// Tests golden checkpoints as whole folders: tokenizer, chat template and model together, from messages to
// tokens.
#include <gtest/gtest.h>

#include "engine/loaded_model.h"
#include "kernels/registry.h"
#include "tests/golden/golden_case.h"
#include "tests/support/load_at.h"
#include "tests/support/sequence_runner.h"
#include "tests/support/shared_data.h"

namespace prefixd {
namespace {

using namespace testing_support;  // NOLINT

constexpr int kBlockTokens = 16;
constexpr int kContext = 400;
constexpr int kPoolBlocks = 64;

// Loads the folder as a server does: messages give the prompt, its ids, and the tokens that the reference
// generated.
TEST(GoldenFolders, FromMessagesToTokens) {
  PREFIXD_NEED_SHARED("golden/llama-gqa");
  for (const auto& folder : GoldenFolders(SharedDir() / "golden")) {
    const GoldenCase golden = ReadGoldenCase(folder);
    const auto backend = *CreateBackend("auto", 2, {}, numerics::Version::kCpu1);
    const auto model =
        LoadAt(golden.folder, *backend, "", WeightSource::kFiles, {{kContext, kContext, kContext}, {}});
    ASSERT_TRUE(model.ok()) << golden.name << ": " << model.status().message();
    const Tokenizer& tokenizer = *(*model)->tokenizer;
    const GoldenPrompt& text = golden.prompts[3];
    const GoldenPrompt& chat = golden.prompts[4];
    ASSERT_EQ(text.name + chat.name, "textchat");
    EXPECT_EQ(*tokenizer.Encode(golden.text_prompt, {}), text.ids) << golden.name;

    ASSERT_NE((*model)->chat_template, nullptr) << golden.name;
    ChatTemplate::Input input;
    input.messages = golden.chat_messages;
    EXPECT_EQ(*(*model)->chat_template->Render(input), golden.chat_rendered) << golden.name;
    EXPECT_EQ(*tokenizer.Encode(golden.chat_rendered, {.add_special_tokens = false}), chat.ids)
        << golden.name;

    SequenceRunner runner(*(*model)->runner, *backend, DType::kF32, kBlockTokens, kPoolBlocks);
    EXPECT_EQ(runner.Greedy(chat.ids, 48), chat.greedy) << golden.name;
    EXPECT_FALSE((*model)->eos.empty()) << golden.name;
    EXPECT_FLOAT_EQ(*(*model)->generation.temperature, 0.6f) << golden.name;
  }
}

}  // namespace
}  // namespace prefixd
