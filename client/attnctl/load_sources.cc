#include "client/attnctl/load_sources.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/attnctl/case.h"
#include "client/attnctl/weights_choice.h"
#include "core/linear/weight_files.h"
#include "core/linear/weight_mapping.h"

namespace attnd::attnctl {
namespace {

// The weights without their elements.
absl::StatusOr<WeightShapes> ShapesOf(const v1::WeightsInfo& info) {
  ProjectionWeights weights;
  weights.orientation =
      info.orientation() == v1::ProjectionWeights::ORIENTATION_OUT_IN ? Orientation::kOutIn : Orientation::kInOut;
  for (const v1::WeightsTensor& tensor : info.tensors()) {
    const auto role = WeightRoleFromName(tensor.name());
    if (!role.has_value()) {
      return absl::UnimplementedError(absl::StrCat("the server's weights have '", tensor.name(), "', unknown here"));
    }
    weights.tensors[*role] =
        TensorView{DataType::kFloat32, std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end()), {}};
  }
  return CheckWeights(weights, "weights", /*without_bytes=*/true);
}

}  // namespace

load::WorkSources LoadSources::Get() {
  return {.weights = [this](const std::string& weights) { return FindWeights(weights); },
          .case_file = [this](const load::WorkShape& shape) { return ReadCase(shape); }};
}

absl::StatusOr<load::NamedWorkWeights> LoadSources::FindWeights(const std::string& weights) {
  const auto known = known_.find(weights);
  if (known != known_.end()) return known->second;
  auto found = IsWeightsPath(weights) ? PushFile(weights) : AskServer(weights);
  if (!found.ok()) return found;
  known_[weights] = *found;
  // Cases ask by the id that they got.
  known_[found->id] = *found;
  return found;
}

absl::StatusOr<load::NamedWorkWeights> LoadSources::PushFile(const std::string& path) {
  const auto mapping = WeightMapping::FromPresetOrFile("auto");
  if (!mapping.ok()) return mapping.status();
  auto read = LoadWeights(path, *mapping);
  if (!read.ok()) return read.status();
  const auto loaded = std::make_shared<LoadedWeights>(*std::move(read));
  const ProjectionWeights& weights = loaded->sets.front().weights;
  const auto shapes = CheckWeights(weights, path);
  if (!shapes.ok()) return shapes.status();
  load::NamedWorkWeights found{{}, *shapes, std::shared_ptr<const ProjectionWeights>(loaded, &weights)};
  for (const auto& server : *servers_) {
    const auto registered = server->RegisterWeights(weights);
    if (!registered.ok()) return registered.status();
    found.id = registered->id;
  }
  return found;
}

absl::StatusOr<load::NamedWorkWeights> LoadSources::AskServer(const std::string& name) {
  const auto info = servers_->front()->DescribeWeights(name);
  if (!info.ok()) return info.status();
  const auto shapes = ShapesOf(*info);
  if (!shapes.ok()) return shapes.status();
  return load::NamedWorkWeights{info->weights_id(), *shapes, nullptr};
}

absl::StatusOr<load::CaseRequest> LoadSources::ReadCase(const load::WorkShape& shape) {
  CaseSource source{.input = shape.case_file};
  if (shape.is_multihead()) {
    const auto weights = FindWeights(shape.weights);
    if (!weights.ok()) return weights.status();
    source.kind = CaseKind::kMultiHead;
    source.weights.weights = weights->id;
  }
  if (const auto usage = CheckUsage(source); !usage.ok()) return usage.status();
  auto read = LoadCase(source);
  if (!read.ok()) return read.status();
  load::CaseRequest request;
  if (shape.is_multihead()) {
    request.multihead = std::move(read->multihead);
  } else {
    request.attend = std::move(read->request);
  }
  return request;
}

}  // namespace attnd::attnctl
