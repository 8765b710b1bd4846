#include "server/preload.h"

#include <set>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/linear/weight_files.h"
#include "core/linear/weight_mapping.h"
#include "core/linear/weights_id.h"
#include "server/logging.h"

namespace attnd {
namespace {

struct Source {
  std::string name;
  std::string path;
};

// A name has no slash, so that paths with '=' are paths.
Source SourceOf(const std::string& text) {
  const size_t at = text.find('=');
  if (at == std::string::npos || text.substr(0, at).find('/') != std::string::npos) return {"", text};
  return {text.substr(0, at), text.substr(at + 1)};
}

absl::Status Bad(const std::string& problem) {
  return absl::InvalidArgumentError(absl::StrCat("--weights: ", problem));
}

absl::Status Preload(const Source& source, const WeightMapping& mapping, WeightStore& weights,
                     std::set<std::string>& aliases) {
  const auto loaded = LoadWeights(source.path, mapping, source.name);
  if (!loaded.ok()) return Bad(std::string(loaded.status().message()));
  for (const NamedWeights& set : loaded->sets) {
    if (!aliases.insert(set.alias).second) {
      return Bad(absl::StrCat(source.path, ": there are weights called '", set.alias,
                              "' already; NAME=PATH gives a model another name"));
    }
    const auto registered = weights.Register(set.weights, set.alias);
    const WeightStoreStats stats = weights.Stats();
    if (!registered.ok()) {
      return Bad(absl::StrCat(source.path, ": ", set.alias, ": ", std::string(registered.status().message())));
    }
    if (stats.evictions > 0) {
      return Bad(absl::StrCat(source.path, ": ", set.alias, " and what is before it take more than the ",
                              stats.budget_bytes, " bytes of --weights-budget"));
    }
    Log(LogLevel::kInfo, "weights",
        {{"alias", set.alias},
         {"id", registered->id},
         {"path", source.path},
         {"existed", std::string(registered->existed ? "true" : "false")}});
  }
  for (const std::string& name : loaded->passed_over) {
    Log(LogLevel::kDebug, "tensor passed over", {{"name", name}, {"path", source.path}});
  }
  Log(LogLevel::kInfo, "weights loaded",
      {{"path", source.path},
       {"sets", static_cast<int64_t>(loaded->sets.size())},
       {"tensors_passed_over", static_cast<int64_t>(loaded->passed_over.size())},
       {"resident_bytes", weights.Stats().resident_bytes}});
  return absl::OkStatus();
}

}  // namespace

absl::Status PreloadWeights(const ServerOptions& options, WeightStore& weights) {
  if (options.weights.empty()) return absl::OkStatus();
  const auto mapping = WeightMapping::FromPresetOrFile(options.weights_mapping);
  if (!mapping.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--weights-mapping: ", std::string(mapping.status().message())));
  }
  std::set<std::string> aliases;
  for (const std::string& text : options.weights) {
    if (absl::Status s = Preload(SourceOf(text), *mapping, weights, aliases); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace attnd
