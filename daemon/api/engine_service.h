// The real engine behind the port that the API uses. Any thread; the engine outlives it.
#pragma once

#include <utility>

#include "daemon/api/context.h"
#include "engine/engine.h"

namespace prefixd {

class EngineService final : public TokenService {
 public:
  explicit EngineService(Engine* engine) : engine_(engine) {}
  Result<RequestId> Submit(Request request) override { return engine_->Submit(std::move(request)); }
  void Cancel(RequestId id) override { engine_->Cancel(id); }

 private:
  Engine* const engine_;
};

}  // namespace prefixd
