#include "core/linear/layer_finder.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace attnd {
namespace {

using Role = WeightRole;

struct RuleMatch {
  const WeightRule* rule = nullptr;
  NamePattern::Match match;
};

std::optional<RuleMatch> MatchRule(const NamingScheme& scheme, const std::string& name) {
  for (const WeightRule& rule : scheme.rules) {
    const auto match = rule.name.Find(name);
    if (match.has_value() && (scheme.prefixes || match->prefix.empty())) return RuleMatch{&rule, *match};
  }
  return std::nullopt;
}

// The names that the scheme has for a role.
std::string NamesOf(const NamingScheme& scheme, Role role, const FoundLayer& found) {
  std::vector<std::string> names;
  for (const WeightRule& rule : scheme.rules) {
    if (rule.role == role) names.push_back(QuotedName(rule.name.Fill(found.prefix, found.layer)));
  }
  return absl::StrJoin(names, " or ");
}

// Norms of a feed-forward network that is none we know, such as experts, are none of ours.
void DropLoneNorms(FoundLayer& found) {
  auto& tensors = found.tensors;
  if (tensors[Role::kUp] != nullptr || tensors[Role::kDown] != nullptr || tensors[Role::kGate] != nullptr) return;
  tensors[Role::kFfnNormScale] = nullptr;
  tensors[Role::kFfnNormShift] = nullptr;
}

std::vector<const StoredTensor*> TensorsOf(const FoundLayer& found) {
  std::vector<const StoredTensor*> tensors;
  for (const WeightRoleInfo& info : WeightRoles()) {
    if (found.tensors[info.role] != nullptr) tensors.push_back(found.tensors[info.role]);
  }
  return tensors;
}

}  // namespace

absl::Status LayerFinder::FindBy(const NamingScheme& scheme) {
  std::map<Key, FoundLayer> groups;
  std::map<Key, std::string> foreign;
  for (const StoredTensor* tensor : tensors_) {
    for (const NamePattern& pattern : scheme.foreign) {
      if (const auto match = pattern.Find(tensor->name)) {
        foreign.emplace(Key(match->prefix, match->layer), tensor->name);
      }
    }
    if (IsTaken(tensor)) continue;
    const auto found = MatchRule(scheme, tensor->name);
    if (!found.has_value()) continue;
    FoundLayer& group = groups[Key(found->match.prefix, found->match.layer)];
    const StoredTensor*& place = group.tensors[found->rule->role];
    if (place != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("tensors ", QuotedName(place->name), " and ",
                                                     QuotedName(tensor->name), " are both ",
                                                     InfoOf(found->rule->role).name));
    }
    place = tensor;
  }
  for (auto& [key, group] : groups) {
    group.scheme = &scheme;
    group.prefix = key.first;
    group.layer = key.second;
    const auto stranger = foreign.find(key);
    Judge(scheme, std::move(group), stranger == foreign.end() ? nullptr : &stranger->second);
  }
  return absl::OkStatus();
}

void LayerFinder::Judge(const NamingScheme& scheme, FoundLayer found, const std::string* foreign) {
  std::vector<std::string> missing;
  for (const Role role : scheme.required) {
    if (found.tensors[role] == nullptr) missing.push_back(NamesOf(scheme, role, found));
  }
  if (missing.size() == scheme.required.size()) return;
  if (foreign != nullptr) {
    near_misses_.push_back({TensorsOf(found), absl::StrCat("a layer with ", QuotedName(*foreign),
                                                           " is of another kind than '", scheme.name, "'")});
    return;
  }
  if (!missing.empty()) {
    const auto present = TensorsOf(found);
    near_misses_.push_back({present, absl::StrCat("there is ", QuotedName(present.front()->name), " but no ",
                                                  absl::StrJoin(missing, ", "))});
    return;
  }
  DropLoneNorms(found);
  for (const StoredTensor* tensor : TensorsOf(found)) taken_.insert(tensor);
  layers_.push_back(std::move(found));
}

absl::StatusOr<std::vector<FoundLayer>> LayerFinder::Find() {
  for (const NamingScheme& scheme : mapping_.schemes()) {
    if (absl::Status s = FindBy(scheme); !s.ok()) return s;
  }
  // What another scheme has taken was no miss. Of the rest, the one that has most of a layer.
  const NearMiss* worst = nullptr;
  for (const NearMiss& miss : near_misses_) {
    if (std::any_of(miss.tensors.begin(), miss.tensors.end(), [this](const auto* t) { return IsTaken(t); })) continue;
    if (worst == nullptr || miss.tensors.size() > worst->tensors.size()) worst = &miss;
  }
  if (worst != nullptr) return absl::InvalidArgumentError(worst->problem);
  return std::move(layers_);
}

std::vector<std::string> LayerFinder::LeftOver() const {
  std::vector<std::string> names;
  for (const StoredTensor* tensor : tensors_) {
    if (!IsTaken(tensor)) names.push_back(tensor->name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace attnd
