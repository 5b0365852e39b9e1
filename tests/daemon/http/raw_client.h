// A client that sends bytes as told and reads what comes: what a test needs to misbehave.
#pragma once

#include <string>
#include <string_view>

namespace prefixd::testing_support {

class RawClient {
 public:
  // `url` as HttpServer::url() gives it. A read waits at most 10 seconds.
  explicit RawClient(const std::string& url);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool Send(std::string_view bytes);  // false: the server took no more
  void FinishSending();               // FIN
  void Reset();                       // RST

  // One answer: head and body, by its Content-Length or chunks (joined, without their frames). "" at the end
  // of the connection.
  std::string ReadAnswer(bool head_only = false);
  // Reads until `text` has come; false at the end of the connection.
  bool ReadUntil(std::string_view text);
  // All that comes until the server closes.
  std::string ReadToEnd();
  // True when the server has closed: nothing more comes.
  bool AtEnd() { return ReadToEnd().empty(); }

 private:
  bool Fill();

  int fd_;
  std::string buffer_;
};

// "GET /path HTTP/1.1" with Host, and with a body where it is not empty.
std::string HttpText(std::string_view method, std::string_view path, std::string_view body = "",
                     std::string_view more_headers = "");
int StatusOf(std::string_view answer);
// First value of a header, name in any case; "" when absent.
std::string HeaderOf(std::string_view answer, std::string_view name);
std::string BodyOf(std::string_view answer);

}  // namespace prefixd::testing_support
