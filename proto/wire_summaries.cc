#include "proto/wire_summaries.h"

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "proto/wire_tensors.h"

namespace attnd::codec {
namespace {

// The contract numbers Statistics' fields as core orders statistics.
int FieldOf(size_t statistic) { return v1::Statistics::kEntropyFieldNumber + static_cast<int>(statistic); }
static_assert(v1::Statistics::kWindowMassFieldNumber - v1::Statistics::kEntropyFieldNumber + 1 == kStatistics);

void WriteStatistics(int field, const StatisticTensors& statistics, bool as_values, ChunkWriter& out) {
  out.Message(field, [&] {
    for (size_t i = 0; i < kStatistics; ++i) WriteTensor(FieldOf(i), statistics[i], as_values, out);
  });
}

absl::Status ReadStatistics(const std::string& name, const v1::Statistics& wire, const Skeleton& skeleton,
                            StatisticsReply& statistics) {
  const auto& reflection = *v1::Statistics::GetReflection();
  for (size_t i = 0; i < kStatistics; ++i) {
    const auto& field = *v1::Statistics::descriptor()->FindFieldByNumber(FieldOf(i));
    const auto& tensor = static_cast<const v1::Tensor&>(reflection.GetMessage(wire, &field));
    const std::string full = absl::StrCat(name, ".", field.name());
    if (absl::Status s = ReadReplyTensor(full.c_str(), tensor, skeleton, statistics[i]); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace

void WriteTopK(int field, const TopKResult& top_k, bool as_values, ChunkWriter& out) {
  out.Message(field, [&] {
    WriteTensor(v1::TopK::kWeightsFieldNumber, top_k.weights, as_values, out);
    out.Numbers(v1::TopK::kKeysFieldNumber, top_k.keys);
  });
}

void WriteDiagnostics(int field, const DiagnosticsResult& diagnostics, bool as_values, ChunkWriter& out) {
  using Wire = v1::Diagnostics;
  out.Message(field, [&] {
    WriteStatistics(Wire::kHeadsFieldNumber, diagnostics.heads, as_values, out);
    if (diagnostics.rows) WriteStatistics(Wire::kRowsFieldNumber, *diagnostics.rows, as_values, out);
    WriteTensor(Wire::kColumnMassFieldNumber, diagnostics.column_mass, as_values, out);
    out.Numbers(Wire::kColumnKeysFieldNumber, diagnostics.column_keys);
    for (const Pattern pattern : diagnostics.patterns) out.Text(Wire::kPatternsFieldNumber, NameOf(pattern));
    WriteTensor(Wire::kPatternScoresFieldNumber, diagnostics.pattern_scores, as_values, out);
  });
}

void WriteHeatmap(int field, const HeatmapResult& heatmap, bool as_values, ChunkWriter& out) {
  out.Message(field, [&] {
    WriteTensor(v1::Heatmap::kMeanFieldNumber, heatmap.mean, as_values, out);
    WriteTensor(v1::Heatmap::kMaxFieldNumber, heatmap.max, as_values, out);
  });
}

void WriteExplained(int field, const std::vector<NamedResult>& explain, bool as_values, ChunkWriter& out) {
  for (const NamedResult& named : explain) {
    out.Message(field, [&] {
      out.Text(v1::NamedTensor::kNameFieldNumber, named.name);
      WriteTensor(v1::NamedTensor::kTensorFieldNumber, named.tensor, as_values, out);
    });
  }
}

absl::Status ReadTopK(const v1::TopK& wire, const Skeleton& skeleton, TopKReply& top_k) {
  top_k.keys.assign(wire.keys().begin(), wire.keys().end());
  return ReadReplyTensor("top_k.weights", wire.weights(), skeleton, top_k.weights);
}

absl::Status ReadDiagnostics(const v1::Diagnostics& wire, const Skeleton& skeleton, DiagnosticsReply& diagnostics) {
  if (absl::Status s = ReadStatistics("diagnostics.heads", wire.heads(), skeleton, diagnostics.heads); !s.ok()) {
    return s;
  }
  if (wire.has_rows()) {
    absl::Status s = ReadStatistics("diagnostics.rows", wire.rows(), skeleton, diagnostics.rows.emplace());
    if (!s.ok()) return s;
  }
  diagnostics.column_keys.assign(wire.column_keys().begin(), wire.column_keys().end());
  diagnostics.patterns.assign(wire.patterns().begin(), wire.patterns().end());
  absl::Status columns =
      ReadReplyTensor("diagnostics.column_mass", wire.column_mass(), skeleton, diagnostics.column_mass);
  if (!columns.ok()) return columns;
  return ReadReplyTensor("diagnostics.pattern_scores", wire.pattern_scores(), skeleton, diagnostics.pattern_scores);
}

absl::Status ReadHeatmap(const v1::Heatmap& wire, const Skeleton& skeleton, HeatmapReply& heatmap) {
  if (absl::Status s = ReadReplyTensor("heatmap.mean", wire.mean(), skeleton, heatmap.mean); !s.ok()) return s;
  return ReadReplyTensor("heatmap.max", wire.max(), skeleton, heatmap.max);
}

absl::Status ReadExplained(const google::protobuf::RepeatedPtrField<v1::NamedTensor>& wire, const Skeleton& skeleton,
                           ExplainReply& explain) {
  for (const v1::NamedTensor& named : wire) {
    auto& [name, tensor] = explain.emplace_back();
    name = named.name();
    if (absl::Status s = ReadReplyTensor(name.c_str(), named.tensor(), skeleton, tensor); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace attnd::codec
