#include "client/attnctl/commands.h"

#include <google/protobuf/util/json_util.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/results.h"
#include "client/attnctl/table.h"
#include "client/printable.h"

namespace attnd::attnctl {
namespace {

std::string InfoAsJson(const v1::GetInfoResponse& info) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  return google::protobuf::util::MessageToJsonString(info, &text, options).ok() ? text : "{}\n";
}

std::string InfoAsText(const v1::GetInfoResponse& info) {
  std::vector<std::string> data_types;
  for (const int dtype : info.data_types()) {
    std::string name = v1::DataType_Name(dtype);
    constexpr std::string_view kPrefix = "DATA_TYPE_";
    data_types.push_back(std::string_view(name).starts_with(kPrefix) ? name.substr(kPrefix.size()) : name);
  }
  const v1::Limits& limits = info.limits();
  return FormatPairs({
      {"version", info.version()},
      {"isa", info.isa()},
      {"oneDNN", info.onednn_version()},
      {"engine", absl::StrCat(info.engine(), " (built in: ", absl::StrJoin(info.engines(), ", "), ")")},
      {"numerics id", info.numerics_id()},
      {"data types", absl::StrJoin(data_types, ", ")},
      {"workers", absl::StrCat(info.workers())},
      {"worker speed", absl::StrFormat("%.2f GFLOP/s", info.worker_flops_per_second() * 1e-9)},
      {"uptime", absl::StrFormat("%.1f s", info.uptime_seconds())},
      {"max request", absl::StrCat(limits.max_request_bytes(), " bytes")},
      {"max response", absl::StrCat(limits.max_response_bytes(), " bytes")},
      {"max head_dim", absl::StrCat(limits.max_head_dim())},
      {"max queue", absl::StrFormat("%d requests, %d bytes, %g s of work", limits.max_queue_requests(),
                                    limits.max_queue_bytes(), limits.max_queue_seconds())},
  });
}

const char* NameOf(ServingStatus status) {
  switch (status) {
    case ServingStatus::kServing:
      return "SERVING";
    case ServingStatus::kNotServing:
      return "NOT_SERVING";
    case ServingStatus::kUnknown:
      break;
  }
  return "UNKNOWN";
}

}  // namespace

absl::Status CheckCase(const CaseFlags& flags) {
  const auto scratch = CheckUsage(flags.source);
  if (!scratch.ok()) return scratch.status();
  return CheckOutputPath(flags.output, scratch->request.outputs, scratch->multihead.request.explain);
}

absl::StatusOr<codec::MultiHeadReply> Ask(Client& client, const Case& input) {
  if (input.kind == CaseKind::kMultiHead) return client.MultiHeadAttend(input.multihead, input.call);
  auto reply = client.Attend(input.request, input.call);
  if (!reply.ok()) return reply.status();
  return codec::MultiHeadReply{*std::move(reply), {}};
}

absl::Status Compute(const ClientOptions& options, const CaseFlags& flags, std::ostream& out) {
  const auto input = LoadCase(flags.source);
  if (!input.ok()) return input.status();
  AttentionOutputs outputs = input->request.outputs;
  if (!outputs.dtype.has_value()) outputs.dtype = QueryOf(*input).dtype;
  if (auto status = CheckOutputPath(flags.output, outputs, input->multihead.request.explain); !status.ok()) {
    return status;
  }
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const auto reply = Ask(**client, *input);
  if (!reply.ok()) return reply.status();
  out << Printable(DescribeReply(*input, reply->attention, reply->explain));
  if (flags.output.empty()) return absl::OkStatus();
  absl::Status written = WriteReply(flags.output, reply->attention, reply->explain, NotesOf(*input));
  if (!written.ok()) return written;
  out << "written to " << flags.output << "\n";
  return absl::OkStatus();
}

absl::Status Info(const ClientOptions& options, bool json, std::ostream& out) {
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const auto info = (*client)->GetInfo();
  if (!info.ok()) return info.status();
  out << (json ? InfoAsJson(*info) : Printable(InfoAsText(*info)));
  return absl::OkStatus();
}

absl::StatusOr<bool> Health(const ClientOptions& options, const std::string& service, std::ostream& out) {
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const auto status = (*client)->CheckHealth(service);
  if (!status.ok()) return status.status();
  out << NameOf(*status) << "\n";
  return *status == ServingStatus::kServing;
}

}  // namespace attnd::attnctl
