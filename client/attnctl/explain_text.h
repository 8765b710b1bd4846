// A page that shows how attention of one head is computed, for a reader who knows products of
// matrices and nothing else.
#ifndef ATTND_CLIENT_ATTNCTL_EXPLAIN_TEXT_H_
#define ATTND_CLIENT_ATTNCTL_EXPLAIN_TEXT_H_

#include <string>

#include "client/attnctl/case.h"
#include "client/attnctl/explain_head.h"
#include "core/attention/plan.h"

namespace attnd::attnctl {

// The page for `head` of the case, with the arithmetic of `cell` and of its row written out. Every
// number on it follows from numbers above, as far as these are printed. REQUIRES: the head is
// PickHead's for the case and its plan; the cell is one of its own.
std::string ExplainText(const Case& input, const AttentionPlan& plan, const ExplainedHead& head, const Cell& cell);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_EXPLAIN_TEXT_H_
