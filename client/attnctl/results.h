// The results of `attnctl attend`: printed for people, written for programs.
#ifndef ATTND_CLIENT_ATTNCTL_RESULTS_H_
#define ATTND_CLIENT_ATTNCTL_RESULTS_H_

#include <string>

#include "absl/status/status.h"
#include "client/attnctl/case.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// What `reply` says about `input`: each tensor as tables per batch entry and head if it is
// small, as a summary if it is not; then the server's timings and numerics id.
std::string DescribeReply(const Case& input, const codec::AttendReply& reply);

// OK if `path` is empty, ends in .safetensors, or ends in .npy while `outputs` asks for
// nothing beside the output, since such a file holds one array, and not for bfloat16, which
// NumPy does not have.
absl::Status CheckOutputPath(const std::string& path, const AttentionOutputs& outputs);

// Writes output and, where present, lse, weights and scores, each in its own type. REQUIRES:
// CheckOutputPath is OK and `path` is not empty.
absl::Status WriteReply(const std::string& path, const codec::AttendReply& reply);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_RESULTS_H_
