#include "client/attnctl/explain_text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/attnctl/derivation.h"
#include "client/attnctl/explain_options.h"
#include "client/attnctl/results.h"
#include "client/attnctl/table.h"

namespace attnd::attnctl {
namespace {

using Names = std::vector<std::string>;

// "[0]", "[1]" and so on.
Names FeatureNames(int64_t count) {
  Names names;
  for (int64_t i = 0; i < count; ++i) names.push_back(absl::StrCat("[", i, "]"));
  return names;
}

// As many columns side by side as fit the page, the others below.
std::string FormatTable(const Matrix& matrix, const Names& rows, const Names& columns) {
  std::string text;
  for (int64_t begin = 0; begin < matrix.columns;) {
    int64_t count = matrix.columns - begin;
    std::string block;
    for (;; --count) {
      const Names part(columns.begin() + begin, columns.begin() + begin + count);
      block = FormatMatrix({matrix.values.data() + begin, matrix.rows, count, matrix.columns}, rows, part);
      if (count == 1 || block.find('\n') <= kPageWidth) break;
    }
    absl::StrAppend(&text, text.empty() ? "" : "\n", block);
    begin += count;
  }
  return text;
}

class Page {
 public:
  Page(const Case& input, const AttentionPlan& plan, const ExplainedHead& head, const Cell& cell)
      : input_(input), plan_(plan), head_(head), cell_(cell) {
    for (int64_t k = 0; k < head.key.rows; ++k) {
      if (head.Sees(cell.query, k)) seen_.push_back(k);
    }
  }

  std::string Text() {
    Opening();
    Inputs();
    Scores();
    Scaling();
    if (head_.capped.has_value()) SoftCap();
    BiasAndVisibility();
    Softmax();
    Output();
    return text_;
  }

 private:
  void Heading(const std::string& title) { absl::StrAppend(&text_, "\n", ++step_, ". ", title, "\n\n"); }
  void Say(const std::string& words) { text_ += Paragraph(words); }
  void Show(const Derivation& derivation) { absl::StrAppend(&text_, "\n", derivation.text()); }
  // Of the cell, if its query is one that is computed.
  void ShowCell(const Derivation& derivation) {
    if (cell_.query < head_.queries_used) Show(derivation);
  }
  void ShowPairs(const Matrix& matrix) {
    absl::StrAppend(&text_, "\n", FormatTable(matrix, head_.query_names, head_.key_names));
  }
  void ShowRows(const std::string& title, const Matrix& matrix, const Names& names) {
    absl::StrAppend(&text_, "\n", title, " [", matrix.rows, ", ", matrix.columns, "]\n",
                    FormatTable(matrix, names, FeatureNames(matrix.columns)));
  }

  [[nodiscard]] const std::string& QueryName() const { return head_.query_names[static_cast<size_t>(cell_.query)]; }
  [[nodiscard]] const std::string& KeyName(int64_t k) const { return head_.key_names[static_cast<size_t>(k)]; }
  // "score(sat, cat)".
  [[nodiscard]] std::string CellOf(const char* what) const {
    return absl::StrCat(what, "(", QueryName(), ", ", KeyName(cell_.key), ")");
  }
  [[nodiscard]] double At(const Matrix& matrix) const { return matrix.at(cell_.query, cell_.key); }
  [[nodiscard]] double ScoreOf(int64_t k) const { return head_.biased.at(cell_.query, k); }
  [[nodiscard]] double WeightOf(int64_t k) const { return head_.weights.at(cell_.query, k); }

  void Opening();
  void Inputs();
  void Scores();
  void Scaling();
  void SoftCap();
  void BiasAndVisibility();
  void Softmax();
  void SoftmaxOfRow(double max, std::optional<float> sink);
  void Output();
  // Why the chosen row has no arithmetic to show, if so.
  [[nodiscard]] std::string RowProblem() const;

  const Case& input_;
  const AttentionPlan& plan_;
  const ExplainedHead& head_;
  const Cell cell_;
  // Keys that the chosen query sees.
  std::vector<int64_t> seen_;
  int step_ = 0;
  std::string text_;
};

void Page::Opening() {
  const Dims& dims = plan_.dims;
  if (!input_.title.empty()) absl::StrAppend(&text_, Paragraph(TitleOf(input_)), "\n");
  if (dims.batch > 1 || dims.heads > 1) {
    const char* entry = plan_.layout == Layout::kPacked ? "sequence" : "batch entry";
    Say(absl::StrCat("Head ", head_.choice.head, " of ", dims.heads, ", ", entry, " ", head_.choice.batch, " of ",
                     dims.batch, ": heads and entries are computed alike, each for itself."));
  }
  if (dims.group() > 1) {
    Say(absl::StrCat("Its keys and values are those of key head ", head_.kv_head, " of ", dims.kv_heads, ", which ",
                     dims.group(), " query heads share."));
  }
  Say("Numbers are rounded to six decimals, so what follows from them may differ a little in the last one.");
}

void Page::Inputs() {
  Heading("Queries, keys and values");
  Say("Each token has a row in three matrices: in Q what it looks for, in K what it can be found by, and in V what "
      "it has to tell. Attention gives every query a mean of the rows of V, in which those count most whose keys fit "
      "the query best.");
  if (plan_.rope.has_value()) {
    Say("Q and K are shown after the rotation by position (RoPE), as the products take them.");
  }
  if (head_.query.values == head_.key.values && head_.key.values == head_.value.values) {
    ShowRows("Q = K = V", head_.query, head_.query_names);
    return;
  }
  ShowRows("Q", head_.query, head_.query_names);
  ShowRows("K", head_.key, head_.key_names);
  ShowRows("V", head_.value, head_.key_names);
}

void Page::Scores() {
  Heading("Scores: Q times K transposed");
  Say("A score says how well a key fits a query. It is the product of their rows, number by number, summed: large if "
      "both are large in the same places.");
  std::vector<std::string> factors;
  std::vector<double> products;
  for (int64_t i = 0; i < head_.query.columns; ++i) {
    const double q = head_.query.at(cell_.query, i);
    const double k = head_.key.at(cell_.key, i);
    factors.push_back(absl::StrCat(Operand(q), "*", Operand(k)));
    products.push_back(q * k);
  }
  Derivation score(CellOf("score"));
  score.IsTerms(factors);
  if (products.size() > 1) score.IsSum(products);
  ShowCell(score.Is(At(head_.unscaled)));
  if (cell_.query >= head_.queries_used) Say(RowProblem());
  text_ += '\n';
  Say("All of them, with a row for each query and a column for each key:");
  ShowPairs(head_.unscaled);
}

void Page::Scaling() {
  const int64_t dim = plan_.dims.head_dim;
  const std::string usual = absl::StrCat("1/sqrt(", dim, ")");
  const double usual_scale = 1 / std::sqrt(static_cast<double>(dim));
  const std::optional<float>& given = input_.request.options.scale;
  Heading("Scaling");
  Say(absl::StrCat("A score is a sum of ", dim,
                   " products here, and the more products, the further such sums spread: "
                   "like the square root of their number, if the numbers are random. The factor ",
                   usual, " = ", Number(usual_scale),
                   " takes that out, so that long rows make the softmax below no "
                   "sharper than short ones."));
  if (given == 1.0F) {
    Say("This case has the scale 1 instead: the scores stay as they are.");
    return;
  }
  if (given.has_value()) {
    Say(absl::StrCat("This case has the scale ", Number(static_cast<double>(*given)), " instead."));
  }
  const double scale = plan_.scale;
  ShowCell(Derivation(CellOf("scaled"))
               .Is(absl::StrCat(Operand(At(head_.unscaled)), " * ", Operand(scale)))
               .Is(At(head_.scaled)));
  ShowPairs(head_.scaled);
}

void Page::SoftCap() {
  const double cap = plan_.softcap;
  const double scaled = At(head_.scaled);
  Heading("Soft cap");
  Say(absl::StrCat("No score may pass ", Number(cap),
                   ", in either direction: cap * tanh(score / cap) leaves small ones "
                   "nearly alone and bends large ones towards the cap."));
  ShowCell(Derivation(CellOf("capped"))
               .Is(absl::StrCat(Number(cap), " * tanh(", Operand(scaled), " / ", Number(cap), ")"))
               .Is(absl::StrCat(Number(cap), " * ", Operand(std::tanh(scaled / cap))))
               .Is(At(*head_.capped)));
  ShowPairs(*head_.capped);
}

void Page::BiasAndVisibility() {
  const std::vector<std::string> added = AddedBy(input_.request.options);
  const std::vector<std::string> hidden = HiddenBy(input_.request, head_);
  if (added.empty() && hidden.empty()) return;
  Heading(hidden.empty() ? "Bias" : added.empty() ? "Visibility" : "Bias and visibility");
  if (!added.empty()) {
    Say(absl::StrCat("To the scores is added: ", absl::StrJoin(added, "; "), "."));
    const Matrix& before = head_.unbiased();
    Matrix difference = head_.biased;
    for (size_t i = 0; i < difference.values.size(); ++i) {
      if (std::isfinite(difference.values[i])) difference.values[i] -= before.values[i];
    }
    ShowPairs(difference);
    if (!hidden.empty()) text_ += '\n';
  }
  if (!hidden.empty()) {
    Say(absl::StrCat("Not every query sees every key: ", absl::StrJoin(hidden, "; "),
                     ". A hidden key gets the score -inf, of which the softmax makes a weight of exactly 0."));
  }
  if (head_.Sees(cell_.query, cell_.key) && !added.empty()) {
    const double before = At(head_.unbiased());
    Show(Derivation(CellOf("biased")).IsSum({before, At(head_.biased) - before}).Is(At(head_.biased)));
  }
  ShowPairs(head_.biased);
}

std::string Page::RowProblem() const {
  if (cell_.query >= head_.queries_used) {
    return absl::StrCat("Only the first ", head_.queries_used, " queries are used: the row of ", QueryName(),
                        " is not computed, and is 0 throughout.");
  }
  double max = -std::numeric_limits<double>::infinity();
  for (const int64_t k : seen_) {
    const double score = ScoreOf(k);
    if (std::isnan(score) || score == std::numeric_limits<double>::infinity()) {
      return absl::StrCat("The score of ", KeyName(k), " is ", Number(score), ": there is no arithmetic to show for ",
                          QueryName(), ".");
    }
    max = std::max(max, score);
  }
  if (max > -std::numeric_limits<double>::infinity()) return "";
  return absl::StrCat("There is no key that ", QueryName(), " sees: its weights are 0, and so is its output.");
}

void Page::Softmax() {
  Heading("Softmax: from scores to weights");
  Say("The weights of a row are to be positive, to add up to 1, and to be the larger the larger the score. So each "
      "score s becomes exp(s), and is divided by the sum of the row. The largest score of the row is taken off first: "
      "that divides numerator and sum by the same number, and keeps exp from overflowing.");
  const std::string problem = RowProblem();
  const std::optional<float> sink = SinkOf(input_.request.options, head_.choice.head);
  if (sink.has_value()) {
    Say(absl::StrCat("This head has a sink, a score of ", Number(static_cast<double>(*sink)),
                     " that takes part in the sum alone: weights then add up to less than 1."));
  }
  text_ += '\n';
  if (!problem.empty()) {
    Say(problem);
  } else {
    double max = sink.has_value() ? static_cast<double>(*sink) : -std::numeric_limits<double>::infinity();
    for (const int64_t k : seen_) max = std::max(max, ScoreOf(k));
    SoftmaxOfRow(max, sink);
  }
  text_ += '\n';
  Say("The weights of all rows:");
  ShowPairs(head_.weights);
}

void Page::SoftmaxOfRow(double max, std::optional<float> sink) {
  Say(absl::StrCat("The row of ", QueryName(), ", whose largest score is ", Number(max), ":"));
  text_ += '\n';
  double sum = 0;
  std::vector<double> terms;
  size_t width = 0;
  for (const std::string& name : head_.key_names) width = std::max(width, name.size());
  const auto padded = [width](const std::string& left, const std::string& name) {
    return absl::StrCat(left, name, ")", std::string(width - std::min(width, name.size()), ' '));
  };
  const auto add = [&](const std::string& name, double score) {
    terms.push_back(std::exp(score - max));
    sum += terms.back();
    text_ += Derivation(padded("e(", name))
                 .Is(absl::StrCat("exp(", Number(score), " - ", Operand(max), ") = exp(", Number(score - max),
                                  ") = ", Number(terms.back())))
                 .text();
  };
  for (int64_t k = 0; k < head_.key.rows; ++k) {
    if (head_.Sees(cell_.query, k)) {
      add(KeyName(k), ScoreOf(k));
    } else {
      absl::StrAppend(&text_, "  ", padded("e(", KeyName(k)), " = exp(-inf) = 0, hidden\n");
    }
  }
  if (sink.has_value()) add("sink", static_cast<double>(*sink));
  Derivation total("sum");
  if (terms.size() > 1) total.IsSum(terms);
  Show(total.Is(sum));
  text_ += '\n';
  size_t i = 0;
  for (const int64_t k : seen_) {
    text_ += Derivation(padded(absl::StrCat("weight(", QueryName(), ", "), KeyName(k)))
                 .Is(absl::StrCat(Number(terms[i++]), " / ", Number(sum), " = ", Number(WeightOf(k))))
                 .text();
  }
}

void Page::Output() {
  Heading("Output: weights times V");
  Say("The output of a query is the mean of the rows of V that its weights make.");
  if (RowProblem().empty()) {
    std::vector<std::string> factors;
    std::vector<double> products;
    for (const int64_t k : seen_) {
      const double weight = WeightOf(k);
      const double value = head_.value.at(k, 0);
      factors.push_back(absl::StrCat(Number(weight), "*", Operand(value)));
      products.push_back(weight * value);
    }
    Derivation output(absl::StrCat("output(", QueryName(), ")[0]"));
    output.IsTerms(factors);
    if (products.size() > 1) output.IsSum(products);
    Show(output.Is(static_cast<double>(head_.output.at(cell_.query, 0))));
  }
  ShowRows("output", head_.output, head_.query_names);
}

}  // namespace

std::string ExplainText(const Case& input, const AttentionPlan& plan, const ExplainedHead& head, const Cell& cell) {
  return Page(input, plan, head, cell).Text();
}

}  // namespace attnd::attnctl
