#include "client/push_weights.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace attnd {

absl::StatusOr<PushResult> PushWeights(Client& client, const PushSource& source,
                                       const std::function<void(const PushedWeights&)>& pushed) {
  const auto mapping = WeightMapping::FromPresetOrFile(source.mapping);
  if (!mapping.ok()) return mapping.status();
  auto loaded = LoadWeights(source.path, *mapping, source.name);
  if (!loaded.ok()) return loaded.status();
  PushResult result;
  result.passed_over = std::move(loaded->passed_over);
  for (const NamedWeights& set : loaded->sets) {
    auto registered = client.RegisterWeights(set.weights, set.alias);
    if (!registered.ok()) {
      return absl::Status(registered.status().code(),
                          absl::StrCat(set.alias, ": ", std::string(registered.status().message())));
    }
    result.sets.push_back({set.alias, *std::move(registered)});
    if (pushed) pushed(result.sets.back());
  }
  return result;
}

}  // namespace attnd
