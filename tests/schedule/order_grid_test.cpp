#include "schedule/order_grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "schedule/compute.h"

namespace penstock::schedule {
namespace {

using Rows = std::vector<std::vector<OrderCell>>;

TEST(OrderGrid, CellsNameWhatIsDone) {
  using enum ActionKind;
  EXPECT_EQ(cell_text(compute::forward(2, 3, 1)), "F3");
  EXPECT_EQ(cell_text(compute::backward(2, 3, 1, 1)), "B3'1");
  EXPECT_EQ(cell_text(compute::backward_input(2, 3, 1)), "X3");
  EXPECT_EQ(cell_text(compute::backward_weight(2, 3, 1)), "W3");
  EXPECT_EQ(cell_text(compute::contribute(2)), "C2");
  EXPECT_EQ(cell_text(compute::await_reduction(2)), "A2");
  EXPECT_EQ(cell_text(compute::update(2)), "U3");
  EXPECT_EQ(cell_text({evaluate, 4, 1, 4}), "E1");
  EXPECT_EQ(cell_text({receive_activation, 0, 1}), "rF1");
  EXPECT_EQ(cell_text({send_gradient, 0, 1}), "sB1");
  EXPECT_EQ(cell_text({send_evaluation, 0, 1, 0, 2}), "sE1'2");
}

TEST(OrderGrid, SlotsAreColumnsAndTheBadCellIsMarked) {
  const Rows rows{{{0, "F0"}, {1, "F1"}, {4, "B0"}}, {{1, "F0"}, {2, "B0"}, {3, "U1"}}};
  EXPECT_EQ(order_grid(rows, 1, 2),
            "stage 0: F0   F1             B0\n"
            "stage 1:      F0   >B0< U1\n");
}

TEST(OrderGrid, ShowsTheSlotsAroundTheBadCellThatFit) {
  Rows rows(2);
  for (int i = 0; i < 200; ++i) {
    rows[0].push_back({i, "F" + std::to_string(i)});
    rows[1].push_back({i, "B" + std::to_string(i)});
  }
  EXPECT_EQ(order_grid(rows, 1, 120, 50),
            "stage 0: F117   F118   F119   F120   F121   F122\n"
            "stage 1: B117   B118   B119   >B120< B121   B122\n");
  for (const int columns : {40, 77, 100}) {
    for (const int bad : {0, 7, 99, 199}) {
      std::istringstream lines(order_grid(rows, 0, bad, columns));
      std::string line;
      while (std::getline(lines, line)) EXPECT_LE(line.size(), static_cast<std::size_t>(columns));
    }
  }
}

TEST(OrderGrid, ShowsTheStagesAroundTheBadCell) {
  const Rows rows(100, {{0, "F0"}});
  const std::string text = order_grid(rows, 50, 0);
  EXPECT_EQ(std::ranges::count(text, '\n'), 24);
  EXPECT_TRUE(text.starts_with("stage 38: F0\n")) << text;
  EXPECT_NE(text.find("stage 50: >F0<\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace penstock::schedule
