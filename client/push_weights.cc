#include "client/push_weights.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace attnd {
namespace {

absl::Status CheckAllAreThere(Client& client, const PushResult& result) {
  const auto list = client.ListWeights();
  if (!list.ok()) return list.status();
  std::set<std::string> ids;
  for (const v1::WeightsInfo& info : list->weights()) ids.insert(info.weights_id());
  const auto gone = std::count_if(result.sets.begin(), result.sets.end(),
                                  [&ids](const PushedWeights& set) { return !ids.contains(set.registered.id); });
  if (gone == 0) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(gone, " of the ", result.sets.size(),
                                                   " sets had to make room for the others: the server keeps ",
                                                   list->budget_bytes(), " bytes of weights (--weights-budget)"));
}

}  // namespace

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
  if (absl::Status s = CheckAllAreThere(client, result); !s.ok()) return s;
  return result;
}

}  // namespace attnd
