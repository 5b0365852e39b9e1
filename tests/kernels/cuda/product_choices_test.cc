// Tests the file of what a library is to compute: what it keeps, and what is ignored.
#include "kernels/cuda/product_choices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/kernels/cuda/one_product.h"
#include "tests/support/temp_dir.h"

namespace prefixd::cuda_test {
namespace {

using cuda::CheckedWay;
using cuda::ProductShape;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Act = cuda_emulation::KernelProducts::Act;

class ProductChoicesTest : public OneProduct {
 protected:
  std::string path() const { return (folder_.path() / "choices").string(); }
  ProductChoices Open() const { return ProductChoices(path(), device_->facts(), library_); }
  std::string Text() const {
    std::ifstream in(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void SetText(const std::string& text) const { std::ofstream(path(), std::ios::binary) << text; }

  static CheckedWay Some(int rows) {
    return {.shape = {.type = DType::kF16, .rows = rows, .n = 6144, .k = 4096, .has_bias = rows % 2 == 0},
            .fewest_rows = 5,
            .way = {.words = {0, 0xFFFFFFFFFFFFFFFFu, 42, static_cast<uint64_t>(rows)}}};
  }
  // A start: what Check finds of a product with the file, and the way that then computes it.
  uint64_t WayOfAStart(const CudaMatrix& w) {
    library_.asked.clear();
    ProductChoices choices = Open();
    Products products(device_.get());
    EXPECT_TRUE(Check(w, nullptr, &products, false, &choices).ok());
    choices.Write();
    EXPECT_EQ(Given(&products, w, {.rows = 17}), 1u);
    return library_.given[1].size();
  }

  const testing_support::TempDir folder_;
};

TEST_F(ProductChoicesTest, AFileHasWhatWasKept) {
  LogLines log;
  ProductChoices kept = Open();
  for (const int rows : {16, 17, 18}) kept.Keep(Some(rows));
  CheckedWay other = Some(17);
  other.way.words[7] = 9;
  kept.Keep(other);
  kept.Write();
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("f16 5 16 6144 4096 bias 0 ffffffffffffffff 2a 10 0 0 0 0\n"));
  EXPECT_THAT(text, HasSubstr("f16 5 17 6144 4096 plain 0 ffffffffffffffff 2a 11 0 0 0 9\n"));
  ProductChoices read = Open();
  for (const int rows : {16, 17, 18}) {
    const CheckedWay expected = rows == 17 ? other : Some(rows);
    const cuda::ProductWay* const found = read.Find(expected.shape, 5);
    ASSERT_NE(found, nullptr) << rows;
    EXPECT_THAT(found->words, testing::ElementsAreArray(expected.way.words));
    EXPECT_EQ(read.Find(expected.shape, 6), nullptr);
    ProductShape added = expected.shape;
    added.has_bias = false;
    added.accumulate = true;
    EXPECT_EQ(read.Find(added, 5), nullptr);
  }
  std::filesystem::remove(path());
  for (const int rows : {16, 18}) read.Keep(Some(rows));
  read.Write();
  EXPECT_FALSE(std::filesystem::exists(path())) << "nothing has changed";
  EXPECT_THAT(log.lines, IsEmpty());
}

TEST_F(ProductChoicesTest, ADamagedFileIsIgnored) {
  ProductChoices kept = Open();
  for (const int rows : {16, 17}) kept.Keep(Some(rows));
  kept.Write();
  const std::string text = Text();
  const auto ignored = [&](const std::string& damaged) {
    SetText(damaged);
    LogLines log;
    const ProductChoices read = Open();
    return log.lines.size() == 1 && log.lines[0].starts_with("the file of choices of cuBLASLt is ignored") &&
           read.Find(Some(16).shape, 5) == nullptr && read.Find(Some(17).shape, 5) == nullptr;
  };
  for (size_t at = 0; at < text.size(); ++at) {
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    EXPECT_TRUE(ignored(damaged)) << at;
    EXPECT_TRUE(ignored(text.substr(0, at))) << at;
  }
  EXPECT_TRUE(ignored(text + "f16 5 19 8 8 plain 0 0 0 0 0 0 0 0\n"));
  EXPECT_TRUE(ignored(std::string(2 << 20, 'a')));
  SetText(text);
  EXPECT_NE(Open().Find(Some(16).shape, 5), nullptr);
}

TEST_F(ProductChoicesTest, AFileOfAnotherDeviceIsIgnoredAndReplaced) {
  cuda::DeviceFacts other = device_->facts();
  other.name = "another device";
  ProductChoices of_other(path(), other, library_);
  of_other.Keep(Some(16));
  of_other.Write();
  LogLines log;
  ProductChoices own = Open();
  EXPECT_THAT(log.lines, ElementsAre(HasSubstr("reason=it is of another device or library: another device")));
  EXPECT_EQ(own.Find(Some(16).shape, 5), nullptr);
  own.Keep(Some(17));
  own.Write();
  EXPECT_NE(Open().Find(Some(17).shape, 5), nullptr);
  EXPECT_EQ(Open().Find(Some(16).shape, 5), nullptr);
}

TEST_F(ProductChoicesTest, AFileThatCannotBeWrittenIsSaid) {
  LogLines log;
  ProductChoices choices((folder_.path() / "absent" / "choices").string(), device_->facts(), library_);
  choices.Keep(Some(16));
  choices.Write();
  EXPECT_THAT(log.lines, ElementsAre(HasSubstr("the choices of cuBLASLt are not kept")));
  ProductChoices none;
  none.Keep(Some(16));
  none.Write();
  EXPECT_EQ(none.Find(Some(16).shape, 5), nullptr);
}

TEST_F(ProductChoicesTest, TheOldestWaysGoFirst) {
  ProductChoices choices = Open();
  for (int rows = 1; rows <= static_cast<int>(ProductChoices::kMost) + 1; ++rows) choices.Keep(Some(rows));
  choices.Write();
  const ProductChoices read = Open();
  EXPECT_EQ(read.Find(Some(1).shape, 5), nullptr);
  EXPECT_NE(read.Find(Some(2).shape, 5), nullptr);
  EXPECT_NE(read.Find(Some(static_cast<int>(ProductChoices::kMost) + 1).shape, 5), nullptr);
}

// The first start finds that way 1 is right, when way 0 is not. Later ones take it without a question, also
// when way 0 would do.
TEST_F(ProductChoicesTest, TheNextStartChoosesTheSameWithoutAsking) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  library_.act = [](uint64_t way, const GemmParams&) { return way == 0 ? Act::kWrong : Act::kRight; };
  EXPECT_EQ(WayOfAStart(w), 1u);
  EXPECT_EQ(library_.asked.size(), 2u) << "up to 16 rows, and more";
  library_.act = {};
  EXPECT_EQ(WayOfAStart(w), 1u);
  EXPECT_THAT(library_.asked, IsEmpty());
}

// What a file says is no proof.
TEST_F(ProductChoicesTest, AChoiceWithOtherBitsIsReplaced) {
  const CudaMatrix w = Weights(16, 32, DType::kBF16);
  EXPECT_EQ(WayOfAStart(w), 0u);
  library_.act = [](uint64_t way, const GemmParams&) { return way == 0 ? Act::kWrong : Act::kRight; };
  EXPECT_EQ(WayOfAStart(w), 1u);
  EXPECT_EQ(library_.asked.size(), 2u);
  EXPECT_EQ(WayOfAStart(w), 1u);
  EXPECT_THAT(library_.asked, IsEmpty());
}

// A backend hands the path on.
TEST_F(ProductChoicesTest, ARunnerKeepsItsChoices) {
  for (const size_t asked : {9u, 0u}) {
    library_.asked.clear();
    auto device = DeviceWith(&library_);
    const World world(cuda::CreateCudaBackend(std::move(device), false, path()), DType::kBF16, DType::kBF16);
    EXPECT_EQ(library_.asked.size(), asked);
  }
}

}  // namespace
}  // namespace prefixd::cuda_test
