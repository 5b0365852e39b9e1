// StepGraphs: what is recorded, launched and freed, and what happens where a device refuses to record.
#include "kernels/cuda/step_graphs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "kernels/cuda/launches.h"
#include "tests/kernels/cuda/cuda_fixture.h"

namespace prefixd::cuda {
namespace {

using cuda_emulation::EmulatedOptions;
using cuda_emulation::EmulatedRuntime;
using cuda_test::DeviceArray;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StepGraphsTest : public testing::Test {
 protected:
  StepGraphsTest() {
    SetLogSink([this](LogLevel, std::string_view message, std::initializer_list<LogField> fields) {
      lines_.push_back(std::string(message) + "; " + std::string(fields.begin()->value));
    });
  }
  ~StepGraphsTest() override {
    cuda_test::Wait(device_);  // before the memory of the launches is freed
    SetLogSink([](LogLevel, std::string_view, std::initializer_list<LogField>) {});
  }

  // A step of one launch, which copies a number.
  Status Run(StepGraphs& graphs, int rows) {
    return graphs.Run({.rows = rows}, [this] {
      ++enqueued_;
      if (!enqueues_.ok()) return std::exchange(enqueues_, Status::Ok());
      return device_.Launch(Stream::kCompute, LaunchOf(copy_));
    });
  }

  std::vector<std::string> lines_;
  bool refuses_ = false;
  Status enqueues_;  // of the next call
  int enqueued_ = 0;
  EmulatedRuntime device_{{.refuses_capture = [this] { return refuses_; }}};
  const DeviceArray<float> from_{&device_, std::vector<float>{5}}, to_{&device_, 1};
  const DeviceArray<int32_t> index_{&device_, std::vector<int32_t>{0}};
  const GatherParams copy_{from_.data(), index_.data(), to_.data(), 1, 4};
};

TEST_F(StepGraphsTest, ServesStepsOfSomeMoreRows) {
  for (const auto& [rows, of_graph] :
       {std::pair{1, 1}, {2, 2}, {3, 4}, {5, 8}, {17, 24}, {65, 96}, {256, 256}})
    EXPECT_EQ(StepGraphs::RowsFor(rows, 1000), of_graph);
  EXPECT_EQ(StepGraphs::RowsFor(257, 1000), 0);
  EXPECT_EQ(StepGraphs::RowsFor(5, 6), 6) << "a step has no more";
  EXPECT_EQ(StepGraphs::RowsFor(7, 6), 0);
}

TEST_F(StepGraphsTest, RecordsOnceAndLaunchesEachTime) {
  StepGraphs graphs(&device_);
  for (int step = 1; step <= 3; ++step) {
    ASSERT_TRUE(Run(graphs, 1).ok());
    EXPECT_EQ(enqueued_, 1);
    EXPECT_EQ(device_.graph_launches(), static_cast<uint64_t>(step));
  }
  EXPECT_EQ(to_.Get(), std::vector<float>{5});
  EXPECT_EQ(device_.launches(), 3u) << "recorded launches do not run";
  ASSERT_TRUE(Run(graphs, 2).ok());
  EXPECT_EQ(enqueued_, 2);
  EXPECT_EQ(device_.graphs(), 2u);
  EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(StepGraphsTest, EachPartOfTheKeyMatters) {
  StepGraphs graphs(&device_);
  const int a = 0;
  const StepGraphs::Key base{.rows = 3};
  std::vector<StepGraphs::Key> keys(8, base);
  keys[1].rows = 4;
  keys[2].teams = true;
  keys[3].page = &a;
  keys[4].drawn = &a;
  keys[5].pool = &a;
  keys[6].layout.block_tokens = 8;
  keys[7].layout.type = DType::kF16;
  for (int round = 0; round < 2; ++round) {
    for (const StepGraphs::Key& key : keys) {
      ASSERT_TRUE(graphs
                      .Run(key,
                           [&] {
                             ++enqueued_;
                             return device_.Launch(Stream::kCompute, LaunchOf(copy_));
                           })
                      .ok());
    }
    EXPECT_EQ(enqueued_, 8);
  }
  cuda_test::Wait(device_);
}

TEST_F(StepGraphsTest, TheOldestIsFreedWhereThereAreTooMany) {
  StepGraphs graphs(&device_);
  const int most = static_cast<int>(StepGraphs::kMost);
  for (int rows = 0; rows <= most; ++rows) {
    ASSERT_TRUE(Run(graphs, rows).ok());
    cuda_test::Wait(device_);
    EXPECT_EQ(device_.graphs(), static_cast<size_t>(std::min(rows + 1, most)));
  }
  ASSERT_TRUE(Run(graphs, most).ok());
  ASSERT_TRUE(Run(graphs, 1).ok());
  EXPECT_EQ(enqueued_, most + 1);
  ASSERT_TRUE(Run(graphs, 0).ok());
  EXPECT_EQ(enqueued_, most + 2) << "the oldest was freed";
  cuda_test::Wait(device_);
}

TEST_F(StepGraphsTest, WithoutACaptureTheLaunchesAreGivenAlone) {
  for (const bool at_end : {false, true}) {
    StepGraphs graphs(&device_);
    lines_.clear();
    enqueued_ = 0;
    refuses_ = !at_end;
    const uint64_t launches = device_.launches();
    const auto run = [&] {
      return graphs.Run({}, [&] {
        ++enqueued_;
        refuses_ = true;
        return device_.Launch(Stream::kCompute, LaunchOf(copy_));
      });
    };
    ASSERT_TRUE(run().ok());
    EXPECT_EQ(enqueued_, at_end ? 2 : 1);
    refuses_ = false;
    ASSERT_TRUE(run().ok());
    EXPECT_EQ(enqueued_, at_end ? 3 : 2) << "it does not try again";
    cuda_test::Wait(device_);
    EXPECT_EQ(device_.launches() - launches, 2u);
    EXPECT_EQ(device_.graph_launches(), 0u);
    EXPECT_THAT(lines_, ElementsAre(HasSubstr(at_end ? "alone; no graph (emulated)"
                                                     : "alone; no capture (emulated)")));
  }
}

TEST_F(StepGraphsTest, AnErrorOfALaunchEndsTheRecordingAndTheLaunchesAreGivenAgain) {
  StepGraphs graphs(&device_);
  enqueues_ = IoError("a product fails (test)");
  ASSERT_TRUE(Run(graphs, 1).ok());
  EXPECT_EQ(enqueued_, 2);
  EXPECT_EQ(device_.graphs(), 0u);
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("alone; a product fails (test)")));
  cuda_test::Wait(device_);
  EXPECT_EQ(device_.launches(), 1u);
  enqueues_ = IoError("a product fails (test)");
  EXPECT_EQ(Run(graphs, 1).code(), Code::kIo) << "outside of a recording, too";
}

// At the N-th call, for all N: the two ends of the capture, the launch in it, and that of the graph.
TEST_F(StepGraphsTest, ALostDeviceEndsTheStep) {
  for (uint64_t lost_at = 0; lost_at < 4; ++lost_at) {
    EmulatedRuntime device({});
    StepGraphs graphs(&device);
    device.FailFrom(lost_at, Code::kUnavailable);
    const Status status = graphs.Run({}, [&] {
      const Result<size_t> free = device.FreeBytes();
      return free.status();
    });
    EXPECT_EQ(status.code(), Code::kUnavailable) << lost_at;
    EXPECT_THAT(lines_, IsEmpty());
  }
}

}  // namespace
}  // namespace prefixd::cuda
