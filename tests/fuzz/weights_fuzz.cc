// Gives the same bytes to what reads weights from files and from uploads, and aborts if they
// are refused with anything but INVALID_ARGUMENT and a reason. Input: which of the two, the bytes.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/support/hostile_weights.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const absl::Status status = data[0] % 2 == 0 ? attnd::ReadHostileFile(bytes) : attnd::ReadHostileUpload(bytes);
  if (status.ok() || (absl::IsInvalidArgument(status) && !status.message().empty())) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}
