#include "server/ready_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

absl::Status Failure(const std::string& path) {
  return absl::UnavailableError(
      absl::StrCat("cannot write --ready-file ", path, ": ", std::generic_category().message(errno)));
}

}  // namespace

absl::Status WriteReadyFile(const std::string& path, const std::vector<std::string>& grpc_addresses,
                            const std::string& http_address) {
  const nlohmann::ordered_json content = {{"grpc", grpc_addresses}, {"http", http_address}, {"pid", getpid()}};
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  std::ofstream file(temporary);
  file << content.dump() << "\n";
  file.close();
  if (file.fail()) return Failure(path);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    absl::Status failure = Failure(path);
    unlink(temporary.c_str());
    return failure;
  }
  return absl::OkStatus();
}

}  // namespace attnd
