// Arithmetic written out for people who follow it with pen and paper.
#ifndef ATTND_CLIENT_ATTNCTL_DERIVATION_H_
#define ATTND_CLIENT_ATTNCTL_DERIVATION_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attnd::attnctl {

// Longest line, in characters.
inline constexpr size_t kPageWidth = 96;

// At most six decimals, without zeros at the end; six or seven digits of what is too small or too
// large for that.
std::string Number(double x);

// The same as a part of a sum or a product: in parentheses if it is negative.
std::string Operand(double x);

// Words in lines of at most kPageWidth characters.
std::string Paragraph(std::string_view words);

// "  left = a + b", each further step below, and long sums in several lines.
class Derivation {
 public:
  explicit Derivation(std::string left) : left_(std::move(left)) {}

  // The next step: terms with a plus between them.
  Derivation& IsTerms(const std::vector<std::string>& terms);
  // The same of numbers.
  Derivation& IsSum(const std::vector<double>& numbers);
  Derivation& Is(const std::string& term) { return IsTerms({term}); }
  Derivation& Is(double number) { return Is(Number(number)); }

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string left_;
  std::string text_;
};

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_DERIVATION_H_
