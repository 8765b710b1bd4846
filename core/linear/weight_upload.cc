#include "core/linear/weight_upload.h"

#include <algorithm>
#include <new>
#include <span>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/errors.h"

namespace attnd {
namespace {

std::string Shown(std::string_view text) {
  constexpr size_t kMostShown = 64;
  return absl::StrCat("'", absl::CHexEscape(std::string(text.substr(0, kMostShown))),
                      text.size() > kMostShown ? "...'" : "'");
}

}  // namespace

WeightUpload::WeightUpload(ProjectionWeights weights, WeightShapes shapes, std::string_view id)
    : weights_(std::move(weights)), shapes_(std::move(shapes)), id_(id) {
  for (const WeightRoleInfo& info : WeightRoles()) {
    const auto& tensor = weights_.tensors[info.role];
    if (!tensor.has_value()) continue;
    Tensor& added = tensors_.emplace_back();
    added.info = &info;
    added.size = static_cast<size_t>(*TensorBytes(tensor->dtype, tensor->shape));
    bytes_ += static_cast<int64_t>(added.size);
  }
}

absl::StatusOr<std::unique_ptr<WeightUpload>> WeightUpload::Begin(ProjectionWeights weights, std::string_view id) {
  if (!IsWeightsId(id)) {
    return InvalidField("header.weights_id",
                        absl::StrCat("is ", Shown(id),
                                     "; the content's SHA-256 as 64 hexadecimal digits in lower case "
                                     "is required"));
  }
  auto shapes = CheckWeights(weights, "header.weights", /*without_bytes=*/true);
  if (!shapes.ok()) return shapes.status();
  return std::unique_ptr<WeightUpload>(new WeightUpload(std::move(weights), *std::move(shapes), id));
}

absl::Status WeightUpload::Select(std::string_view tensor) {
  if (current_ != nullptr && (tensor.empty() || tensor == current_->info->name)) return absl::OkStatus();
  if (tensor.empty()) return InvalidField("chunk.tensor", "is empty; the first chunk must name its tensor");
  const auto next =
      std::find_if(tensors_.begin(), tensors_.end(), [tensor](const Tensor& t) { return tensor == t.info->name; });
  if (next == tensors_.end()) {
    return InvalidField("chunk.tensor", absl::StrCat("is ", Shown(tensor), ", which the header does not have"));
  }
  if (current_ != nullptr && !current_->complete()) {
    return InvalidField("chunk.tensor", absl::StrCat("is ", Shown(tensor), " after ", current_->received, " of ",
                                                     current_->size, " bytes of ", current_->info->name,
                                                     "; a tensor's chunks come one after the other"));
  }
  if (next->data != nullptr) {
    return InvalidField("chunk.tensor", absl::StrCat("is ", Shown(tensor),
                                                     ", which has come before; each tensor "
                                                     "comes once"));
  }
  next->data.reset(new (std::nothrow) std::byte[next->size]);
  if (next->data == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for ", next->size, " bytes of weights"));
  }
  current_ = &*next;
  return absl::OkStatus();
}

absl::Status WeightUpload::Append(std::string_view tensor, const Fragments& data) {
  if (absl::Status s = Select(tensor); !s.ok()) return s;
  const size_t missing = current_->size - current_->received;
  if (data.size() > missing) {
    return InvalidField("chunk.data", absl::StrCat("has ", data.size(), " bytes; ", missing, " of ", current_->size,
                                                   " are missing in ", current_->info->name));
  }
  data.CopyTo(current_->data.get() + current_->received);
  current_->received += data.size();
  Hash();
  return absl::OkStatus();
}

void WeightUpload::Hash() {
  for (; hashing_ < tensors_.size(); ++hashing_, hashing_begun_ = false) {
    Tensor& tensor = tensors_[hashing_];
    if (tensor.data == nullptr) return;
    if (!hashing_begun_) hash_.BeginTensor(*tensor.info, *weights_.tensors[tensor.info->role], weights_.orientation);
    hashing_begun_ = true;
    hash_.Append(std::span(tensor.data.get() + tensor.hashed, tensor.received - tensor.hashed));
    tensor.hashed = tensor.received;
    if (!tensor.complete()) return;
  }
}

absl::StatusOr<const ProjectionWeights*> WeightUpload::Finish() {
  for (const Tensor& tensor : tensors_) {
    if (!tensor.complete()) {
      return InvalidField("chunk", absl::StrCat("the upload ended after ", tensor.received, " of ", tensor.size,
                                                " bytes of ", tensor.info->name));
    }
  }
  const auto id = hash_.Finish();
  if (!id.ok()) return id.status();
  if (*id != id_) {
    return InvalidField("header.weights_id", absl::StrCat("is ", id_, "; the content that came has ", *id));
  }
  for (const Tensor& tensor : tensors_) {
    weights_.tensors[tensor.info->role]->bytes = Fragments(std::span(tensor.data.get(), tensor.size));
  }
  return &weights_;
}

}  // namespace attnd
