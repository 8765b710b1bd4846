// The results of `attnctl attend` and `attnctl multihead`: printed for people, written for programs.
#ifndef ATTND_CLIENT_ATTNCTL_RESULTS_H_
#define ATTND_CLIENT_ATTNCTL_RESULTS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/attnctl/case.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// What lies between the stages, by name.
using Explained = std::vector<std::pair<std::string, codec::ReplyTensor>>;

// An example's title, and what flags make of it.
std::string TitleOf(const Case& input);

// What `reply` says about `input`: each tensor as tables per batch entry and head if it is
// small, as a summary if it is not; then the server's timings and numerics id.
std::string DescribeReply(const Case& input, const codec::AttendReply& reply, const Explained& explained = {});

// OK if `path` is empty, ends in .safetensors, or ends in .npy while `outputs` asks for
// nothing beside the output, nor `explain`, since such a file holds one array, and not for
// bfloat16, which NumPy does not have.
absl::Status CheckOutputPath(const std::string& path, const AttentionOutputs& outputs, bool explain = false);

// Writes output and, where present, lse, weights and scores, each in its own type, and what
// was explained, "context" as "explain.context". REQUIRES:
// CheckOutputPath is OK and `path` is not empty.
absl::Status WriteReply(const std::string& path, const codec::AttendReply& reply, const Explained& explained = {});

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_RESULTS_H_
