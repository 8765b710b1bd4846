#include <fcntl.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/server_fixture.h"

namespace attnd {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// A connected socket, or -1.
int Connect(const std::string& address) {
  const size_t colon = address.rfind(':');
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(), &hints, &list) != 0) return -1;
  int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, list->ai_addr, list->ai_addrlen) != 0) {
    close(fd);
    fd = -1;
  }
  freeaddrinfo(list);
  return fd;
}

}  // namespace

ServerProcess::ServerProcess(std::vector<std::string> arguments, const std::vector<std::string>& environment) {
  std::string pattern = (std::filesystem::temp_directory_path() / "attnd_test_XXXXXX").string();
  directory_ = mkdtemp(pattern.data());
  arguments.insert(arguments.begin(), ATTND_BINARY);
  std::vector<std::string> variables = environment;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, (directory_ + "/out").c_str(), flags, 0600);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, (directory_ + "/err").c_str(), flags, 0600);
  EXPECT_EQ(posix_spawn(&pid_, ATTND_BINARY, &actions, nullptr, Pointers(arguments).data(), Pointers(variables).data()),
            0);
  posix_spawn_file_actions_destroy(&actions);
}

ServerProcess::~ServerProcess() {
  if (running()) {
    Signal(SIGKILL);
    AwaitExit();
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

bool ServerProcess::AwaitReady() {
  const bool known = Eventually([this] { return out().find('\n') != std::string::npos || !running(); });
  return known && running() && out().rfind("attnd ready ", 0) == 0;
}

std::string ServerProcess::WordAfter(const std::string& key) const {
  const std::string line = out();
  const size_t at = line.find(key);
  if (at == std::string::npos) return "";
  const size_t begin = at + key.size();
  return line.substr(begin, line.find_first_of(" \n", begin) - begin);
}

std::string ServerProcess::grpc_address() const { return WordAfter(" grpc="); }
std::string ServerProcess::http_address() const { return WordAfter(" http="); }

void ServerProcess::Signal(int number) const { kill(pid_, number); }

bool ServerProcess::running() {
  if (wait_status_ == -1 && pid_ > 0) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) wait_status_ = status;
  }
  return pid_ > 0 && wait_status_ == -1;
}

int ServerProcess::AwaitExit() {
  if (!Eventually([this] { return !running(); })) {
    ADD_FAILURE() << "attnd does not end; stderr: " << err();
    return -1;
  }
  constexpr int kSignalled = 128;
  return WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : kSignalled + WTERMSIG(wait_status_);
}

std::string ServerProcess::out() const { return ReadAll(directory_ + "/out"); }
std::string ServerProcess::err() const { return ReadAll(directory_ + "/err"); }

HttpReply Http(const std::string& address, const std::string& path, const std::string& method) {
  HttpReply reply;
  const int fd = Connect(address);
  if (fd < 0) return reply;
  const std::string request = method + " " + path + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n";
  std::string text;
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    char buffer[16384];
    for (ssize_t n = 0; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;) text.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  const size_t end = text.find("\r\n\r\n");
  if (end == std::string::npos) return reply;
  reply.headers = text.substr(0, end);
  reply.body = text.substr(end + 4);
  reply.status = std::atoi(reply.headers.substr(reply.headers.find(' ') + 1).c_str());
  return reply;
}

double Metric(const std::string& http_address, const std::string& series) {
  std::istringstream lines(Http(http_address, "/metrics").body);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(series + " ", 0) == 0) return std::strtod(line.c_str() + series.size(), nullptr);
  }
  return -1;
}

}  // namespace attnd
