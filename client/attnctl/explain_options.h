// What the options of a request do to its scores, in words.
#ifndef ATTND_CLIENT_ATTNCTL_EXPLAIN_OPTIONS_H_
#define ATTND_CLIENT_ATTNCTL_EXPLAIN_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/attnctl/explain_head.h"
#include "core/attention/request.h"

namespace attnd::attnctl {

// What is added to scores, such as "a bias"; empty if nothing is.
std::vector<std::string> AddedBy(const AttentionOptions& options);

// What hides keys, such as "causal hides the keys after a query"; empty if the head's queries see
// them all.
std::vector<std::string> HiddenBy(const AttentionRequest& request, const ExplainedHead& head);

// The head's logit in the denominator, if there are such.
std::optional<float> SinkOf(const AttentionOptions& options, int64_t head);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_EXPLAIN_OPTIONS_H_
