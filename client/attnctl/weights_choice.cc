#include "client/attnctl/weights_choice.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/linear/weight_files.h"
#include "core/linear/weights_id.h"

namespace attnd::attnctl {
namespace {

// Sets that an error lists.
constexpr size_t kMostListed = 12;

std::string NamesOf(const std::vector<const NamedWeights*>& sets) {
  const size_t listed = std::min(sets.size(), kMostListed);
  const auto names =
      absl::StrJoin(sets.begin(), sets.begin() + static_cast<std::ptrdiff_t>(listed), ", ",
                    [](std::string* text, const NamedWeights* set) { absl::StrAppend(text, set->alias); });
  return listed == sets.size() ? names : absl::StrCat(names, " and ", sets.size() - listed, " more");
}

bool IsMeant(const NamedWeights& set, const WeightsChoice& choice) {
  return (!choice.layer.has_value() || set.layer == *choice.layer) && (choice.name.empty() || set.alias == choice.name);
}

absl::StatusOr<const NamedWeights*> PickOne(const LoadedWeights& loaded, const WeightsChoice& choice) {
  std::vector<const NamedWeights*> all;
  std::vector<const NamedWeights*> meant;
  for (const NamedWeights& set : loaded.sets) {
    all.push_back(&set);
    if (IsMeant(set, choice)) meant.push_back(&set);
  }
  if (meant.size() == 1) return meant.front();
  if (!meant.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        choice.weights, ": ", meant.size(), " sets of weights; pick one with --layer or --name: ", NamesOf(meant)));
  }
  const std::string wanted = absl::StrCat(choice.layer.has_value() ? absl::StrCat(" of layer ", *choice.layer) : "",
                                          choice.name.empty() ? "" : absl::StrCat(" called '", choice.name, "'"));
  return absl::NotFoundError(absl::StrCat(choice.weights, ": no weights", wanted, "; there are: ", NamesOf(all)));
}

}  // namespace

bool IsWeightsPath(const std::string& text) {
  std::error_code ignored;
  return std::filesystem::exists(text, ignored) || text.ends_with(".safetensors") || text.starts_with('/') ||
         text.starts_with("./") || text.starts_with("../");
}

absl::Status CheckChoice(const WeightsChoice& choice) {
  if (choice.weights.empty()) {
    return absl::InvalidArgumentError("--weights: is needed: an id, an alias, or a .safetensors file or a folder");
  }
  if (IsWeightsId(choice.weights) || !IsWeightsPath(choice.weights)) {
    for (const auto& [flag, given] :
         {std::pair{"--mapping", !choice.mapping.empty()}, std::pair{"--layer", choice.layer.has_value()},
          std::pair{"--name", !choice.name.empty()}}) {
      if (!given) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(flag, ": goes with a file or folder, but there is none called '", choice.weights, "'"));
    }
    return IsWeightsId(choice.weights) ? absl::OkStatus() : CheckAlias("--weights", choice.weights);
  }
  return absl::OkStatus();
}

absl::Status ChooseWeights(const WeightsChoice& choice, codec::MultiHeadCall* call,
                           std::shared_ptr<const void>* owner) {
  if (IsWeightsId(choice.weights)) {
    call->weights_id = choice.weights;
    return absl::OkStatus();
  }
  if (!IsWeightsPath(choice.weights)) {
    call->weights_alias = choice.weights;
    return absl::OkStatus();
  }
  const auto mapping = WeightMapping::FromPresetOrFile(choice.mapping.empty() ? "auto" : choice.mapping);
  if (!mapping.ok()) return mapping.status();
  auto read = LoadWeights(choice.weights, *mapping);
  if (!read.ok()) return read.status();
  const auto loaded = std::make_shared<LoadedWeights>(*std::move(read));
  const auto set = PickOne(*loaded, choice);
  if (!set.ok()) return set.status();
  call->with_request = (*set)->weights;
  *owner = loaded;
  return absl::OkStatus();
}

}  // namespace attnd::attnctl
