// The cases that are built in.
#ifndef ATTND_CLIENT_ATTNCTL_EXAMPLES_H_
#define ATTND_CLIENT_ATTNCTL_EXAMPLES_H_

#include <string>

#include "client/attnctl/case_options.h"

namespace attnd::attnctl {

// The name of the built-in case, of which each kind has one.
inline constexpr char kExample[] = "cat-sat";

// That case. With embeddings it has weights.
Case Example(CaseKind kind);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_EXAMPLES_H_
