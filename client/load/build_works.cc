#include "client/load/build_works.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/load/random_tensor.h"
#include "client/messages.h"
#include "core/attention/plan.h"
#include "core/linear/multihead_plan.h"

namespace attnd::load {
namespace {

constexpr int64_t kLargestMessage = std::numeric_limits<int32_t>::max();
// A client does not know the server's limits; these are those of messages.
constexpr AttentionLimits kLimits = {.max_head_dim = std::numeric_limits<int32_t>::max(),
                                     .max_output_bytes = kLargestMessage};

// Owns the bytes of tensors until they are in a message.
class Tensors {
 public:
  explicit Tensors(RandomBits* random) : random_(random) {}

  TensorView Normal(DataType dtype, std::vector<int64_t> shape) {
    return Store(dtype, std::move(shape),
                 [this](const TensorView& view, int64_t count) { return NormalNumbers(view.dtype, count, *random_); });
  }

  TensorView Mask(double share, std::vector<int64_t> shape) {
    return Store(DataType::kBool, std::move(shape),
                 [&](const TensorView&, int64_t count) { return RandomMask(share, count, *random_); });
  }

  // Not OK if the tensors together would be too large for a message; they have no bytes then.
  [[nodiscard]] absl::Status status() const {
    if (total_ <= kLargestMessage) return absl::OkStatus();
    return absl::InvalidArgumentError("its tensors take more than 2 GiB, which is what a message holds");
  }

 private:
  template <typename Fill>
  TensorView Store(DataType dtype, std::vector<int64_t> shape, const Fill& fill) {
    TensorView view{dtype, std::move(shape), {}};
    const int64_t bytes = TensorBytes(dtype, view.shape).value_or(kLargestMessage + 1);
    total_ = std::min(total_ + std::min(bytes, kLargestMessage + 1), kLargestMessage + 1);
    if (!status().ok()) return view;
    owned_.push_back(fill(view, bytes / ElementBytes(dtype)));
    view.bytes.Append(owned_.back());
    return view;
  }

  RandomBits* random_;
  std::vector<std::vector<std::byte>> owned_;
  int64_t total_ = 0;
};

// The lengths of a request of a shape.
struct Lengths {
  int64_t q_len = 0;
  int64_t kv_len = 0;
};

std::vector<Lengths> LengthsOf(const WorkShape& shape) {
  if (!shape.packed.empty()) {
    const int64_t longest = *std::max_element(shape.packed.begin(), shape.packed.end());
    return {{longest, longest}};
  }
  const auto nth = [](const std::vector<int64_t>& list, size_t i) { return list[list.size() == 1 ? 0 : i]; };
  std::vector<Lengths> all(std::max(shape.q_len.size(), shape.kv_len.size()));
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].q_len = nth(shape.q_len, i);
    all[i].kv_len = shape.kv_len.empty() ? all[i].q_len : nth(shape.kv_len, i);
  }
  return all;
}

AttentionOptions OptionsOf(const WorkShape& shape, const Lengths& lengths, Tensors& tensors) {
  AttentionOptions options;
  options.causal = shape.causal;
  if (shape.window.has_value()) options.window = Window{.left = shape.window, .right = std::nullopt};
  if (shape.causal || shape.window.has_value()) options.alignment = Alignment::kBottomRight;
  options.kv_lengths = shape.packed.empty() ? shape.kv_lengths : shape.packed;
  options.q_lengths = shape.packed;
  if (shape.mask_density.has_value()) {
    options.masks.push_back(
        {tensors.Mask(*shape.mask_density, {1, 1, lengths.q_len, lengths.kv_len}), Polarity::kKeep});
  }
  return options;
}

int64_t TotalOf(const std::vector<int64_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

AttentionRequest AttendOf(const WorkShape& shape, const Lengths& lengths, Tensors& tensors) {
  const int64_t kv_heads = shape.kv_heads.value_or(shape.heads);
  const auto extents = [&shape](int64_t heads, int64_t len, int64_t dim) -> std::vector<int64_t> {
    if (!shape.packed.empty()) return {TotalOf(shape.packed), heads, dim};
    return {shape.batch, heads, len, dim};
  };
  AttentionRequest request;
  request.layout = shape.packed.empty() ? Layout::kHeadsFirst : Layout::kPacked;
  request.query = tensors.Normal(shape.dtype, extents(shape.heads, lengths.q_len, shape.head_dim));
  request.key = tensors.Normal(shape.dtype, extents(kv_heads, lengths.kv_len, shape.head_dim));
  request.value =
      tensors.Normal(shape.dtype, extents(kv_heads, lengths.kv_len, shape.value_dim.value_or(shape.head_dim)));
  request.options = OptionsOf(shape, lengths, tensors);
  return request;
}

codec::MultiHeadCall MultiHeadOf(const WorkShape& shape, const Lengths& lengths, const NamedWorkWeights& weights,
                                 Tensors& tensors) {
  const bool fused = weights.shapes.has(WeightRole::kQkv);
  const auto extents = [&shape](int64_t len, int64_t width) -> std::vector<int64_t> {
    if (!shape.packed.empty()) return {TotalOf(shape.packed), width};
    return {shape.batch, len, width};
  };
  codec::MultiHeadCall call;
  call.weights_id = weights.id;
  MultiHeadRequest& request = call.request;
  request.heads = shape.heads;
  request.kv_heads = shape.kv_heads;
  request.value_dim = shape.value_dim;
  request.layout = shape.packed.empty() ? Layout::kTokensFirst : Layout::kPacked;
  const int64_t width = weights.shapes.in(fused ? WeightRole::kQkv : WeightRole::kQuery);
  request.query = tensors.Normal(shape.dtype, extents(lengths.q_len, shape.model_dim.value_or(width)));
  if (!shape.kv_len.empty()) {
    const int64_t key_width = fused ? width : weights.shapes.in(WeightRole::kKey);
    request.key = tensors.Normal(shape.dtype, extents(lengths.kv_len, key_width));
  }
  request.options = OptionsOf(shape, lengths, tensors);
  return call;
}

std::string DescribeOptions(const AttentionOptions& options, Layout layout) {
  std::string text;
  if (options.causal) text += " causal";
  if (options.window.has_value()) text += " windowed";
  if (!options.masks.empty()) text += " masked";
  if (!options.biases.empty()) text += " biased";
  if (layout == Layout::kPacked) {
    absl::StrAppend(&text, " packed");
  } else if (!options.kv_lengths.empty() || !options.q_lengths.empty()) {
    absl::StrAppend(&text, " padded");
  }
  return text;
}

std::string DescribeTensors(const TensorView& query, const TensorView& key) {
  const std::string keys = key.shape == query.shape ? "" : absl::StrCat(" over ", ShapeString(key.shape));
  return absl::StrCat(ShapeString(query.shape), keys, " ", absl::AsciiStrToLower(DataTypeName(query.dtype)));
}

absl::Status WithName(const std::string& name, const absl::Status& status) {
  return {status.code(), absl::StrCat(name, ": ", std::string(status.message()))};
}

// Makes the message, and of it what it says: no tensor is held twice.
template <typename Call>
absl::StatusOr<Call> MakeMessage(const std::vector<codec::Chunk>& chunks, Work& work,
                                 absl::StatusOr<Call> (*decode)(codec::MessagePieces, std::shared_ptr<const void>)) {
  auto message = CopyToSlices(chunks);
  if (!message.ok()) return message.status();
  work.message = *std::move(message);
  auto slices = SlicesOf(work.message);
  if (!slices.ok()) return slices.status();
  const auto owner = std::make_shared<std::vector<grpc::Slice>>(*std::move(slices));
  return decode(PiecesOf(*owner), owner);
}

absl::Status FinishAttend(const AttentionRequest& request, Work& work) {
  auto call = MakeMessage(codec::EncodeAttendRequest(request), work, codec::DecodeAttendRequest);
  if (!call.ok()) return call.status();
  const auto plan = PlanAttention(call->request, kLimits);
  if (!plan.ok()) return plan.status();
  work.method = "/attnd.v1.AttentionService/Attend";
  work.flops = plan->flops;
  work.description = absl::StrCat("Attend ", DescribeTensors(request.query, request.key),
                                  DescribeOptions(request.options, request.layout));
  work.attend = std::make_shared<const AttentionRequest>(std::move(call->request));
  return absl::OkStatus();
}

absl::Status FinishMultiHead(const codec::MultiHeadCall& asked, const WeightShapes& shapes, Work& work) {
  auto call = MakeMessage(codec::EncodeMultiHeadRequest(asked), work, codec::DecodeMultiHeadRequest);
  if (!call.ok()) return call.status();
  const auto plan = PlanMultiHead(call->request, shapes, kLimits);
  if (!plan.ok()) return plan.status();
  work.method = "/attnd.v1.AttentionService/MultiHeadAttend";
  work.flops = plan->attention.flops + plan->linear_flops;
  const MultiHeadRequest& request = asked.request;
  work.description =
      absl::StrCat("MultiHeadAttend ", DescribeTensors(request.query, request.key.value_or(request.query)), " ",
                   request.heads, " heads", DescribeOptions(request.options, request.layout));
  work.multihead = std::make_shared<const codec::MultiHeadCall>(*std::move(call));
  return absl::OkStatus();
}

class Builder {
 public:
  Builder(uint64_t seed, const WorkSources* sources) : random_(seed), sources_(sources) {}

  absl::Status Add(const WorkShape& shape, std::vector<Work>& works) {
    if (absl::Status status = CheckShape(shape); !status.ok()) return status;
    if (!shape.case_file.empty()) return Append(shape, 1, works, [&](Work& work) { return FromFile(shape, work); });
    const std::vector<Lengths> all = LengthsOf(shape);
    for (const Lengths& lengths : all) {
      const auto count = static_cast<double>(all.size());
      const auto make = [&](Work& work) { return FromShape(shape, lengths, work); };
      if (absl::Status status = Append(shape, count, works, make); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  template <typename Make>
  static absl::Status Append(const WorkShape& shape, double count, std::vector<Work>& works, const Make& make) {
    Work work;
    work.name = shape.name;
    work.weight = shape.weight / count;
    if (absl::Status status = make(work); !status.ok()) return status;
    works.push_back(std::move(work));
    return absl::OkStatus();
  }

  absl::Status FromShape(const WorkShape& shape, const Lengths& lengths, Work& work) {
    Tensors tensors(&random_);
    if (!shape.is_multihead()) {
      const AttentionRequest request = AttendOf(shape, lengths, tensors);
      if (!tensors.status().ok()) return tensors.status();
      absl::Status status = FinishAttend(request, work);
      // What the mask hides is known to nobody before.
      work.flops *= shape.mask_density.value_or(1);
      return status;
    }
    const auto weights = sources_->weights(shape.weights);
    if (!weights.ok()) return weights.status();
    const codec::MultiHeadCall call = MultiHeadOf(shape, lengths, *weights, tensors);
    if (!tensors.status().ok()) return tensors.status();
    work.weights = weights->tensors;
    return FinishMultiHead(call, weights->shapes, work);
  }

  absl::Status FromFile(const WorkShape& shape, Work& work) {
    const auto request = sources_->case_file(shape);
    if (!request.ok()) return request.status();
    if (request->attend.has_value()) return FinishAttend(*request->attend, work);
    const codec::MultiHeadCall& call = *request->multihead;
    if (call.with_request.has_value()) {
      const auto shapes = CheckWeights(*call.with_request, "weights");
      return shapes.ok() ? FinishMultiHead(call, *shapes, work) : shapes.status();
    }
    const auto weights = sources_->weights(call.weights_id.empty() ? call.weights_alias : call.weights_id);
    if (!weights.ok()) return weights.status();
    work.weights = weights->tensors;
    return FinishMultiHead(call, weights->shapes, work);
  }

  RandomBits random_;
  const WorkSources* sources_;
};

// Numbers those of one name.
void MakeNamesDistinct(std::vector<Work>& works) {
  std::map<std::string, int> count;
  for (const Work& work : works) ++count[work.name];
  std::map<std::string, int> number;
  for (Work& work : works) {
    if (count[work.name] < 2) continue;
    const std::string name = work.name;
    work.name = absl::StrCat(name, ".", ++number[name]);
  }
}

}  // namespace

absl::StatusOr<std::vector<Work>> BuildWorks(std::span<const WorkShape> shapes, uint64_t seed,
                                             const WorkSources& sources) {
  Builder builder(seed, &sources);
  std::vector<Work> works;
  for (const WorkShape& shape : shapes) {
    if (absl::Status status = builder.Add(shape, works); !status.ok()) return WithName(shape.name, status);
  }
  MakeNamesDistinct(works);
  return works;
}

}  // namespace attnd::load
