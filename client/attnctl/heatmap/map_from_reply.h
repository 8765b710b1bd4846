// A picture of what a server answered.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FROM_REPLY_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FROM_REPLY_H_

#include "absl/status/statusor.h"
#include "client/attnctl/case_options.h"
#include "client/attnctl/heatmap/map_options.h"
#include "proto/codec.h"

namespace attnd::attnctl {

// Makes the case ask for what a picture needs, and for nothing else beside the output.
void AskForMap(const MapOptions& options, Case* input);

// The picture of a reply to the case. Fails with kInvalidArgument if an option does not fit
// it, with kInternal if the reply does not.
absl::StatusOr<DrawnMap> MapFromReply(const Case& input, const codec::AttendReply& reply, const MapOptions& options);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_MAP_FROM_REPLY_H_
