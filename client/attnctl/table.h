// Numbers for people: aligned tables for small matrices, a line for large tensors.
#ifndef ATTND_CLIENT_ATTNCTL_TABLE_H_
#define ATTND_CLIENT_ATTNCTL_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace attnd::attnctl {

// A matrix inside a tensor; elements of a row are neighbours. Does not own the values.
struct MatrixView {
  const float* values = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  // Elements from one row to the next.
  int64_t row_stride = 0;
};

// The matrix as lines of right-aligned numbers, six decimals unless the numbers are too
// large or too small for that, with a label before each row and above each column where
// there are any (as many as rows or columns, or none).
std::string FormatMatrix(const MatrixView& matrix, const std::vector<std::string>& row_labels,
                         const std::vector<std::string>& column_labels);

// "min -1.5, mean 0.25, max 2 over 4096 values; first 0.1 0.2 0.3 ...". Values that are not
// finite are counted, not averaged.
std::string Summarize(std::span<const float> values);

// "name   value" lines with the values aligned.
std::string FormatPairs(const std::vector<std::pair<std::string, std::string>>& pairs);

// Lines of as many texts each, aligned in columns: those in `left` to the left, the others to
// the right.
std::string FormatColumns(const std::vector<std::vector<std::string>>& lines, const std::set<size_t>& left);

}  // namespace attnd::attnctl

#endif  // ATTND_CLIENT_ATTNCTL_TABLE_H_
