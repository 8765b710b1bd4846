#include "server/http.h"

#include <civetweb.h>

#include <array>
#include <chrono>
#include <future>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

constexpr std::chrono::milliseconds kKnockInterval{10};

struct Page {
  int status = 200;
  const char* reason = "OK";
  const char* content_type = "text/plain; charset=utf-8";
  const char* extra_header = "";
  std::string body;
};

Page PageFor(const HttpPages& pages, std::string_view method, std::string_view path) {
  const bool known = path == "/metrics" || path == "/healthz" || path == "/readyz";
  if (!known) {
    return {404, "Not Found", "text/plain; charset=utf-8", "", "not found; there are /metrics, /healthz, /readyz\n"};
  }
  if (method != "GET" && method != "HEAD") {
    return {405, "Method Not Allowed", "text/plain; charset=utf-8", "Allow: GET, HEAD\r\n", "only GET and HEAD\n"};
  }
  if (path == "/metrics") return {200, "OK", "text/plain; version=0.0.4; charset=utf-8", "", pages.metrics()};
  Page page;
  if (path == "/healthz" || pages.ready()) {
    page.body = "ok\n";
    return page;
  }
  return {503, "Service Unavailable", "text/plain; charset=utf-8", "", "not ready\n"};
}

int Handle(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const auto* server = static_cast<const HttpServer*>(request->user_data);
  const std::string_view method = request->request_method;
  const std::string_view path = request->local_uri == nullptr ? "" : request->local_uri;
  const Page page = PageFor(server->pages(), method, path);
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n%s"
            "Connection: close\r\n\r\n",
            page.status, page.reason, page.content_type, page.body.size(), page.extra_header);
  if (method != "HEAD") mg_write(connection, page.body.data(), page.body.size());
  return page.status;
}

// Its complaints are those of clients that went away.
int IgnoreMessage(const mg_connection* /*connection*/, const char* /*message*/) { return 1; }

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Address& address, HttpPages pages) {
  if (absl::Status status = ProbeBind(address); !status.ok()) return status;
  std::unique_ptr<HttpServer> server(new HttpServer(address, std::move(pages)));
  const std::string ports = address.ToString();
  std::array<const char*, 9> options = {
      "listening_ports", ports.c_str(), "num_threads", "16", "request_timeout_ms", "1000", "tcp_nodelay", "1", nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = Handle;
  callbacks.log_message = IgnoreMessage;
  mg_init_data init{};
  init.callbacks = &callbacks;
  init.user_data = server.get();
  init.configuration_options = options.data();
  std::array<char, 256> text{};
  mg_error_data error{};
  error.text = text.data();
  error.text_buffer_size = text.size();
  server->context_ = mg_start2(&init, &error);
  if (server->context_ == nullptr) {
    return absl::UnavailableError(text[0] == '\0' ? "the HTTP server did not start" : text.data());
  }
  mg_server_port port{};
  if (mg_get_server_ports(server->context_, 1, &port) == 1) server->address_.port = port.port;
  return server;
}

// civetweb looks whether it is to stop every two seconds, or when somebody connects.
HttpServer::~HttpServer() {
  if (context_ == nullptr) return;
  std::future<void> stopped = std::async(std::launch::async, mg_stop, context_);
  while (stopped.wait_for(kKnockInterval) != std::future_status::ready) Knock(ForLocalClient(address_));
}

}  // namespace attnd
