// OptionsWith: the options of `prefixd serve` with some settings, for tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "daemon/options.h"

namespace prefixd::testing_support {

// The defaults, with the settings.
inline Options OptionsWith(std::vector<std::pair<std::string, std::string>> settings) {
  std::vector<std::vector<Setting>> layers(1);
  for (auto& [name, value] : settings) layers[0].push_back({name, value, name});
  Result<Options> options = BuildOptions(layers);
  EXPECT_TRUE(options.ok()) << options.status().message();
  return *std::move(options);
}

}  // namespace prefixd::testing_support
