// A worker's scratch memory.
#ifndef ATTND_CORE_ATTENTION_SCRATCH_H_
#define ATTND_CORE_ATTENTION_SCRATCH_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace attnd {

// 64-byte aligned floats that grow and never shrink. Thread-compatible.
class Scratch {
 public:
  // Room for at least `floats`; what was there is lost. kResourceExhausted if it cannot be had.
  absl::Status Reserve(int64_t floats) {
    if (floats <= capacity_) return absl::OkStatus();
    const auto bytes = static_cast<size_t>((floats + 15) / 16 * 64);
    memory_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    capacity_ = memory_ == nullptr ? 0 : floats;
    if (memory_ == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes of scratch"));
    }
    return absl::OkStatus();
  }
  [[nodiscard]] float* data() const { return memory_.get(); }

 private:
  struct FreeDeleter {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, FreeDeleter> memory_;
  int64_t capacity_ = 0;
};

}  // namespace attnd

#endif  // ATTND_CORE_ATTENTION_SCRATCH_H_
