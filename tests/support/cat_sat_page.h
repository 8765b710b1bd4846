// What attnctl explain prints for the examples cat-sat and cat-sat-causal, whole, if the numbers
// are the exact ones rounded to float32.
#ifndef ATTND_TESTS_SUPPORT_CAT_SAT_PAGE_H_
#define ATTND_TESTS_SUPPORT_CAT_SAT_PAGE_H_

#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <string>

namespace attnd {

// Succeeds if the texts are the same but for the last digit of six decimals, which float32
// arithmetic in another order may turn.
inline testing::AssertionResult SamePage(const std::string& actual, const std::string& expected) {
  constexpr double kDigit = 1e-6 * (1 + 1e-6);
  const char* a = actual.c_str();
  const char* e = expected.c_str();
  while (*a != '\0' && *e != '\0') {
    char* a_end = nullptr;
    char* e_end = nullptr;
    const bool numbers =
        std::isdigit(static_cast<unsigned char>(*a)) != 0 && std::isdigit(static_cast<unsigned char>(*e)) != 0;
    if (numbers && std::abs(std::strtod(a, &a_end) - std::strtod(e, &e_end)) <= kDigit) {
      a = a_end;
      e = e_end;
      continue;
    }
    if (*a != *e) break;
    ++a;
    ++e;
  }
  if (*a == *e) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "differs from\n" << expected << "\nfrom here on:\n" << a;
}

inline constexpr char kCatSatPage[] =
    R"page(Self-attention of "The cat sat": query = key = value, scale 1

Numbers are rounded to six decimals, so what follows from them may differ a little in the last
one.

1. Queries, keys and values

Each token has a row in three matrices: in Q what it looks for, in K what it can be found by,
and in V what it has to tell. Attention gives every query a mean of the rows of V, in which
those count most whose keys fit the query best.

Q = K = V [3, 3]
            [0]       [1]       [2]
  The  0.200000  0.800000  0.100000
  cat  0.900000  0.300000  0.700000
  sat  0.400000  0.600000  0.500000

2. Scores: Q times K transposed

A score says how well a key fits a query. It is the product of their rows, number by number,
summed: large if both are large in the same places.

  score(sat, cat) = 0.4*0.9 + 0.6*0.3 + 0.5*0.7
                  = 0.36 + 0.18 + 0.35
                  = 0.89

All of them, with a row for each query and a column for each key:

            The       cat       sat
  The  0.690000  0.490000  0.610000
  cat  0.490000  1.390000  0.890000
  sat  0.610000  0.890000  0.770000

3. Scaling

A score is a sum of 3 products here, and the more products, the further such sums spread: like
the square root of their number, if the numbers are random. The factor 1/sqrt(3) = 0.57735 takes
that out, so that long rows make the softmax below no sharper than short ones.
This case has the scale 1 instead: the scores stay as they are.

4. Softmax: from scores to weights

The weights of a row are to be positive, to add up to 1, and to be the larger the larger the
score. So each score s becomes exp(s), and is divided by the sum of the row. The largest score
of the row is taken off first: that divides numerator and sum by the same number, and keeps exp
from overflowing.

The row of sat, whose largest score is 0.89:

  e(The) = exp(0.61 - 0.89) = exp(-0.28) = 0.755784
  e(cat) = exp(0.89 - 0.89) = exp(0) = 1
  e(sat) = exp(0.77 - 0.89) = exp(-0.12) = 0.88692

  sum = 0.755784 + 1 + 0.88692
      = 2.642704

  weight(sat, The) = 0.755784 / 2.642704 = 0.285989
  weight(sat, cat) = 1 / 2.642704 = 0.3784
  weight(sat, sat) = 0.88692 / 2.642704 = 0.335611

The weights of all rows:

            The       cat       sat
  The  0.364718  0.298606  0.336677
  cat  0.201962  0.496746  0.301292
  sat  0.285989  0.378400  0.335611

5. Output: weights times V

The output of a query is the mean of the rows of V that its weights make.

  output(sat)[0] = 0.285989*0.2 + 0.3784*0.9 + 0.335611*0.4
                 = 0.057198 + 0.34056 + 0.134244
                 = 0.532002

output [3, 3]
            [0]       [1]       [2]
  The  0.476359  0.583362  0.413834
  cat  0.607981  0.491369  0.518564
  sat  0.532002  0.543678  0.461285
)page";

inline constexpr char kCatSatCausalPage[] =
    R"page(Self-attention of "The cat sat": query = key = value, causal

Numbers are rounded to six decimals, so what follows from them may differ a little in the last
one.

1. Queries, keys and values

Each token has a row in three matrices: in Q what it looks for, in K what it can be found by,
and in V what it has to tell. Attention gives every query a mean of the rows of V, in which
those count most whose keys fit the query best.

Q = K = V [3, 3]
            [0]       [1]       [2]
  The  0.200000  0.800000  0.100000
  cat  0.900000  0.300000  0.700000
  sat  0.400000  0.600000  0.500000

2. Scores: Q times K transposed

A score says how well a key fits a query. It is the product of their rows, number by number,
summed: large if both are large in the same places.

  score(sat, cat) = 0.4*0.9 + 0.6*0.3 + 0.5*0.7
                  = 0.36 + 0.18 + 0.35
                  = 0.89

All of them, with a row for each query and a column for each key:

            The       cat       sat
  The  0.690000  0.490000  0.610000
  cat  0.490000  1.390000  0.890000
  sat  0.610000  0.890000  0.770000

3. Scaling

A score is a sum of 3 products here, and the more products, the further such sums spread: like
the square root of their number, if the numbers are random. The factor 1/sqrt(3) = 0.57735 takes
that out, so that long rows make the softmax below no sharper than short ones.

  scaled(sat, cat) = 0.89 * 0.57735
                   = 0.513842

            The       cat       sat
  The  0.398372  0.282902  0.352184
  cat  0.282902  0.802517  0.513842
  sat  0.352184  0.513842  0.444560

4. Visibility

Not every query sees every key: causal hides the keys after a query. A hidden key gets the score
-inf, of which the softmax makes a weight of exactly 0.

            The       cat       sat
  The  0.398372      -inf      -inf
  cat  0.282902  0.802517      -inf
  sat  0.352184  0.513842  0.444560

5. Softmax: from scores to weights

The weights of a row are to be positive, to add up to 1, and to be the larger the larger the
score. So each score s becomes exp(s), and is divided by the sum of the row. The largest score
of the row is taken off first: that divides numerator and sum by the same number, and keeps exp
from overflowing.

The row of sat, whose largest score is 0.513842:

  e(The) = exp(0.352184 - 0.513842) = exp(-0.161658) = 0.850732
  e(cat) = exp(0.513842 - 0.513842) = exp(0) = 1
  e(sat) = exp(0.44456 - 0.513842) = exp(-0.069282) = 0.933063

  sum = 0.850732 + 1 + 0.933063
      = 2.783796

  weight(sat, The) = 0.850732 / 2.783796 = 0.305601
  weight(sat, cat) = 1 / 2.783796 = 0.359222
  weight(sat, sat) = 0.933063 / 2.783796 = 0.335177

The weights of all rows:

            The       cat       sat
  The  1.000000  0.000000  0.000000
  cat  0.372942  0.627058  0.000000
  sat  0.305601  0.359222  0.335177

6. Output: weights times V

The output of a query is the mean of the rows of V that its weights make.

  output(sat)[0] = 0.305601*0.2 + 0.359222*0.9 + 0.335177*0.4
                 = 0.06112 + 0.3233 + 0.134071
                 = 0.518491

output [3, 3]
            [0]       [1]       [2]
  The  0.200000  0.800000  0.100000
  cat  0.638940  0.486471  0.476235
  sat  0.518491  0.553354  0.449604
)page";

}  // namespace attnd

#endif  // ATTND_TESTS_SUPPORT_CAT_SAT_PAGE_H_
