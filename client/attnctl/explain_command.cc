#include "client/attnctl/explain_command.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/attnctl/explain_text.h"
#include "client/attnctl/option_rules.h"
#include "client/attnctl/results.h"
#include "client/printable.h"

namespace attnd::attnctl {
namespace {

absl::Status WithFlag(const absl::Status& status) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat("--cell: ", std::string(status.message()))};
}

}  // namespace

absl::Status CheckExplain(const ExplainFlags& flags) {
  const auto scratch = CheckUsage(flags.computed.source);
  if (!scratch.ok()) return scratch.status();
  for (const auto& [name, values] : flags.computed.source.flags) {
    const OptionRule& rule = *FindOptionRule(CaseKind::kAttend, name);
    if (std::string_view(rule.group) != kOutputs || name == "output_dtype") continue;
    return absl::InvalidArgumentError(
        absl::StrCat(FlagName(rule), ": explain shows all that lies in between; for other results use attnctl attend"));
  }
  if (auto s = CheckOutputPath(flags.computed.output, scratch->request.outputs, /*explain=*/true); !s.ok()) return s;
  if (flags.cell.empty() || scratch->tokens.empty()) return absl::OkStatus();
  const auto names = [](const std::vector<std::string>& tokens, const char* what) {
    return RowNames(tokens, what, static_cast<int64_t>(tokens.size()));
  };
  return WithFlag(ReadCell(flags.cell, names(scratch->tokens, "query"), names(KeyTokensOf(*scratch), "key")).status());
}

absl::StatusOr<AttentionPlan> PrepareExplain(const HeadChoice& choice, Case* input) {
  AttentionRequest& request = input->request;
  request.outputs = {};
  // Limits are the server's business.
  const AttentionLimits unlimited = {.max_head_dim = INT64_MAX, .max_output_bytes = INT64_MAX};
  const auto plan = PlanAttention(request, unlimited);
  if (!plan.ok()) return plan.status();
  // Before the limit of all heads together, which says less.
  if (auto status = CheckReadable(*plan, choice); !status.ok()) return status;
  request.outputs.explain = true;
  return PlanAttention(request, unlimited);
}

absl::StatusOr<std::string> ExplainReply(const ExplainFlags& flags, const Case& input, const AttentionPlan& plan,
                                         const codec::AttendReply& reply) {
  const auto head = PickHead(input, plan, reply, flags.head);
  if (!head.ok()) return head.status();
  if (flags.cell.empty()) return ExplainText(input, plan, *head, StrongestCell(*head));
  const auto cell = ReadCell(flags.cell, head->query_names, head->key_names);
  if (!cell.ok()) return WithFlag(cell.status());
  return ExplainText(input, plan, *head, *cell);
}

absl::Status ExplainCase(const ClientOptions& options, const ExplainFlags& flags, std::ostream& out) {
  auto input = LoadCase(flags.computed.source);
  if (!input.ok()) return input.status();
  const auto plan = PrepareExplain(flags.head, &*input);
  if (!plan.ok()) return plan.status();
  const auto client = Client::Connect(options);
  if (!client.ok()) return client.status();
  const auto reply = (*client)->Attend(input->request, input->call);
  if (!reply.ok()) return reply.status();
  const auto page = ExplainReply(flags, *input, *plan, *reply);
  if (!page.ok()) return page.status();
  out << Printable(*page);
  if (flags.computed.output.empty()) return absl::OkStatus();
  if (auto s = WriteReply(flags.computed.output, *reply, reply->explain, NotesOf(*input)); !s.ok()) return s;
  out << "\nwritten to " << flags.computed.output << "\n";
  return absl::OkStatus();
}

}  // namespace attnd::attnctl
