#include "client/attnctl/results.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/attnctl/summaries.h"
#include "client/attnctl/table.h"

namespace attnd::attnctl {
namespace {

// Up to here a result is worth reading number by number.
constexpr int64_t kMaxRows = 16;
constexpr int64_t kMaxColumns = 16;
constexpr int64_t kMaxMatrices = 16;

using Labels = std::vector<std::string>;

// A tensor, or a part of one, as matrices, one per batch entry and head. Strides in elements.
struct MatrixStack {
  int64_t batch = 1;
  int64_t heads = 1;
  int64_t batch_stride = 0;
  int64_t head_stride = 0;
  // The first.
  MatrixView matrix;
};

// One for a tensor, or one per sequence in the layout PACKED. Empty if the shape is not one
// to print, or has no values: its other extents may then be of any size.
using Stacks = std::vector<MatrixStack>;

// [batch, heads, rows, columns] in HEADS_FIRST, or [rows, columns].
Stacks StackHeadsFirst(const codec::ReplyTensor& tensor) {
  const auto& shape = tensor.shape;
  const float* values = tensor.values.data();
  if (tensor.values.empty()) return {};
  if (shape.size() == 2) return {{1, 1, 0, 0, {values, shape[0], shape[1], shape[1]}}};
  if (shape.size() != 4) return {};
  const int64_t matrix = shape[2] * shape[3];
  return {{shape[0], shape[1], shape[1] * matrix, matrix, {values, shape[2], shape[3], shape[3]}}};
}

// [batch, rows, heads, columns], [batch, rows, heads * columns], or [rows, columns].
Stacks StackTokensFirst(const codec::ReplyTensor& tensor, int64_t heads_option) {
  const auto& shape = tensor.shape;
  if (shape.size() == 2) return StackHeadsFirst(tensor);
  const int64_t heads = shape.size() == 4 ? shape[2] : heads_option;
  if ((shape.size() != 4 && shape.size() != 3) || tensor.values.empty()) return {};
  const int64_t token = shape.size() == 4 ? shape[2] * shape[3] : shape[2];
  const int64_t columns = token / heads;
  return {{shape[0], heads, shape[1] * token, columns, {tensor.values.data(), shape[1], columns, token}}};
}

// [total, heads, columns] or [total, columns], where sequences have these lengths.
Stacks StackPackedRows(const codec::ReplyTensor& tensor, const std::vector<int64_t>& lengths) {
  const auto& shape = tensor.shape;
  if ((shape.size() != 2 && shape.size() != 3) || tensor.values.empty() || lengths.size() > kMaxMatrices) return {};
  Stacks stacks;
  int64_t token = 0;
  const int64_t heads = shape.size() == 3 ? shape[1] : 1;
  const int64_t columns = shape.back();
  const int64_t stride = heads * columns;
  for (const int64_t rows : lengths) {
    if (rows < 0 || rows > shape[0] - token) return {};
    stacks.push_back({1, heads, 0, columns, {tensor.values.data() + token * stride, rows, columns, stride}});
    token += rows;
  }
  return stacks;
}

// Rows of each sequence among those listed, which count over all sequences; all if none is.
std::vector<int64_t> RowsPerSequence(const std::vector<int64_t>& listed, const std::vector<int64_t>& q_lengths) {
  if (listed.empty()) return q_lengths;
  std::vector<int64_t> rows;
  int64_t begin = 0;
  for (const int64_t length : q_lengths) {
    rows.push_back(
        std::count_if(listed.begin(), listed.end(), [&](int64_t row) { return row >= begin && row < begin + length; }));
    begin += length;
  }
  return rows;
}

// Blocks [heads, rows, kv_len], one sequence after the other.
Stacks StackPackedPairs(const codec::ReplyTensor& tensor, int64_t heads, const std::vector<int64_t>& rows,
                        const std::vector<int64_t>& kv_lengths) {
  if (tensor.values.empty() || rows.size() != kv_lengths.size() || rows.size() > kMaxMatrices) return {};
  Stacks stacks;
  int64_t at = 0;
  const auto size = static_cast<int64_t>(tensor.values.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto block = Product(std::array{heads, rows[i], kv_lengths[i]});
    if (!block.has_value() || *block > size - at) return {};
    const MatrixView matrix = {tensor.values.data() + at, rows[i], kv_lengths[i], kv_lengths[i]};
    stacks.push_back({1, heads, 0, rows[i] * kv_lengths[i], matrix});
    at += *block;
  }
  return at == size ? stacks : Stacks();
}

// [batch, heads, q_len]: one matrix per batch entry, a row per head; [heads, total_q] in the
// layout PACKED.
Stacks StackLse(const codec::ReplyTensor& tensor) {
  const auto& shape = tensor.shape;
  if (shape.size() == 2) return StackHeadsFirst(tensor);
  if (shape.size() != 3 || tensor.values.empty()) return {};
  return {{shape[0], 1, shape[1] * shape[2], 0, {tensor.values.data(), shape[1], shape[2], shape[2]}}};
}

bool AreSmall(const Stacks& stacks) {
  int64_t matrices = 0;
  for (const MatrixStack& stack : stacks) {
    if (stack.matrix.rows > kMaxRows || stack.matrix.columns > kMaxColumns || stack.batch > kMaxMatrices ||
        stack.heads > kMaxMatrices) {
      return false;
    }
    matrices += stack.batch * stack.heads;
  }
  return matrices > 0 && matrices <= kMaxMatrices;
}

std::string DescribeStack(const MatrixStack& stack, const std::string& sequence, const Labels& row_labels,
                          const Labels& column_labels) {
  std::string text;
  for (int64_t b = 0; b < stack.batch; ++b) {
    for (int64_t h = 0; h < stack.heads; ++h) {
      if (stack.batch > 1 || stack.heads > 1 || !sequence.empty()) {
        const std::string head = stack.heads > 1 ? absl::StrCat(", head ", h) : "";
        absl::StrAppend(&text, sequence.empty() ? absl::StrCat("batch ", b) : sequence, head, "\n");
      }
      MatrixView matrix = stack.matrix;
      matrix.values += b * stack.batch_stride + h * stack.head_stride;
      text += FormatMatrix(matrix, row_labels, column_labels);
    }
  }
  return text;
}

std::string DescribeTensor(const std::string& title, const codec::ReplyTensor& tensor, const Stacks& stacks,
                           const Labels& row_labels, const Labels& column_labels) {
  const std::string heading = absl::StrCat(title, " ", ShapeString(tensor.shape), "\n");
  if (!AreSmall(stacks)) return absl::StrCat(heading, "  ", Summarize(tensor.values), "\n");
  std::string text = heading;
  for (size_t i = 0; i < stacks.size(); ++i) {
    text += DescribeStack(stacks[i], stacks.size() > 1 ? absl::StrCat("sequence ", i) : "", row_labels, column_labels);
  }
  return text;
}

// What there is to know of a case when its reply is printed.
struct Form {
  explicit Form(const Case& input)
      : tokens(input.tokens),
        key_tokens(KeyTokensOf(input)),
        options(input.request.options),
        outputs(input.request.outputs) {
    const AttentionRequest& request = input.request;
    layout = request.layout;
    output_heads = request.heads.value_or(1);
    heads_apart = layout == Layout::kPacked && request.query.shape.size() == 3;
    if (heads_apart) heads = request.query.shape[1];
    if (input.kind == CaseKind::kAttend) return;
    layout = input.multihead.request.layout;
    output_heads = 1;
    heads_apart = layout == Layout::kPacked;
    heads = input.multihead.request.heads;
  }

  const Labels& tokens;
  const Labels& key_tokens;
  const AttentionOptions& options;
  const AttentionOutputs& outputs;
  Layout layout = Layout::kHeadsFirst;
  // Side by side in a row of the output.
  int64_t output_heads = 1;
  // Whether weights and scores are blocks of sequences, each of so many heads.
  bool heads_apart = false;
  int64_t heads = 1;
};

std::string DescribeInput(const std::string& title, const TensorView& input, const Labels& labels) {
  codec::ReplyTensor tensor{DataType::kFloat32, input.shape, {}};
  tensor.values.resize(input.bytes.size() / sizeof(float));
  input.bytes.CopyTo(std::as_writable_bytes(std::span(tensor.values)).data());
  return DescribeTensor(title, tensor, StackHeadsFirst(tensor), labels, {}) + "\n";
}

// The example's own tensors, which may be one for all three.
std::string DescribeExample(const Case& input) {
  const std::string text = TitleOf(input) + "\n\n";
  if (input.kind == CaseKind::kMultiHead) return text + DescribeInput("embeddings", QueryOf(input), input.tokens);
  const AttentionRequest& request = input.request;
  const auto start = [](const TensorView& tensor) { return tensor.bytes.pieces().front().data(); };
  if (start(request.query) == start(request.value)) {
    return text + DescribeInput("query = key = value", request.query, input.tokens);
  }
  return text + DescribeInput("query", request.query, input.tokens) +
         DescribeInput("key", request.key, KeyTokensOf(input)) +
         DescribeInput("value", request.value, KeyTokensOf(input));
}

// The output, or what else has a row per query.
std::string DescribeRows(const std::string& title, const Form& form, const codec::ReplyTensor& output) {
  Stacks stacks;
  switch (form.layout) {
    case Layout::kHeadsFirst:
      stacks = StackHeadsFirst(output);
      break;
    case Layout::kTokensFirst:
      stacks = StackTokensFirst(output, form.output_heads);
      break;
    case Layout::kPacked:
      stacks = StackPackedRows(output, form.options.q_lengths);
  }
  return DescribeTensor(title, output, stacks, form.tokens, {}) + "\n";
}

// Projected heads: of the queries, or of the keys.
std::string DescribeHeads(const std::string& name, const Form& form, const codec::ReplyTensor& tensor) {
  const auto& lengths = name == "query" ? form.options.q_lengths : form.options.kv_lengths;
  const Stacks stacks = form.layout == Layout::kPacked ? StackPackedRows(tensor, lengths) : StackHeadsFirst(tensor);
  const Labels& tokens = name == "query" ? form.tokens : form.key_tokens;
  return DescribeTensor(name + " (projected)", tensor, stacks, tokens, {}) + "\n";
}

// Weights or scores, of the listed rows or of all.
std::string DescribePairs(const std::string& title, const Form& form, const codec::ReplyTensor& tensor, bool mean,
                          const std::vector<int64_t>& listed) {
  const AttentionOptions& options = form.options;
  const Stacks stacks = form.heads_apart
                            ? StackPackedPairs(tensor, mean ? 1 : form.heads,
                                               RowsPerSequence(listed, options.q_lengths), options.kv_lengths)
                            : StackHeadsFirst(tensor);
  Labels rows = form.tokens;
  if (!rows.empty() && !listed.empty()) {
    rows.clear();
    for (const int64_t row : listed) rows.push_back(form.tokens.at(static_cast<size_t>(row)));
  }
  return DescribeTensor(title, tensor, stacks, rows, form.key_tokens) + "\n";
}

const char* StageName(ScoreStage stage) {
  switch (stage) {
    case ScoreStage::kUnscaled:
      return "unscaled";
    case ScoreStage::kScaled:
      return "scaled";
    case ScoreStage::kCapped:
      return "capped";
    case ScoreStage::kBiased:
      return "biased";
    case ScoreStage::kUnset:
      break;
  }
  return "stage not said";
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

std::string DescribeSummaries(const Form& form, const codec::AttendReply& reply) {
  std::string text;
  if (reply.top_k.has_value()) {
    text += DescribeTopK(*reply.top_k, form.outputs.top_k.value_or(TopKOutput()), form.tokens, form.key_tokens) + "\n";
  }
  if (reply.diagnostics.has_value()) {
    const DiagnosticsOutput asked = form.outputs.diagnostics.value_or(DiagnosticsOutput());
    text += DescribeDiagnostics(*reply.diagnostics, asked, form.tokens, form.key_tokens) + "\n";
  }
  return reply.heatmap.has_value() ? text + DescribeHeatmap(*reply.heatmap) + "\n" : text;
}

bool IsHeads(const std::string& name) { return name == "query" || name == "key" || name == "value"; }

}  // namespace

std::string TitleOf(const Case& input) {
  const AttentionOptions& options = input.request.options;
  std::string text = input.title;
  if (options.scale.has_value()) absl::StrAppend(&text, ", scale ", *options.scale);
  if (options.causal) absl::StrAppend(&text, ", causal");
  return text;
}

std::string DescribeReply(const Case& input, const codec::AttendReply& reply, const Explained& explained) {
  const Form form(input);
  std::string text = input.tokens.empty() ? "" : DescribeExample(input);
  for (const auto& [name, tensor] : explained) {
    if (IsHeads(name)) text += DescribeHeads(name, form, tensor);
  }
  if (reply.scores.has_value()) {
    const char* stage = StageName(form.outputs.scores.value_or(ScoreStage::kUnset));
    text += DescribePairs(absl::StrCat("scores (", stage, ")"), form, *reply.scores, /*mean=*/false, {});
  }
  if (reply.weights.has_value()) {
    const WeightsOutput asked = form.outputs.weights.value_or(WeightsOutput());
    const char* title = asked.mean ? "weights (mean over heads)" : "weights";
    text += DescribePairs(title, form, *reply.weights, asked.mean, asked.rows);
  }
  if (reply.lse.has_value()) text += DescribeTensor("lse", *reply.lse, StackLse(*reply.lse), {}, input.tokens) + "\n";
  text += DescribeSummaries(form, reply);
  for (const auto& [name, tensor] : explained) {
    if (!IsHeads(name)) text += DescribeRows(name, form, tensor);
  }
  return text + DescribeRows("output", form, reply.output) + DescribeServer(reply);
}

}  // namespace attnd::attnctl
