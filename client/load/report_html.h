// The results of a load test as a page to look at.
#ifndef ATTND_CLIENT_LOAD_REPORT_HTML_H_
#define ATTND_CLIENT_LOAD_REPORT_HTML_H_

#include <string>

#include "absl/status/statusor.h"

namespace attnd::load {

// One self-contained page (no network) that draws `json`, which ToJson made and which it
// contains. kInvalidArgument if `json` is no such report; the message calls it `name`.
absl::StatusOr<std::string> RenderHtml(const std::string& name, const std::string& json);

}  // namespace attnd::load

#endif  // ATTND_CLIENT_LOAD_REPORT_HTML_H_
