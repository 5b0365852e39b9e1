#include "kernels/cuda/step_pipeline.h"

#include <utility>

#include "base/check.h"

namespace prefixd::cuda {

StepPipeline::StepPipeline() : thread_([this] { Run(); }) {}

StepPipeline::~StepPipeline() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void StepPipeline::Start(Work work) {
  {
    MutexLock lock(mutex_);
    PREFIXD_CHECK(pieces_.size() < kMost) << pieces_.size() << " steps are in flight already";
    pieces_.push_back({.work = std::move(work)});
  }
  changed_.NotifyAll();
}

bool StepPipeline::Done() const {
  MutexLock lock(mutex_);
  return !pieces_.empty() && pieces_.front().ended;
}

Status StepPipeline::Wait() {
  MutexLock lock(mutex_);
  PREFIXD_CHECK(!pieces_.empty()) << "no step is in flight";
  while (!pieces_.front().told) changed_.Wait(mutex_);
  Status status = std::move(pieces_.front().status);
  pieces_.pop_front();
  return status;
}

// What can begin comes first: the device then has its work before it has done that of the step before.
StepPipeline::Piece* StepPipeline::Next() {
  for (Piece& piece : pieces_) {
    if (!piece.begun) return &piece;
  }
  for (Piece& piece : pieces_) {
    if (!piece.ended) return &piece;
  }
  return nullptr;
}

// Returns whether the piece has ended, with *status.
bool StepPipeline::Advance(Piece& piece, Status* status) {
  if (!piece.begun) {
    piece.begun = true;
    *status = piece.work.begin();
    return !status->ok();
  }
  const Result<bool> last = piece.work.advance();
  *status = last.status();
  return !last.ok() || *last;
}

void StepPipeline::Run() {
  for (;;) {
    Piece* piece = nullptr;  // stays where it is: the owner takes only what was told
    {
      MutexLock lock(mutex_);
      while ((piece = Next()) == nullptr && !stopping_) changed_.Wait(mutex_);
      if (piece == nullptr) return;
    }
    Status status;
    if (!Advance(*piece, &status)) continue;
    {
      MutexLock lock(mutex_);
      piece->status = std::move(status);
      piece->ended = true;
    }
    if (piece->work.on_done) piece->work.on_done();
    {
      MutexLock lock(mutex_);
      piece->told = true;
    }
    changed_.NotifyAll();
  }
}

}  // namespace prefixd::cuda
