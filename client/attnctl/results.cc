#include "client/attnctl/results.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/attnctl/table.h"
#include "client/npy.h"
#include "core/linear/safetensors.h"

namespace attnd::attnctl {
namespace {

// Up to here a result is worth reading number by number.
constexpr int64_t kMaxRows = 16;
constexpr int64_t kMaxColumns = 16;
constexpr int64_t kMaxMatrices = 16;

using Labels = std::vector<std::string>;

// A tensor as matrices, one per batch entry and head. Strides in elements. There is none for
// a tensor without values, whose other extents may be of any size.
struct MatrixStack {
  int64_t batch = 1;
  int64_t heads = 1;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  // The first.
  MatrixView matrix;
};

// [batch, heads, rows, columns] in HEADS_FIRST, or [rows, columns].
std::optional<MatrixStack> StackHeadsFirst(const codec::ReplyTensor& tensor) {
  const auto& shape = tensor.shape;
  const float* values = tensor.values.data();
  if (tensor.values.empty()) return std::nullopt;
  if (shape.size() == 2) return MatrixStack{1, 1, 0, 0, {values, shape[0], shape[1], shape[1]}};
  if (shape.size() != 4) return std::nullopt;
  const int64_t matrix = shape[2] * shape[3];
  return MatrixStack{shape[0], shape[1], shape[1] * matrix, matrix, {values, shape[2], shape[3], shape[3]}};
}

// [batch, rows, heads, columns], or [batch, rows, heads * columns] with `heads` given.
std::optional<MatrixStack> StackTokensFirst(const codec::ReplyTensor& tensor, std::optional<int64_t> heads_option) {
  const auto& shape = tensor.shape;
  const int64_t heads = shape.size() == 4 ? shape[2] : heads_option.value_or(1);
  if ((shape.size() != 4 && shape.size() != 3) || tensor.values.empty()) return std::nullopt;
  const int64_t token = shape.size() == 4 ? shape[2] * shape[3] : shape[2];
  const int64_t columns = token / heads;
  return MatrixStack{shape[0], heads, shape[1] * token, columns, {tensor.values.data(), shape[1], columns, token}};
}

// [batch, heads, q_len]: one matrix per batch entry, a row per head.
std::optional<MatrixStack> StackLse(const codec::ReplyTensor& tensor) {
  const auto& shape = tensor.shape;
  if (shape.size() != 3 || tensor.values.empty()) return std::nullopt;
  return MatrixStack{shape[0], 1, shape[1] * shape[2], 0, {tensor.values.data(), shape[1], shape[2], shape[2]}};
}

bool IsSmall(const MatrixStack& stack) {
  return stack.matrix.rows <= kMaxRows && stack.matrix.columns <= kMaxColumns && stack.batch <= kMaxMatrices &&
         stack.heads <= kMaxMatrices && stack.batch * stack.heads <= kMaxMatrices;
}

std::string DescribeStack(const MatrixStack& stack, const Labels& row_labels, const Labels& column_labels) {
  std::string text;
  for (int64_t b = 0; b < stack.batch; ++b) {
    for (int64_t h = 0; h < stack.heads; ++h) {
      if (stack.batch > 1 || stack.heads > 1) {
        const std::string head = stack.heads > 1 ? absl::StrCat(", head ", h) : "";
        absl::StrAppend(&text, "batch ", b, head, "\n");
      }
      MatrixView matrix = stack.matrix;
      matrix.values += b * stack.batch_stride + h * stack.head_stride;
      text += FormatMatrix(matrix, row_labels, column_labels);
    }
  }
  return text;
}

std::string DescribeTensor(const std::string& title, const codec::ReplyTensor& tensor,
                           const std::optional<MatrixStack>& stack, const Labels& row_labels,
                           const Labels& column_labels) {
  const std::string heading = absl::StrCat(title, " ", ShapeString(tensor.shape), "\n");
  if (!stack.has_value() || !IsSmall(*stack)) {
    return absl::StrCat(heading, "  ", Summarize(tensor.values), "\n");
  }
  return heading + DescribeStack(*stack, row_labels, column_labels);
}

// The example's own tensor, which is query, key and value at once.
std::string DescribeExample(const Case& input) {
  codec::ReplyTensor tensor{input.request.query.shape, {}};
  tensor.values.resize(input.request.query.bytes.size() / sizeof(float));
  input.request.query.bytes.CopyTo(std::as_writable_bytes(std::span(tensor.values)).data());
  const AttentionOptions& options = input.request.options;
  std::string text = input.title;
  if (options.scale.has_value()) absl::StrAppend(&text, ", scale ", *options.scale);
  if (options.causal) absl::StrAppend(&text, ", causal");
  absl::StrAppend(&text, "\n\n");
  return text + DescribeTensor("query = key = value", tensor, StackHeadsFirst(tensor), input.tokens, {}) + "\n";
}

std::string Milliseconds(double seconds) { return absl::StrFormat("%.3f ms", seconds * 1e3); }

std::string DescribeServer(const codec::AttendReply& reply) {
  std::string work = absl::StrCat(reply.flops, " FLOP on visible pairs, tiles ", reply.tiles);
  if (reply.empty_rows > 0) absl::StrAppend(&work, ", rows without a visible key ", reply.empty_rows);
  if (reply.non_finite_rows > 0) absl::StrAppend(&work, ", rows with NaN or Inf ", reply.non_finite_rows);
  return FormatPairs({{"time in server", absl::StrCat("queue ", Milliseconds(reply.queue_seconds), ", gather ",
                                                      Milliseconds(reply.gather_seconds), ", compute ",
                                                      Milliseconds(reply.compute_seconds))},
                      {"work", work},
                      {"numerics", reply.numerics_id}});
}

StoredTensor ToStored(const std::string& name, const codec::ReplyTensor& tensor) {
  return {name, StoredType::kF32, tensor.shape, std::as_bytes(std::span(tensor.values))};
}

bool IsNpy(std::string_view path) { return path.ends_with(".npy"); }

}  // namespace

std::string DescribeReply(const Case& input, const codec::AttendReply& reply) {
  const bool tokens_first = input.request.layout == Layout::kTokensFirst;
  const auto output =
      tokens_first ? StackTokensFirst(reply.output, input.request.heads) : StackHeadsFirst(reply.output);
  std::string text = input.tokens.empty() ? "" : DescribeExample(input);
  if (reply.has_weights) {
    text += DescribeTensor("weights", reply.weights, StackHeadsFirst(reply.weights), input.tokens, input.tokens) + "\n";
  }
  if (reply.has_lse) text += DescribeTensor("lse", reply.lse, StackLse(reply.lse), {}, input.tokens) + "\n";
  text += DescribeTensor("output", reply.output, output, input.tokens, {}) + "\n";
  return text + DescribeServer(reply);
}

absl::Status CheckOutputPath(const std::string& path, const AttentionOutputs& outputs) {
  if (path.empty() || path.ends_with(".safetensors")) return absl::OkStatus();
  if (!IsNpy(path)) {
    return absl::InvalidArgumentError(absl::StrCat("--output: '", path, "' ends in neither .npy nor .safetensors"));
  }
  if (!outputs.lse && !outputs.weights) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--output: '", path, "' holds one array; for lse or weights beside the output use .safetensors"));
}

absl::Status WriteReply(const std::string& path, const codec::AttendReply& reply) {
  if (IsNpy(path)) return WriteNpy(path, reply.output.shape, reply.output.values);
  std::vector<StoredTensor> tensors = {ToStored("output", reply.output)};
  if (reply.has_lse) tensors.push_back(ToStored("lse", reply.lse));
  if (reply.has_weights) tensors.push_back(ToStored("weights", reply.weights));
  return WriteSafetensors(path, tensors, {{"numerics_id", reply.numerics_id}});
}

}  // namespace attnd::attnctl
