// The HTTP client of bench/serve for one OpenAI-style server, on top of libcurl. One thread uses a Client,
// which keeps its connection between requests. InitializeHttp runs before the first Client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "bench/serve_statistics.h"

namespace prefixd::bench {

struct Server {
  std::string url;       // "http://127.0.0.1:8080": without a path that ends in /v1
  std::string api_key;   // empty: none is sent
  double timeout = 600;  // seconds for a whole request
};

// "http://host:8080/v1/" and "http://host:8080" both give "http://host:8080". An error names the text.
Result<std::string> ServerUrl(const std::string& text);

void InitializeHttp();  // once, in main, before other threads exist

class Client {
 public:
  explicit Client(const Server& server);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The ids that GET /v1/models lists. Errors say what to do.
  Result<std::vector<std::string>> Models();
  // Posts a streamed request and reads the whole answer. result.error says what failed.
  RequestResult Stream(const std::string& path, const std::string& body);

 private:
  struct Transfer;
  // Runs one request; an error is one of the transport (no connection, time-out).
  Status Perform(Transfer* transfer);

  struct Handle;
  const Server server_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace prefixd::bench
