#include "core/linear/stages.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "core/linear/linear_engine.h"
#include "core/linear/row_functions.h"

namespace attnd {
namespace {

// Rows of a tile: enough to use a matrix well that has been brought into a cache, few
// enough to stay in one beside it.
constexpr int64_t kRowsPerTile = 96;
// A tile takes at most some 2 ms and is not worth dividing below some 50 microseconds.
constexpr double kMostFlops = 1e8;
constexpr double kLeastFlops = 4e6;
// Tiles of a stage, if these are large enough: what is left of the last ones is short then.
constexpr double kTilesWanted = 12;
// What oneDNN takes in one go, all columns together.
constexpr int64_t kOnednnRows = 128;
// Columns are cut at whole panels of packed matrices, whatever their width.
constexpr int64_t kColumnMultiple = 64;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A product cut into a grid of tiles.
struct Grid {
  int64_t rows_per_tile = 1;
  int64_t columns_per_tile = 1;
  int64_t row_tiles = 0;
  int64_t column_tiles = 0;

  [[nodiscard]] int64_t tiles() const { return row_tiles * column_tiles; }
};

double FlopsOf(const MatrixProduct& p) {
  const double matrices = p.gate == nullptr ? 1 : 2;
  return 2 * matrices * static_cast<double>(p.rows) * static_cast<double>(p.weights->in()) *
         static_cast<double>(p.columns.size());
}

Grid Cut(const MatrixProduct& p, double all_flops) {
  Grid grid;
  if (p.rows == 0) return grid;
  const int64_t columns = p.columns.size();
  if (CurrentLinearEngine() == LinearEngine::kOnednn) {
    grid.rows_per_tile = std::min(kOnednnRows, p.rows);
    grid.columns_per_tile = columns;
    grid.row_tiles = CeilDivide(p.rows, grid.rows_per_tile);
    grid.column_tiles = 1;
    return grid;
  }
  grid.row_tiles = CeilDivide(p.rows, kRowsPerTile);
  grid.rows_per_tile = CeilDivide(p.rows, grid.row_tiles);
  const double wanted = std::clamp(all_flops / kTilesWanted, kLeastFlops, kMostFlops);
  const double per_column =
      FlopsOf(p) / static_cast<double>(p.rows) / static_cast<double>(columns) * static_cast<double>(grid.rows_per_tile);
  const double fitting = std::clamp(wanted / per_column, 1.0, static_cast<double>(columns));
  grid.column_tiles = CeilDivide(columns, static_cast<int64_t>(fitting));
  grid.columns_per_tile = CeilDivide(CeilDivide(columns, grid.column_tiles), kColumnMultiple) * kColumnMultiple;
  grid.column_tiles = CeilDivide(columns, grid.columns_per_tile);
  return grid;
}

void Activate(Activation activation, float* row, int64_t n) {
  switch (activation) {
    case Activation::kGelu:
      return GeluRow(row, n);
    case Activation::kGeluTanh:
      return GeluTanhRow(row, n);
    case Activation::kRelu:
      return ReluRow(row, n);
    case Activation::kSwiglu:
    case Activation::kUnset:
      return;
  }
}

absl::Status RunTile(const MatrixProduct& p, const Grid& grid, int64_t tile) {
  const int64_t row = tile / grid.column_tiles * grid.rows_per_tile;
  const int64_t rows = std::min(grid.rows_per_tile, p.rows - row);
  const int64_t column = tile % grid.column_tiles * grid.columns_per_tile;
  const int64_t n = std::min(grid.columns_per_tile, p.columns.size() - column);
  const auto at = [&](const auto& to) { return to.data + row * to.stride + column; };
  const ConstRows x{p.x.data + row * p.x.stride, p.x.stride};
  const Columns columns{p.columns.begin + column, p.columns.begin + column + n};
  const MutableRows y{at(p.y), p.y.stride};
  const auto bias = [&](const float* all) { return all == nullptr ? nullptr : all + column; };
  if (absl::Status s = p.weights->Multiply(x, rows, columns, bias(p.bias), y); !s.ok()) return s;
  if (p.gate != nullptr) {
    const MutableRows gated{at(p.gated), p.gated.stride};
    if (absl::Status s = p.gate->Multiply(x, rows, columns, bias(p.gate_bias), gated); !s.ok()) return s;
    for (int64_t r = 0; r < rows; ++r) SwigluRow(gated.data + r * gated.stride, n, y.data + r * y.stride);
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* out = y.data + r * y.stride;
    Activate(p.activation, out, n);
    if (p.before_residual.data != nullptr) {
      std::memcpy(at(p.before_residual) + r * p.before_residual.stride, out, static_cast<size_t>(n) * sizeof(float));
    }
    if (p.residual.data != nullptr) AddRow(at(p.residual) + r * p.residual.stride, n, out);
  }
  return absl::OkStatus();
}

}  // namespace

Stage ProductStage(const std::vector<MatrixProduct>& products) {
  struct Part {
    MatrixProduct product;
    Grid grid;
    int64_t first_tile;
  };
  Stage stage;
  for (const MatrixProduct& p : products) stage.flops += FlopsOf(p);
  auto parts = std::make_shared<std::vector<Part>>();
  for (const MatrixProduct& p : products) {
    const Grid grid = Cut(p, stage.flops);
    parts->push_back({p, grid, stage.tiles});
    stage.tiles += grid.tiles();
  }
  stage.run = [parts](int64_t tile) {
    const auto next = std::upper_bound(parts->begin(), parts->end(), tile,
                                       [](int64_t at, const Part& part) { return at < part.first_tile; });
    const Part& part = *std::prev(next);
    return RunTile(part.product, part.grid, tile - part.first_tile);
  };
  return stage;
}

Stage RowStage(int64_t rows, double flops_per_row, std::function<absl::Status(int64_t begin, int64_t end)> f) {
  Stage stage;
  stage.flops = static_cast<double>(rows) * flops_per_row;
  if (rows == 0) return stage;
  const double wanted = std::clamp(stage.flops / kTilesWanted, kLeastFlops, kMostFlops);
  const auto per_tile = static_cast<int64_t>(std::clamp(wanted / flops_per_row, 1.0, static_cast<double>(rows)));
  stage.tiles = CeilDivide(rows, per_tile);
  stage.run = [rows, per_tile, f = std::move(f)](int64_t tile) {
    return f(tile * per_tile, std::min(rows, (tile + 1) * per_tile));
  };
  return stage;
}

}  // namespace attnd
