// The results of `attnctl attend` and `attnctl multihead`: printed for people, written for programs.
#ifndef ATTND_CLIENT_ATTNCTL_RESULTS_H_
#define ATTND_CLIENT_ATTNCTL_RESULTS_H_

#include <map>
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

// What a file says beside its tensors.
using Notes = std::map<std::string, std::string>;

// What `attnctl heatmap` wants to know of the case whose results are in a file: lengths of
// queries and keys as "q_len" and "kv_len"; JSON lists "tokens" and, if keys have others,
// "key_tokens"; "causal" and "prefix_lengths" as the options, unless weights are of listed rows.
Notes NotesOf(const Case& input);

// Writes output and, where present, lse, weights, scores and what is made of weights, each in
// its own type: "top_k.weights", "diagnostics.entropy", "diagnostics.rows.entropy",
// "heatmap.mean" and so on; and what was explained, "context" as "explain.context". REQUIRES:
// CheckOutputPath is OK and `path` is not empty.
absl::Status WriteReply(const std::string& path, const codec::AttendReply& reply, const Explained& explained = {},
                        const Notes& notes = {});

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_RESULTS_H_
