// `attnctl explain`.
#ifndef ATTND_CLIENT_ATTNCTL_EXPLAIN_COMMAND_H_
#define ATTND_CLIENT_ATTNCTL_EXPLAIN_COMMAND_H_

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/attnctl/commands.h"
#include "client/attnctl/explain_head.h"
#include "client/client.h"
#include "core/attention/plan.h"
#include "proto/codec.h"

namespace attnd::attnctl {

struct ExplainFlags {
  // Of a case of `attnctl attend`.
  CaseFlags computed{.source = {.kind = CaseKind::kAttend}, .output = {}};
  // Whose arithmetic is written out, as ReadCell reads it; empty: StrongestCell.
  std::string cell;
  HeadChoice head;
};

// What a different command line would avoid, as far as it is known before files are read.
absl::Status CheckExplain(const ExplainFlags& flags);

// Makes the case ask for every intermediate and for nothing else, and plans it. Fails if it is too
// large to read, or has no such head.
absl::StatusOr<AttentionPlan> PrepareExplain(const HeadChoice& choice, Case* input);

// The page that `reply` makes, for the plan that PrepareExplain returned.
absl::StatusOr<std::string> ExplainReply(const ExplainFlags& flags, const Case& input, const AttentionPlan& plan,
                                         const codec::AttendReply& reply);

// Asks the server for every intermediate of the case, prints one head of it step by step, and
// writes all that came to a file if asked to. REQUIRES: CheckExplain is OK.
absl::Status ExplainCase(const ClientOptions& options, const ExplainFlags& flags, std::ostream& out);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_EXPLAIN_COMMAND_H_
