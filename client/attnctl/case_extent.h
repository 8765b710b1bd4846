// How large a case is: how many entries and heads, and how long each entry.
#ifndef ATTND_CLIENT_ATTNCTL_CASE_EXTENT_H_
#define ATTND_CLIENT_ATTNCTL_CASE_EXTENT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "client/attnctl/case_options.h"

namespace attnd::attnctl {

struct EntryLengths {
  int64_t q_len = 0;
  int64_t kv_len = 0;
};

struct CaseExtent {
  int64_t heads = 0;
  // Entries, or sequences of a packed case.
  int64_t batch = 0;
  // One per sequence of a packed case, one for all entries of others.
  std::vector<EntryLengths> lengths;
  bool packed = false;

  // REQUIRES: 0 <= entry < batch.
  [[nodiscard]] const EntryLengths& Lengths(int64_t entry) const {
    return lengths[packed ? static_cast<size_t>(entry) : 0];
  }
};

// Fails if the shapes contradict each other in a way that a server would refuse; not all are
// found here.
absl::StatusOr<CaseExtent> ExtentOf(const Case& input);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_CASE_EXTENT_H_
