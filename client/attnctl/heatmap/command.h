// attnctl heatmap: a picture of attention weights, from a file or from a server.
#ifndef ATTND_CLIENT_ATTNCTL_HEATMAP_COMMAND_H_
#define ATTND_CLIENT_ATTNCTL_HEATMAP_COMMAND_H_

#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "client/attnctl/case.h"
#include "client/attnctl/heatmap/map_from_file.h"
#include "client/attnctl/heatmap/map_options.h"
#include "client/client.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}  // namespace CLI

namespace attnd::attnctl {

struct HeatmapFlags {
  // The case that a server computes, unless there is a file.
  CaseSource source{.kind = CaseKind::kAttend};
  bool multihead = false;
  MapFile file;
  // As they came.
  std::string zeros;
  std::string layers;
  std::string heads;
  std::string tokens;
  std::string tokens_file;
  std::string key_tokens;
  // And what they mean, once they were checked.
  MapOptions options;
  // Of the picture.
  std::string output;
  std::string theme;
  // .npy; empty for none.
  std::string save;
};

// What the flag of a case's option is called here, where --heads says which ones are shown.
std::string CaseFlagName(const OptionRule& rule);

// Adds the command and its flags to `app`.
void AddHeatmap(CLI::App* app, HeatmapFlags* flags);

// Reads the flags. Fails if they make no picture, whatever the files hold.
absl::Status CheckHeatmap(HeatmapFlags* flags);

// Draws the picture, writes it, and says so in a line. REQUIRES: CheckHeatmap is OK.
absl::Status DrawHeatmap(const ClientOptions& options, const HeatmapFlags& flags, std::ostream& out);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_HEATMAP_COMMAND_H_
