// The file by which scripts learn where a server listens.
#ifndef ATTND_SERVER_READY_FILE_H_
#define ATTND_SERVER_READY_FILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace attnd {

// Writes {"grpc": [...], "http": "...", "pid": N} to `path` in one step: whoever sees the
// file sees all of it.
absl::Status WriteReadyFile(const std::string& path, const std::vector<std::string>& grpc_addresses,
                            const std::string& http_address);

}  // namespace attnd

#endif  // ATTND_SERVER_READY_FILE_H_
