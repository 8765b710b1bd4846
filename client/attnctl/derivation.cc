#include "client/attnctl/derivation.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace attnd::attnctl {

std::string Number(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  const double magnitude = std::abs(x);
  if (magnitude > 0 && magnitude < 1e-3) return absl::StrFormat("%.6g", x);
  if (magnitude >= 1e6) return absl::StrFormat("%.7g", x);
  std::string text = absl::StrFormat("%.6f", x);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string Operand(double x) {
  std::string text = Number(x);
  return text.front() == '-' ? absl::StrCat("(", text, ")") : text;
}

std::string Paragraph(std::string_view words) {
  std::string text;
  size_t column = 0;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(std::string(words), ' '))) {
    const bool fits = column + 1 + word.size() <= kPageWidth;
    if (!text.empty()) text += fits ? ' ' : '\n';
    column = (fits && !text.empty() ? column + 1 : 0) + word.size();
    text += word;
  }
  return text + "\n";
}

Derivation& Derivation::IsTerms(const std::vector<std::string>& terms) {
  const std::string indent(left_.size() + 2, ' ');
  std::string line = absl::StrCat(text_.empty() ? "  " + left_ : indent, " = ");
  for (size_t i = 0; i < terms.size(); ++i) {
    if (i > 0 && line.size() + 3 + terms[i].size() > kPageWidth) {
      absl::StrAppend(&text_, line, "\n");
      line = indent + "  ";
    }
    absl::StrAppend(&line, i > 0 ? " + " : "", terms[i]);
  }
  absl::StrAppend(&text_, line, "\n");
  return *this;
}

Derivation& Derivation::IsSum(const std::vector<double>& numbers) {
  std::vector<std::string> terms;
  terms.reserve(numbers.size());
  for (const double x : numbers) terms.push_back(numbers.size() == 1 ? Number(x) : Operand(x));
  return IsTerms(terms);
}

}  // namespace attnd::attnctl
