// Recomputes arithmetic as a page prints it, from the printed digits alone.
#ifndef ATTND_TESTS_UNIT_PRINTED_ARITHMETIC_H_
#define ATTND_TESTS_UNIT_PRINTED_ARITHMETIC_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_split.h"

namespace attnd {

// What a printed expression may stand for, if each of its numbers was rounded to its digits.
struct Range {
  double low = 0;
  double high = 0;
  // Of the terms, whatever cancels: what float32 rounds by.
  double size = 0;
};

// Sums, products, parentheses and a few functions. Numbers have six decimals, or six digits.
class Expression {
 public:
  explicit Expression(std::string_view text) : rest_(text) {}

  Range Value() {
    const Range value = Sum();
    EXPECT_TRUE(rest_.empty()) << "left over: " << rest_;
    return value;
  }

 private:
  bool Take(std::string_view word) {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  Range Sum() {
    Range sum = Product();
    for (;;) {
      if (Take("+")) {
        const Range next = Product();
        sum = {sum.low + next.low, sum.high + next.high, sum.size + next.size};
      } else if (Take("-")) {
        const Range next = Product();
        sum = {sum.low - next.high, sum.high - next.low, sum.size + next.size};
      } else {
        return sum;
      }
    }
  }

  static Range Among(std::vector<double> ends, double size) {
    return {*std::min_element(ends.begin(), ends.end()), *std::max_element(ends.begin(), ends.end()), size};
  }

  Range Product() {
    Range product = Factor();
    for (;;) {
      if (Take("*")) {
        const Range b = Factor();
        product = Among({product.low * b.low, product.low * b.high, product.high * b.low, product.high * b.high},
                        product.size * b.size);
      } else if (Take("/")) {
        const Range b = Factor();
        product = Among({product.low / b.low, product.low / b.high, product.high / b.low, product.high / b.high},
                        product.size / std::min(std::abs(b.low), std::abs(b.high)));
      } else {
        return product;
      }
    }
  }

  Range Function(double (*f)(double)) {
    const Range x = Sum();
    EXPECT_TRUE(Take(")"));
    // What the argument is off by, the value is off by as many times itself.
    return {f(x.low), f(x.high), std::abs(f(x.high)) * (1 + (std::isfinite(x.size) ? x.size : 0))};
  }

  Range Factor() {
    if (Take("exp(")) return Function([](double x) { return std::exp(x); });
    if (Take("tanh(")) return Function([](double x) { return std::tanh(x); });
    if (Take("(")) {
      const Range value = Sum();
      EXPECT_TRUE(Take(")"));
      return value;
    }
    Take("");
    const std::string digits(rest_);
    char* end = nullptr;
    const double x = std::strtod(digits.c_str(), &end);
    EXPECT_NE(end, digits.c_str()) << "no number: " << digits;
    rest_.remove_prefix(static_cast<size_t>(end - digits.c_str()));
    if (std::isinf(x) || x == 0) return {x, x, std::abs(x)};
    const double half =
        std::max(std::abs(x) < 1e-3 ? 0.0 : 5e-7, std::abs(x) < 1e-3 || std::abs(x) >= 1e6 ? std::abs(x) * 5e-6 : 0.0);
    return {x - half, x + half, std::abs(x)};
  }

  std::string_view rest_;
};

// The sides of every equation of a page, the name on the left left out.
inline std::vector<std::vector<std::string>> EquationsOf(const std::string& page) {
  std::vector<std::vector<std::string>> equations;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    constexpr std::string_view kHidden = ", hidden";
    std::string_view text = line;
    if (text.ends_with(kHidden)) text.remove_suffix(kHidden.size());
    if (!text.starts_with("  ")) continue;
    const size_t word = text.find_first_not_of(' ');
    if (word == std::string_view::npos) continue;
    // A sum that goes on.
    if (text.substr(word).starts_with("+ ")) {
      if (!equations.empty()) equations.back().back() += " " + std::string(text.substr(word));
      continue;
    }
    const std::vector<std::string> sides = absl::StrSplit(std::string(text), " = ");
    if (sides.size() < 2) continue;
    const bool goes_on = sides[0].find_first_not_of(' ') == std::string::npos;
    if (!goes_on) equations.emplace_back();
    equations.back().insert(equations.back().end(), sides.begin() + 1, sides.end());
  }
  return equations;
}

// All sides are equal, as far as their digits tell. Sums are of at most 17 float32 terms, each of
// which rounds twice.
inline void ExpectEqualSides(const std::vector<std::string>& sides) {
  std::vector<Range> ranges;
  // What float32 makes 0 of.
  double slack = std::ldexp(1, -126);
  for (const std::string& side : sides) {
    ranges.push_back(Expression(side).Value());
    slack = std::max(slack, std::ldexp(ranges.back().size, -24) * 2 * 17);
  }
  for (const Range& a : ranges) {
    for (const Range& b : ranges) {
      EXPECT_LE(a.low - slack, b.high + slack) << testing::PrintToString(sides);
    }
  }
}

}  // namespace attnd

#endif  // ATTND_TESTS_UNIT_PRINTED_ARITHMETIC_H_
