// The HTTP port: /metrics, /healthz, /readyz.
#ifndef ATTND_SERVER_HTTP_H_
#define ATTND_SERVER_HTTP_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/address.h"

struct mg_context;

namespace attnd {

// What the pages show. Called on the HTTP server's threads.
struct HttpPages {
  // /metrics.
  std::function<std::string()> metrics;
  // /readyz: 200 or 503. /healthz is 200 as long as somebody answers.
  std::function<bool()> ready;
};

// Serves from construction to destruction, which waits for requests in progress.
class HttpServer {
 public:
  // Fails with kUnavailable and the system's reason if the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Address& address, HttpPages pages);

  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens, with the real port.
  [[nodiscard]] const Address& address() const { return address_; }
  [[nodiscard]] const HttpPages& pages() const { return pages_; }

 private:
  HttpServer(Address address, HttpPages pages) : address_(std::move(address)), pages_(std::move(pages)) {}

  Address address_;
  const HttpPages pages_;
  mg_context* context_ = nullptr;
};

}  // namespace attnd

#endif  // ATTND_SERVER_HTTP_H_
