// The cases that are built in: small ones that introductory texts on attention print.
#ifndef ATTND_CLIENT_ATTNCTL_EXAMPLES_H_
#define ATTND_CLIENT_ATTNCTL_EXAMPLES_H_

#include <string>
#include <string_view>
#include <vector>

#include "client/attnctl/case_options.h"

namespace attnd::attnctl {

// Names of the built-in cases of a kind, the one to try first in front.
std::vector<std::string> ExampleNames(CaseKind kind);

// The case of that name. With embeddings it has weights. REQUIRES: `name` is one of
// ExampleNames(kind).
Case Example(CaseKind kind, std::string_view name);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_EXAMPLES_H_
