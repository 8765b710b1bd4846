#include "client/load/work_shape.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace attnd::load {
namespace {

// Extents of messages are of any size; these are the largest of which products are no surprise.
constexpr int64_t kLargestExtent = int64_t{1} << 31;

absl::Status Unfit(const std::string& text, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not ", allowed));
}

bool ToCount(const std::string& text, int64_t smallest, int64_t* count) {
  return absl::SimpleAtoi(text, count) && *count >= smallest && *count < kLargestExtent;
}

absl::Status ReadExtent(const std::string& text, int64_t* extent) {
  return ToCount(text, 1, extent) ? absl::OkStatus() : Unfit(text, "an integer >= 1 and < 2^31");
}

absl::Status ReadExtent(const std::string& text, std::optional<int64_t>* extent) {
  return ReadExtent(text, &extent->emplace());
}

absl::Status ReadExtents(const std::string& text, std::vector<int64_t>* extents) {
  extents->clear();
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    if (!ToCount(part, 1, &extents->emplace_back())) {
      return Unfit(text, "one integer >= 1 and < 2^31, or several with commas between them");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadDtype(const std::string& text, WorkShape* shape) {
  if (text == "f32") {
    shape->dtype = DataType::kFloat32;
  } else if (text == "f16") {
    shape->dtype = DataType::kFloat16;
  } else if (text == "bf16") {
    shape->dtype = DataType::kBfloat16;
  } else {
    return Unfit(text, "f32, f16 or bf16");
  }
  return absl::OkStatus();
}

absl::Status ReadCausal(const std::string& text, WorkShape* shape) {
  // Empty: the flag alone.
  if (text != "true" && text != "false" && !text.empty()) return Unfit(text, "true or false");
  shape->causal = text != "false";
  return absl::OkStatus();
}

absl::Status ReadWindow(const std::string& text, WorkShape* shape) {
  if (!ToCount(text, 0, &shape->window.emplace())) return Unfit(text, "an integer >= 0 and < 2^31");
  return absl::OkStatus();
}

absl::Status ReadDensity(const std::string& text, WorkShape* shape) {
  double& density = shape->mask_density.emplace();
  if (!absl::SimpleAtod(text, &density) || !(density > 0 && density <= 1)) {
    return Unfit(text, "a number > 0 and <= 1");
  }
  return absl::OkStatus();
}

absl::Status ReadWeights(const std::string& text, WorkShape* shape) {
  shape->weights = text;
  return text.empty() ? Unfit(text, "an id, an alias or a .safetensors file") : absl::OkStatus();
}

constexpr std::array kFields = {
    ShapeField{"batch", "N", "batch entries (default 1)",
               [](const std::string& text, WorkShape* shape) { return ReadExtent(text, &shape->batch); }},
    ShapeField{"heads", "N", "query heads (default 12)",
               [](const std::string& text, WorkShape* shape) { return ReadExtent(text, &shape->heads); }},
    ShapeField{"kv_heads", "N", "key and value heads (default --heads)",
               [](const std::string& text, WorkShape* shape) { return ReadExtent(text, &shape->kv_heads); }},
    ShapeField{"q_len", "LIST", "queries (default 128); a list: a request of each length",
               [](const std::string& text, WorkShape* shape) { return ReadExtents(text, &shape->q_len); }},
    ShapeField{"kv_len", "LIST", "keys (default --q-len)",
               [](const std::string& text, WorkShape* shape) { return ReadExtents(text, &shape->kv_len); }},
    ShapeField{"head_dim", "N", "elements of a head of query and key (default 64; --weights say\ntheirs)",
               [](const std::string& text, WorkShape* shape) { return ReadExtent(text, &shape->head_dim); }},
    ShapeField{"value_dim", "N", "elements of a head of value (default --head-dim)",
               [](const std::string& text, WorkShape* shape) { return ReadExtent(text, &shape->value_dim); }},
    ShapeField{"dtype", "TYPE", "f32 (default), f16 or bf16", ReadDtype},
    ShapeField{"causal", "", "no query sees later keys; the last one sees all", ReadCausal},
    ShapeField{"window", "N", "keys before a query's position that it sees", ReadWindow},
    ShapeField{"mask_density", "SHARE", "a random mask that keeps that share of the keys", ReadDensity},
    ShapeField{"kv_lengths", "LIST", "keys that are no padding, one per batch entry",
               [](const std::string& text, WorkShape* shape) { return ReadExtents(text, &shape->kv_lengths); }},
    ShapeField{"packed", "LIST", "sequences of these lengths without padding",
               [](const std::string& text, WorkShape* shape) { return ReadExtents(text, &shape->packed); }},
    ShapeField{"weights", "ID|ALIAS|FILE",
               "MultiHeadAttend with weights that the server has, or of a\n.safetensors file, which it gets first",
               ReadWeights},
    ShapeField{"model_dim", "N", "width of the embeddings (default what the weights take)",
               [](const std::string& text, WorkShape* shape) { return ReadExtent(text, &shape->model_dim); }},
};

absl::Status CheckPadding(const WorkShape& shape) {
  const size_t padded = shape.kv_lengths.size();
  if (padded > 1 && static_cast<int64_t>(padded) != shape.batch) {
    return absl::InvalidArgumentError(absl::StrCat("kv_lengths: ", padded, " lengths, but batch is ", shape.batch));
  }
  const std::vector<int64_t>& lengths = shape.kv_len.empty() ? shape.q_len : shape.kv_len;
  if (padded == 0 || lengths.empty() || !shape.packed.empty()) return absl::OkStatus();
  const int64_t longest = *std::max_element(shape.kv_lengths.begin(), shape.kv_lengths.end());
  const int64_t keys = *std::min_element(lengths.begin(), lengths.end());
  if (longest <= keys) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("kv_lengths: ", longest, " is more than the ", keys, " keys there are"));
}

absl::Status CheckPacked(const WorkShape& shape) {
  if (shape.packed.empty()) return absl::OkStatus();
  if (!shape.kv_lengths.empty()) return absl::InvalidArgumentError("packed: has no padding, so no kv_lengths");
  if (!shape.kv_len.empty()) return absl::InvalidArgumentError("packed: says the lengths of keys, so no kv_len");
  if (shape.batch != 1) return absl::InvalidArgumentError("packed: says how many sequences there are, so no batch");
  return absl::OkStatus();
}

}  // namespace

std::span<const ShapeField> ShapeFields() { return kFields; }

const ShapeField* FindShapeField(std::string_view name) {
  const auto* const field =
      std::find_if(kFields.begin(), kFields.end(), [name](const ShapeField& known) { return known.name == name; });
  return field == kFields.end() ? nullptr : field;
}

absl::Status ReadName(const std::string& text, WorkShape* shape) {
  shape->name = text;
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  return plain && !text.empty() ? absl::OkStatus() : Unfit(text, "a word in ASCII");
}

absl::Status ReadWeight(const std::string& text, WorkShape* shape) {
  constexpr double kLargest = 1e9;
  if (!absl::SimpleAtod(text, &shape->weight) || !(shape->weight > 0 && shape->weight <= kLargest)) {
    return Unfit(text, "a number > 0");
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const WorkShape& shape) {
  if (!shape.case_file.empty()) return absl::OkStatus();
  const int64_t kv_heads = shape.kv_heads.value_or(shape.heads);
  if (shape.heads % kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("kv_heads: ", kv_heads, " does not divide heads, ", shape.heads));
  }
  const size_t queries = shape.q_len.size();
  const size_t keys = shape.kv_len.size();
  if (queries > 1 && keys > 1 && queries != keys) {
    return absl::InvalidArgumentError(absl::StrCat("kv_len: ", keys, " lengths, but q_len has ", queries));
  }
  if (absl::Status status = CheckPadding(shape); !status.ok()) return status;
  if (shape.model_dim.has_value() && !shape.is_multihead()) {
    return absl::InvalidArgumentError("model_dim: goes with weights");
  }
  return CheckPacked(shape);
}

}  // namespace attnd::load
