// The thread that begins steps and waits for them: the order of what it calls.
#include "kernels/cuda/step_pipeline.h"

#include <gtest/gtest.h>

#include <memory>
#include <semaphore>
#include <string>
#include <vector>

namespace prefixd::cuda {
namespace {

using Lines = std::vector<std::string>;

// Pieces of work that write down what is called. Their parts end when the test says so.
class StepPipelineTest : public testing::Test {
 protected:
  StepPipeline::Work Piece(const std::string& name, int parts, const Status& begun = Status::Ok(),
                           const Status& last = Status::Ok()) {
    return {.begin =
                [this, name, begun] {
                  Note(name + " begins");
                  return begun;
                },
            .advance = [this, name, parts, last, done = 0]() mutable -> Result<bool> {
              Note(name + " waits");
              parts_.acquire();
              if (++done < parts) return false;
              PREFIXD_RETURN_IF_ERROR(last);
              return true;
            },
            .on_done = [this, name] { Note(name + " is done"); }};
  }
  void EndParts(int count) { parts_.release(count); }
  // The lines, once there are so many.
  Lines Wait(size_t count) {
    MutexLock lock(mutex_);
    while (lines_.size() < count) changed_.Wait(mutex_);
    return lines_;
  }

 private:
  void Note(const std::string& line) {
    {
      MutexLock lock(mutex_);
      lines_.push_back(line);
    }
    changed_.NotifyAll();
  }

  Mutex mutex_;
  CondVar changed_;
  Lines lines_ GUARDED_BY(mutex_);
  std::counting_semaphore<> parts_{0};

 protected:
  std::unique_ptr<StepPipeline> pipeline_ = std::make_unique<StepPipeline>();  // destroyed first
};

TEST_F(StepPipelineTest, ThePieceAfterBeginsBeforeThisOneEnds) {
  EXPECT_FALSE(pipeline_->Done());
  pipeline_->Start(Piece("a", 3));
  Wait(2);
  pipeline_->Start(Piece("b", 1));
  EndParts(2);
  EXPECT_EQ(Wait(5), (Lines{"a begins", "a waits", "b begins", "a waits", "a waits"}));
  EXPECT_FALSE(pipeline_->Done());
  EndParts(1);
  EXPECT_TRUE(pipeline_->Wait().ok());
  EXPECT_FALSE(pipeline_->Done()) << "that of the next piece";
  EndParts(1);
  EXPECT_TRUE(pipeline_->Wait().ok());
  EXPECT_EQ(Wait(8), (Lines{"a begins", "a waits", "b begins", "a waits", "a waits", "a is done", "b waits",
                            "b is done"}));
  EXPECT_FALSE(pipeline_->Done());
}

TEST_F(StepPipelineTest, AnErrorEndsAPieceAndNoOther) {
  pipeline_->Start(Piece("a", 2));
  Wait(2);
  pipeline_->Start(Piece("b", 1, Unavailable("of b")));
  EndParts(1);
  EXPECT_EQ(Wait(5), (Lines{"a begins", "a waits", "b begins", "b is done", "a waits"}));
  EXPECT_FALSE(pipeline_->Done()) << "the oldest one still runs";
  EndParts(1);
  EXPECT_TRUE(pipeline_->Wait().ok());
  EXPECT_TRUE(pipeline_->Done());
  pipeline_->Start(Piece("c", 1, Status::Ok(), ResourceExhausted("of c")));
  EXPECT_EQ(pipeline_->Wait().message(), "of b");
  EndParts(1);
  EXPECT_EQ(pipeline_->Wait().message(), "of c");
}

TEST_F(StepPipelineTest, ItsEndWaitsForAllPieces) {
  pipeline_->Start(Piece("a", 1));
  pipeline_->Start(Piece("b", 1));
  EndParts(2);
  pipeline_ = nullptr;
  const Lines lines = Wait(6);
  EXPECT_EQ(lines.back(), "b is done");
  EXPECT_EQ(lines.size(), 6u);
}

TEST_F(StepPipelineTest, HasRoomForTwo) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fork alone has no thread of the pipeline
  pipeline_->Start(Piece("a", 1));
  pipeline_->Start(Piece("b", 1));
  EXPECT_DEATH(pipeline_->Start(Piece("c", 1)), "2 steps are in flight");
  EndParts(2);
  EXPECT_TRUE(pipeline_->Wait().ok());
  EXPECT_TRUE(pipeline_->Wait().ok());
  EXPECT_DEATH((void)pipeline_->Wait(), "no step");
}

}  // namespace
}  // namespace prefixd::cuda
