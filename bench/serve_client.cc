#include "bench/serve_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>

#include "base/check.h"
#include "bench/serve_sse.h"

namespace prefixd::bench {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

constexpr size_t kLongestErrorBody = 64 << 10;
constexpr long kConnectMilliseconds = 10'000;

double Since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string Seconds(double seconds) {
  std::string text = std::to_string(seconds);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text + " s";
}

std::string TransportError(CURLcode code, const char* detail, const Server& server, const std::string& url) {
  const std::string what = *detail != '\0' ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_COULDNT_CONNECT:
      return "cannot connect to " + server.url + ": " + what +
             "; start the server, or check its address and port";
    case CURLE_COULDNT_RESOLVE_HOST:
      return "cannot connect to " + server.url + ": " + what + "; check the host name";
    case CURLE_OPERATION_TIMEDOUT:
      return url + ": no complete answer within " + Seconds(server.timeout) + " (" + what +
             "); raise --timeout or lower the load";
    case CURLE_PEER_FAILED_VERIFICATION:
      return url + ": " + what +
             "; the server's certificate is not trusted here: use http, or add its authority to the system";
    default:
      return url + ": " + what;
  }
}

// What a status other than 200 means, and what to do.
std::string HttpError(long status, const std::string& url, const std::string& body) {
  const std::string text = url + ": HTTP " + std::to_string(status) + ": " + ErrorMessage(body);
  switch (status) {
    case 401:
    case 403:
      return text + "; give a key that the server accepts by --api-key";
    case 404:
      return text + "; check URL (the part before /v1), --endpoint and --model";
    case 429:
    case 503:
      return text +
             "; the server rejects requests under this load: lower --clients or --rate, or raise its queue "
             "limit";
    default:
      return text;
  }
}

}  // namespace

struct Client::Handle {
  CURL* curl = curl_easy_init();
  curl_slist* headers = nullptr;
  char error[CURL_ERROR_SIZE] = "";
  ~Handle() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
  }
};

// One request: its body, and what arrives.
struct Client::Transfer {
  std::string url;
  const std::string* body = nullptr;  // null: GET
  CURL* curl = nullptr;
  Clock::time_point start;
  long status = 0;
  std::string text;  // the body as it is; of a stream, only when the status is not 200
  Answer answer;     // of a stream
  SseReader reader{[this](std::string_view data) { answer.OnData(data, Since(start)); }};

  static size_t Receive(char* data, size_t, size_t bytes, void* self) {
    Transfer& transfer = *static_cast<Transfer*>(self);
    curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.status);
    if (transfer.body != nullptr && transfer.status == 200) {
      transfer.reader.Append({data, bytes});
    } else if (transfer.text.size() < kLongestErrorBody || transfer.status == 200) {
      transfer.text.append(data, bytes);
    }
    return bytes;
  }
};

Result<std::string> ServerUrl(const std::string& text) {
  if (!text.starts_with("http://") && !text.starts_with("https://")) {
    return InvalidArgument("URL '" + text +
                           "': it must begin with http:// or https://, as in http://127.0.0.1:8080");
  }
  std::string url = text;
  const auto strip_slashes = [&] {
    while (url.ends_with('/')) url.pop_back();
  };
  strip_slashes();
  if (url.ends_with("/v1")) url.resize(url.size() - 3);
  strip_slashes();
  if (url.size() <= url.find(':') + 3) return InvalidArgument("URL '" + text + "': the host is missing");
  return url;
}

void InitializeHttp() { PREFIXD_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); }

Client::Client(const Server& server) : server_(server), handle_(std::make_unique<Handle>()) {
  CURL* curl = handle_->curl;
  PREFIXD_CHECK(curl != nullptr) << "out of memory";
  handle_->headers = curl_slist_append(handle_->headers, "Content-Type: application/json");
  handle_->headers = curl_slist_append(handle_->headers, "Expect:");  // no wait before a long body
  if (!server_.api_key.empty()) {
    handle_->headers =
        curl_slist_append(handle_->headers, ("Authorization: Bearer " + server_.api_key).c_str());
  }
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle_->headers);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle_->error);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");  // a proxy would be measured as well
  curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectMilliseconds);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(server_.timeout * 1e3));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::Receive);
}

Client::~Client() = default;

Status Client::Perform(Transfer* transfer) {
  CURL* curl = handle_->curl;
  transfer->curl = curl;
  curl_easy_setopt(curl, CURLOPT_URL, transfer->url.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
  if (transfer->body != nullptr) {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, transfer->body->c_str());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer->body->size()));
  } else {
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
  }
  handle_->error[0] = '\0';
  transfer->start = Clock::now();
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer->status);
  transfer->reader.Finish();
  if (code != CURLE_OK) return Unavailable(TransportError(code, handle_->error, server_, transfer->url));
  return Status::Ok();
}

Result<std::vector<std::string>> Client::Models() {
  Transfer transfer;
  transfer.url = server_.url + "/v1/models";
  PREFIXD_RETURN_IF_ERROR(Perform(&transfer));
  if (transfer.status != 200) return Unavailable(HttpError(transfer.status, transfer.url, transfer.text));
  boost::system::error_code error;
  const json::value value = json::parse(transfer.text, error);
  const json::value* data = error || !value.is_object() ? nullptr : value.get_object().if_contains("data");
  if (data == nullptr || !data->is_array()) {
    return Corrupt(transfer.url + ": the answer is no list of models; is this an OpenAI-style server?");
  }
  std::vector<std::string> models;
  for (const json::value& model : data->get_array()) {
    const json::value* id = model.is_object() ? model.get_object().if_contains("id") : nullptr;
    if (id != nullptr && id->is_string()) models.emplace_back(id->get_string());
  }
  return models;
}

RequestResult Client::Stream(const std::string& path, const std::string& body) {
  Transfer transfer;
  transfer.url = server_.url + path;
  transfer.body = &body;
  const Status status = Perform(&transfer);
  const Answer& answer = transfer.answer;
  RequestResult result;
  result.text = answer.text();
  result.arrivals = answer.arrivals();
  result.prompt_tokens = answer.prompt_tokens();
  result.completion_tokens = answer.completion_tokens();
  result.cached_tokens = answer.cached_tokens();
  if (!status.ok()) {
    result.error = status.message();
  } else if (transfer.status != 200) {
    result.error = HttpError(transfer.status, transfer.url, transfer.text);
  } else if (!answer.error().empty()) {
    result.error = transfer.url + ": the stream has an error: " + answer.error();
  } else if (!answer.complete()) {
    result.error = transfer.url + ": the stream ended before [DONE] and without a finish reason";
  }
  return result;
}

}  // namespace prefixd::bench
