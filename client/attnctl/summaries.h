// What top-k, diagnostics and heatmaps say, for people: tables where there is little, a
// summary where there is much.
#ifndef ATTND_CLIENT_ATTNCTL_SUMMARIES_H_
#define ATTND_CLIENT_ATTNCTL_SUMMARIES_H_

#include <string>
#include <vector>

#include "core/attention/request.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// May be empty.
using Tokens = std::vector<std::string>;

// A line per row, such as "cat  cat 0.497, sat 0.301".
std::string DescribeTopK(const codec::TopKReply& top_k, const TopKOutput& asked, const Tokens& tokens,
                         const Tokens& key_tokens);

// A table per batch entry with a line per head; then, if they are there, rows.
std::string DescribeDiagnostics(const codec::DiagnosticsReply& diagnostics, const DiagnosticsOutput& asked,
                                const Tokens& tokens, const Tokens& key_tokens);

// Its size, and how to see it.
std::string DescribeHeatmap(const codec::HeatmapReply& heatmap);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_SUMMARIES_H_
