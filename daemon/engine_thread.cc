#include "daemon/engine_thread.h"

#include <pthread.h>

#include <chrono>

namespace prefixd {
namespace {

constexpr std::chrono::milliseconds kIdleTick{100};  // also bounds the wait of the destructor

}  // namespace

EngineThread::EngineThread(Engine* engine) : engine_(engine), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "prefixd-engine");
}

EngineThread::~EngineThread() {
  stop_.store(true, std::memory_order_relaxed);
  thread_.join();
}

void EngineThread::Run() {
  while (!stop_.load(std::memory_order_relaxed)) {
    engine_->Advance();
    engine_->WaitForWork(kIdleTick);
  }
}

}  // namespace prefixd
