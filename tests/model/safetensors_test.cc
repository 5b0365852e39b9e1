#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "model/truncation_guard.h"
#include "tests/support/present_pages.h"
#include "tests/support/shared_data.h"
#include "tests/support/temp_dir.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

std::string File(const std::string& header, const std::string& data) {
  std::string file;
  PutLittle<uint64_t>(&file, header.size());
  return file + header + data;
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\": {\"dtype\": \"" + dtype + "\", \"shape\": " + shape +
         ", \"data_offsets\": " + offsets + "}";
}

Result<std::vector<TensorView>> Parse(const std::string& file) {
  return ParseSafetensors("w.safetensors", std::as_bytes(std::span(file.data(), file.size())));
}

void ExpectCorrupt(const std::string& file, const std::string& part) {
  const auto tensors = Parse(file);
  ASSERT_FALSE(tensors.ok()) << part;
  EXPECT_EQ(tensors.status().code(), Code::kCorrupt);
  EXPECT_THAT(tensors.status().message(), HasSubstr("w.safetensors"));
  EXPECT_THAT(tensors.status().message(), HasSubstr(part));
}

class Folder {
 public:
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir_.path() / name, std::ios::binary) << bytes;
  }
  Result<WeightFiles> Open() const { return WeightFiles::Open(dir_.path()); }

 private:
  testing_support::TempDir dir_;
};

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  const std::string header =
      "{\"__metadata__\": {\"format\": \"pt\"}, " + Entry("b", "F32", "[2]", "[4, 12]") + ", " +
      Entry("a", "BF16", "[2, 1]", "[0, 4]") + ", " + Entry("empty", "F16", "[0, 7]", "[4, 4]") + ", " +
      Entry("scalar", "I64", "[]", "[12, 20]") + "}";
  const std::string file = File(header, std::string(20, 'x'));
  const auto tensors = Parse(file);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  ASSERT_EQ(tensors->size(), 4u);
  EXPECT_EQ((*tensors)[0].name, "a");
  EXPECT_EQ((*tensors)[0].dtype, DType::kBF16);
  EXPECT_EQ((*tensors)[0].shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ((*tensors)[0].bytes.data(), reinterpret_cast<const std::byte*>(file.data()) + 8 + header.size());
  EXPECT_EQ((*tensors)[1].name, "empty");
  EXPECT_EQ((*tensors)[2].bytes.size(), 8u);
  EXPECT_FALSE((*tensors)[3].dtype.has_value()) << "kernels do not read integers";
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string file = File("{" + Entry("a", "F32", "[3]", "[0, 12]") + "}", std::string(12, 'x'));
  ASSERT_TRUE(Parse(file).ok());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_EQ(Parse(file.substr(0, size)).status().code(), Code::kCorrupt) << size;
  }
  ExpectCorrupt(file + "x", "is too long: its last 1 byte belongs to no tensor");
  ExpectCorrupt(file.substr(0, file.size() - 5), "is cut short");
  ExpectCorrupt(file.substr(0, file.size() - 5), "its last 5 bytes are missing");
  ExpectCorrupt(file.substr(0, 20), "is cut short: its header takes");
}

TEST(Safetensors, LyingHeadersAreRefused) {
  const std::string data(16, 'x');
  std::string huge;
  PutLittle<uint64_t>(&huge, UINT64_MAX);
  ExpectCorrupt(huge + "{}", "here 18446744073709551615 bytes");
  ExpectCorrupt(File("[]", ""), "must be a JSON object");
  ExpectCorrupt(File("{\"a\": 1}", ""), "tensor 'a' is 1");
  const std::pair<std::string, std::string> entries[] = {
      {Entry("a", "F32", "[4]", "[0, 17]"), "its last 1 byte is missing"},
      {Entry("a", "F32", "[4]", "[16, 0]"), "data_offsets"},
      {Entry("a", "F32", "[4]", "[-16, 0]"), "data_offsets"},
      {Entry("a", "F32", "[4]", "[0]"), "data_offsets"},
      {Entry("a", "F32", "[4]", "[0, 18446744073709551615]"), "data_offsets"},
      {Entry("a", "F32", "[5]", "[0, 16]"), "shape"},
      {Entry("a", "F32", "[-4]", "[0, 16]"), "shape"},
      {Entry("a", "F32", "[4.0]", "[0, 16]"), "shape"},
      {Entry("a", "F32", "[4611686018427387904, 4]", "[0, 0]"), "shape"},  // 2^64 elements
      {Entry("a", "F32", "[4611686018427387905, 4]", "[0, 16]"), "shape"},
      {Entry("a", "F32", "[1,1,1,1,1,1,1,1,4]", "[0, 16]"), "shape"},
      {Entry("a", "F32", "4", "[0, 16]"), "shape"},
      {"\"a\": {\"dtype\": 3, \"shape\": [4], \"data_offsets\": [0, 16]}", "dtype"},
  };
  for (const auto& [entry, part] : entries) ExpectCorrupt(File("{" + entry + "}", data), part);
  EXPECT_EQ(Parse(File("{" + Entry("a", "F4", "[4]", "[0, 16]") + "}", data)).status().code(),
            Code::kUnsupported);
}

TEST(Safetensors, TensorsCoverTheDataOnce) {
  const auto two = [](const std::string& first, const std::string& second) {
    return File("{" + Entry("a", "F32", "[2]", first) + ", " + Entry("b", "F32", "[2]", second) + "}",
                std::string(16, 'x'));
  };
  EXPECT_TRUE(Parse(two("[0, 8]", "[8, 16]")).ok());
  EXPECT_TRUE(Parse(two("[8, 16]", "[0, 8]")).ok());
  ExpectCorrupt(two("[0, 8]", "[4, 12]"), "tensor 'b' begins at byte 4");
  ExpectCorrupt(two("[0, 8]", "[0, 8]"), "begins at byte 0");
  ExpectCorrupt(two("[4, 12]", "[8, 16]"), "begins at byte 4");
  ExpectCorrupt(File("{" + Entry("a", "F32", "[2]", "[8, 16]") + "}", std::string(16, 'x')),
                "begins at byte 8");
}

TEST(Safetensors, ANameGivenTwiceIsRefused) {
  const std::string entry = Entry("a", "F32", "[2]", "[0, 8]");
  ExpectCorrupt(File("{" + entry + ", " + entry + "}", std::string(8, 'x')), "has the key 'a' twice");
  const std::string field =
      R"({"a": {"dtype": "F32", "dtype": "F16", "shape": [4], "data_offsets": [0, 8]}})";
  ExpectCorrupt(File(field, std::string(8, 'x')), "has the key 'dtype' twice");
}

TEST(WeightFiles, TensorsOfTheBareModelGetItsPrefix) {
  const auto names = [](const std::vector<std::string>& stored) {
    const testing_support::TempDir folder;
    std::string header;
    for (size_t i = 0; i < stored.size(); ++i) {
      const std::string offsets = "[" + std::to_string(4 * i) + ", " + std::to_string(4 * i + 4) + "]";
      header += (i == 0 ? "{" : ", ") + Entry(stored[i], "F32", "[1]", offsets);
    }
    std::ofstream(folder.path() / "model.safetensors")
        << File(header + "}", std::string(4 * stored.size(), 'x'));
    const auto files = WeightFiles::Open(folder.path());
    std::vector<std::string> got;
    for (const TensorView& tensor : files.value().tensors()) got.push_back(tensor.name);
    files.value().CheckInvariants();
    return got;
  };
  EXPECT_THAT(names({"norm.weight", "layers.0.x", "embed_tokens.weight", "lm_head.weight"}),
              testing::ElementsAre("lm_head.weight", "model.embed_tokens.weight", "model.layers.0.x",
                                   "model.norm.weight"));
  EXPECT_THAT(names({"model.embed_tokens.weight", "norm.weight"}),
              testing::ElementsAre("model.embed_tokens.weight", "norm.weight"));
  EXPECT_THAT(names({"layers.0.x"}), testing::ElementsAre("layers.0.x")) << "another kind of model";
}

TEST(MappedFile, SeesThatTheFileHasChanged) {
  const testing_support::TempDir folder;
  const auto path = folder.path() / "model.safetensors";
  std::ofstream(path) << "0123456789";
  const auto file = *MappedFile::Open(path);
  EXPECT_TRUE(file.CheckUnchanged().ok());
  std::ofstream(path, std::ios::app) << "x";
  EXPECT_NE(file.CheckUnchanged().message().find("model.safetensors has changed"), std::string::npos);
  const auto longer = *MappedFile::Open(path);
  std::ofstream(folder.path() / "other") << "01234567890";
  std::filesystem::rename(folder.path() / "other", path);
  EXPECT_EQ(longer.CheckUnchanged().code(), Code::kCorrupt) << "another file with the same name and size";
  std::filesystem::remove(path);
  EXPECT_EQ(longer.CheckUnchanged().code(), Code::kCorrupt);
}

int64_t Sum(std::span<const std::byte> bytes) {
  int64_t sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<int64_t>(byte);
  return sum;
}

TEST(MappedFileDeathTest, AFileThatIsCutWhileItIsReadIsNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const testing_support::TempDir folder;
  const auto path = folder.path() / "model.safetensors";
  const auto cut_and_read = [&] {
    InstallTruncationGuard(3);
    std::ofstream(path) << std::string(100'000, 'x');
    const auto other = *MappedFile::Open(path);
    { const auto closed = *MappedFile::Open(path); }
    const auto file = *MappedFile::Open(path);
    std::filesystem::resize_file(path, 10);
    std::exit(Sum(file.bytes()) == 0 ? 0 : 1);
  };
  EXPECT_EXIT(cut_and_read(), testing::ExitedWithCode(3),
              "model.safetensors: was cut short while it was read");
  const auto elsewhere = [] {
    InstallTruncationGuard(3);
    ::raise(SIGBUS);
    std::exit(0);
  };
  EXPECT_EXIT(elsewhere(), testing::KilledBySignal(SIGBUS), "");
}

TEST(MappedFile, KnowsAGitLfsPointer) {
  const testing_support::TempDir folder;
  const auto path = folder.path() / "model.safetensors";
  const std::string oid(64, 'a');
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1\noid sha256:" << oid
                      << "\nsize 988097824\n";
  const Status status = MappedFile::Open(path).status();
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("git-lfs pointer to a file of 988097824 bytes"), std::string::npos);
  EXPECT_NE(status.message().find("git lfs pull"), std::string::npos);
  EXPECT_EQ(ReadSmallFile(path, 1 << 20).status().code(), Code::kCorrupt);
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1";  // cut short itself
  EXPECT_NE(MappedFile::Open(path).status().message().find("of ? bytes"), std::string::npos);
}

TEST(MappedFile, TakesRegularFilesOnly) {
  const testing_support::TempDir folder;
  const auto pipe = folder.path() / "model.safetensors";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(pipe).status().code(), Code::kIo)
      << "nobody writes to it: it must not be waited for";
  EXPECT_EQ(MappedFile::Open(folder.path()).status().code(), Code::kIo);
  EXPECT_EQ(MappedFile::Open(folder.path() / "none").status().code(), Code::kNotFound);
}

using testing_support::PresentPages;

TEST(MappedFile, DropsPagesThatCanBeReadAgain) {
  const testing_support::TempDir dir;
  const std::string content(100'000, 'x');
  std::ofstream(dir.path() / "f", std::ios::binary) << content;
  const MappedFile file = *MappedFile::Open(dir.path() / "f");
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  EXPECT_EQ(text, content);
  EXPECT_EQ(PresentPages(file.bytes()), 25u);
  file.DropPages(file.bytes().subspan(10'000, 50'000));  // pages 3 to 13, and parts of 2 and 14
  EXPECT_EQ(PresentPages(file.bytes()), 14u);
  file.ReadPages(file.bytes().subspan(20'000, 1));
  EXPECT_GT(PresentPages(file.bytes()), 14u);
  EXPECT_EQ(text, content);
  EXPECT_EQ(PresentPages(file.bytes()), 25u);
  file.DropPages(file.bytes().subspan(4097, 4094));
  EXPECT_EQ(PresentPages(file.bytes()), 25u) << "no whole page";
  EXPECT_DEATH(file.DropPages(std::span(file.bytes().data() + 1, file.bytes().size())), "outside the file");
}

TEST(WeightFiles, ShardsByIndex) {
  const Folder folder;
  folder.Write("one.safetensors", File("{" + Entry("b", "F32", "[1]", "[0, 4]") + "}", "bbbb"));
  folder.Write("two.safetensors", File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa"));
  folder.Write("other.safetensors", "not read");
  folder.Write("model.safetensors.index.json",
               R"({"weight_map": {"a": "two.safetensors", "b": "one.safetensors"}})");
  const Result<WeightFiles> files = folder.Open();
  ASSERT_TRUE(files.ok()) << files.status().message();
  files->CheckInvariants();
  ASSERT_EQ(files->tensors().size(), 2u);
  EXPECT_EQ(files->tensors()[0].name, "a");
  EXPECT_EQ(static_cast<char>(files->Find("b")->bytes[0]), 'b');
  EXPECT_EQ(files->Find("c"), nullptr);
  EXPECT_EQ(files->total_bytes(), 8u);
}

TEST(WeightFiles, ALyingIndexIsRefused) {
  const Folder folder;
  folder.Write("one.safetensors", File("{" + Entry("b", "F32", "[1]", "[0, 4]") + "}", "bbbb"));
  folder.Write("two.safetensors", File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa"));
  const std::pair<std::string, std::string> cases[] = {
      {R"({"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}})",
       "'a' is not in one.safetensors"},
      {R"({"weight_map": {"c": "one.safetensors"}})", "'c' is not in one.safetensors"},
      {R"({"weight_map": {"a": "two.safetensors", "b": "three.safetensors"}})",
       "names 2 files, of which 1 is not there: three.safetensors"},
      {R"({"weight_map": {"a": "/etc/passwd"}})", "the name of a file of this folder"},
      {R"({"weight_map": {"a": ""}})", "the name of a file of this folder"},
      {R"({"weight_map": {"a": "../two.safetensors"}})", "the name of a file of this folder"},
      {R"({"weight_map": {"a": ".."}})", "the name of a file of this folder"},
      {R"({"weight_map": {"a": 7}})",
       R"(weight_map["a"] is 7 (expected: the name of a file of this folder))"},
      {R"({"weight_map": {}})", "weight_map"},
      {R"({"weight_map": ["a"]})", "weight_map"},
      {R"({"a": "two.safetensors"})", "weight_map is missing"},
      {"{", "not valid JSON"},
  };
  for (const auto& [index, part] : cases) {
    folder.Write("model.safetensors.index.json", index);
    const Result<WeightFiles> files = folder.Open();
    ASSERT_FALSE(files.ok()) << index;
    EXPECT_THAT(files.status().message(), HasSubstr(part)) << index;
  }
}

TEST(WeightFiles, ShardsOfASeriesMustAllBeThere) {
  const Folder folder;
  const std::string one = File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa");
  folder.Write("model-00001-of-00002.safetensors", one);
  EXPECT_THAT(folder.Open().status().message(),
              HasSubstr("model-00001-of-00002.safetensors is one of 2 files, of which only 1 is there"));
  folder.Write("model-00002-of-00002.safetensors",
               File("{" + Entry("b", "F32", "[1]", "[0, 4]") + "}", "bbbb"));
  EXPECT_TRUE(folder.Open().ok());
  for (const char* name : {"a-of-.safetensors", "a-of-x.safetensors", "-of-99999999999.safetensors",
                           "a-of--3.safetensors", "adapter_model.safetensors", "a-of-1.safetensors.part"}) {
    const Folder other;
    other.Write("x.safetensors", one);
    other.Write(name, File("{}", ""));
    EXPECT_TRUE(other.Open().ok()) << name << ": " << other.Open().status().message();
  }
}

TEST(WeightFiles, AnAdapterIsNoModel) {
  const Folder folder;
  const std::string one = File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa");
  folder.Write("adapter_config.json", R"({"peft_type": "LORA", "base_model_name_or_path": "org/base"})");
  folder.Write("adapter_model.safetensors", one);
  EXPECT_THAT(folder.Open().status().message(), HasSubstr("a LoRA adapter of org/base, not a model; merge"));
  folder.Write("other.safetensors", one);
  EXPECT_THAT(folder.Open().status().message(), HasSubstr("a LoRA adapter of org/base"));
  for (const char* config : {"", "{", "[]", "{\"peft_type\": 7}", "{\"base_model_name_or_path\": null}"}) {
    folder.Write("adapter_config.json", config);
    EXPECT_THAT(folder.Open().status().message(), HasSubstr("a LoRA adapter of a model that")) << config;
  }
  folder.Write("model.safetensors", one);
  EXPECT_TRUE(folder.Open().ok()) << "a model beside an adapter";
}

TEST(WeightFiles, WithoutAnIndexEveryShardCounts) {
  const Folder folder;
  EXPECT_EQ(folder.Open().status().code(), Code::kNotFound);
  folder.Write("pytorch_model.bin", "pickled");
  EXPECT_THAT(folder.Open().status().message(),
              HasSubstr("pytorch_model.bin, in the format of PyTorch; convert it"));
  folder.Write("x-1.safetensors", File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa"));
  folder.Write("x-2.safetensors", File("{" + Entry("b", "F32", "[1]", "[0, 4]") + "}", "bbbb"));
  EXPECT_EQ(folder.Open()->tensors().size(), 2u);
  const auto two = folder.Open();
  EXPECT_EQ(two->FileOf(*two->Find("a")), "x-1.safetensors");
  EXPECT_EQ(two->FileOf(*two->Find("b")), "x-2.safetensors");
  folder.Write("x-3.safetensors", File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa"));
  EXPECT_THAT(folder.Open().status().message(),
              HasSubstr("'a' is in x-1.safetensors and in x-3.safetensors"));
  folder.Write("model.safetensors", File("{" + Entry("c", "F32", "[1]", "[0, 4]") + "}", "cccc"));
  EXPECT_EQ(folder.Open()->tensors().size(), 1u) << "model.safetensors stands for the whole model";
  folder.Write("model.safetensors", "");
  EXPECT_EQ(folder.Open().status().code(), Code::kCorrupt);
}

// A snapshot in the cache of the Hugging Face hub: every file, and here the folder too, is a link.
TEST(WeightFiles, FollowsLinks) {
  const testing_support::TempDir root;
  const auto blobs = root.path() / "blobs", snapshot = root.path() / "snapshot";
  std::filesystem::create_directory(blobs);
  std::filesystem::create_directory(snapshot);
  std::ofstream(blobs / "0f", std::ios::binary)
      << File("{" + Entry("a", "F32", "[1]", "[0, 4]") + "}", "aaaa");
  std::ofstream(blobs / "1e") << R"({"weight_map": {"a": "one.safetensors"}})";
  std::filesystem::create_symlink("../blobs/0f", snapshot / "one.safetensors");
  std::filesystem::create_symlink("../blobs/1e", snapshot / "model.safetensors.index.json");
  std::filesystem::create_directory_symlink("snapshot", root.path() / "model");
  for (const char* folder : {"snapshot", "model"}) {
    const Result<WeightFiles> files = WeightFiles::Open(root.path() / folder);
    ASSERT_TRUE(files.ok()) << files.status().message();
    EXPECT_EQ(files->total_bytes(), 4u);
  }
  std::filesystem::remove(snapshot / "model.safetensors.index.json");
  EXPECT_TRUE(WeightFiles::Open(snapshot).ok()) << "without an index too";
  std::filesystem::remove(blobs / "0f");
  EXPECT_EQ(WeightFiles::Open(snapshot).status().code(), Code::kNotFound) << "a link to nothing";
}

TEST(WeightFiles, OpensTheGoldenFolders) {
  PREFIXD_NEED_SHARED("golden/llama-mqa-linear");
  const Result<WeightFiles> files =
      WeightFiles::Open(testing_support::SharedDir() / "golden/llama-mqa-linear");
  ASSERT_TRUE(files.ok()) << files.status().message();
  files->CheckInvariants();
  EXPECT_EQ(files->total_bytes(), 1804544u) << "total_size of its index";
}

}  // namespace
}  // namespace prefixd
