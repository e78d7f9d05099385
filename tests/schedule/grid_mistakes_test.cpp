// What people may get wrong in a grid file.

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/error.h"
#include "schedule/grid_file.h"

namespace penstock::schedule {
namespace {

std::string message_of(std::string_view text) {
  try {
    parse_grid(text, "x.grid");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

struct Mistake {
  std::string_view text;
  std::string_view message;
};

TEST(GridFile, MistakesAreNamedWithLineWordAndRemedy) {
  const Mistake mistakes[] = {
      {"",
       "[x.grid] a grid needs a row for each stage, but there is none; write one such as 'stage 0: "
       "F0 F1 B0 B1 U'"},
      {"# nothing\n\ndelay 1\n",
       "[x.grid] a grid needs a row for each stage, but there is none; write one such as 'stage 0: "
       "F0 F1 B0 B1 U'"},
      {"stage 0: F0 B0 Q1 U",
       "[x.grid:1] 'Q1' is no step; write F0 (forward of micro-batch 0), B0, X0, W0, U, '.' or "
       "'|'"},
      {"\nstage 0: F0 B0 \x01\xFFxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx U",
       "[x.grid:2] '??xxxxxxxxxxxxxxxxxxxxxx...' is no step; write F0 (forward of micro-batch 0), "
       "B0, X0, W0, U, '.' or '|'"},
      {"stage 0: F B0 U",
       "[x.grid:1] 'F' needs a whole number from -10000 to 10000 behind its letter; write F0 or "
       "F-1, say"},
      {"stage 0: F0 B0x U",
       "[x.grid:1] 'B0x' needs a whole number from -10000 to 10000 behind its letter; write B0 or "
       "B-1, say"},
      {"stage 0: F99999999999999999999 B0 U",
       "[x.grid:1] 'F99999999999999999999' needs a whole number from -10000 to 10000 behind its "
       "letter; write F0 or F-1, say"},
      {"stage 0: F0 B0 U-10001",
       "[x.grid:1] 'U-10001' needs a whole number from -10000 to 10000 behind its letter; write U "
       "or U-1, say"},
      {"stage 0: F0 B0 U'1",
       "[x.grid:1] 'U'1' names no chunk; an update is of all chunks, so "
       "write U"},
      {"stage 0: F0'256 B0 U",
       "[x.grid:1] 'F0'256' names no chunk; write a number from 0 to 255 behind the ', such as "
       "F0'1"},
      {"stage 0: F0' B0 U",
       "[x.grid:1] 'F0'' names no chunk; write a number from 0 to 255 behind the ', such as F0'1"},
      {"stage 0: F0 | B0 | F1 U",
       "[x.grid:1] a row has one '|', between what is done once and what is repeated, but this one "
       "has two; remove one"},
      {"stage 0: F0 F1 B0 F1 B1 U", "[x.grid:1] stage 0 runs F1 twice; remove one of them"},
      {"stage 0: F0 F1 B0 U",
       "[x.grid:1] stage 0 never runs B1 (2 micro-batches per batch); add it to the row"},
      {"stage 0: F0 F1 B0 B1 U\nstage 1: F0 B0 B1 U\nstage 2: F0 F1 B0 B1 U",
       "[x.grid:2] stage 1 never runs F1 (2 micro-batches per batch); add it to the row"},
      {"stage 0: F0 B0 F0'1 U",
       "[x.grid:1] stage 0 never runs B0'1 (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 X0 U",
       "[x.grid:1] stage 0 never runs W0 (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 W0 U",
       "[x.grid:1] stage 0 never runs X0 (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 B0",
       "[x.grid:1] stage 0 never runs U (1 micro-batch per batch); add it to the row"},
      {"stage 0: F0 B0 U | F1",
       "[x.grid:1] stage 0 never runs B0 (1 micro-batch per batch); add it to the part right of "
       "'|', which is repeated"},
      {"stage 0:", "[x.grid:1] stage 0 never runs F0 (1 micro-batch per batch); add it to the row"},
      {"micro_batches 2\nstage 0: F0 F1 F2 B0 B1 U",
       "[x.grid:2] stage 0 runs F0 and F2 in every repetition, which is the same work twice (2 "
       "micro-batches per batch); keep one of them"},
      {"stage 0: F0 F1 B0 B1 U\nstage 1: F0 F1 F2 B0 B1 U\nstage 2: F0 F1 B0 B1 U",
       "[x.grid:2] stage 1 runs F0 and F2 in every repetition, which is the same work twice (2 "
       "micro-batches per batch); keep one of them"},
      {"stage 0: F0 B0 X0 W0 U",
       "[x.grid:1] stage 0 runs B0 and also X0, which are both the backward of the same "
       "micro-batch; write B0, or X0 and W0"},
      {"stage 0: F1 B0 U",
       "[x.grid:1] stage 0 starts with F1 in the first repetition, so F0 is never done; add it "
       "left of '|', or write F0 instead of F1"},
      {"stage 0: F0 | F2 B0 U",
       "[x.grid:1] stage 0 starts with F2 in the first repetition, so F1 is never done; add it "
       "left of '|'"},
      {"stage 0: F0 | F0 B0 U",
       "[x.grid:1] stage 0 runs F0 left of '|' and again in repetition 0 as F0; remove one of "
       "them"},
      {"stage 0: F0 F2 | F1 B0 U",
       "[x.grid:1] stage 0 runs F2 left of '|' and again in repetition 1 as F1; remove one of "
       "them"},
      {"stage 0: F-1 F0 | F1 B0 U",
       "[x.grid:1] 'F-1' left of '|' lies before the first batch; remove it"},
      {"stage 0: B0 F0 U",
       "[x.grid:1] stage 0 runs B0 before F0 of the same micro-batch; put it behind"},
      {"stage 0: F0 W0 X0 U",
       "[x.grid:1] stage 0 runs W0 before X0 of the same micro-batch; put it behind"},
      {"stage 0: F0 F1 B0 U B1",
       "[x.grid:1] stage 0 runs U before the last backward of that batch; put it behind"},
      {"stage 0: F0 F1 U-1 B-1 B-2",
       "[x.grid:1] stage 0 runs U-1 before the last backward of that batch; put it behind"},
      {"stage 0: F0 F1 B1 B0 U1 U0 | F2 B2 U2",
       "[x.grid:1] stage 0 runs B1 before the last backward of the batch before; put it behind"},
      {"stage 0: F0 F1 B0 B1 U1 U0 | F2 B2 U2",
       "[x.grid:1] stage 0 runs U1 before U from the batch before; put it behind"},
      {"stages 3\nstage 0: F0 B0 U\nstage 1: F0 B0 U",
       "[x.grid:1] 'stages 3' needs as many rows, but there are 2; set stages to 2, or add rows"},
      {"stages 1\nstage 0: F0 B0 U\nstage 1: F0 B0 U",
       "[x.grid:1] 'stages 1' needs as many rows, but there are 2; set stages to 2, or remove "
       "rows"},
      {"stage 0: F0 B0 U\nstage 2: F0 B0 U",
       "[x.grid:2] rows are numbered from 0 in order, but this one is 'stage 2'; write 'stage 1:'"},
      {"stage 0: F0 B0 U\nstage 0: F0 B0 U",
       "[x.grid:2] rows are numbered from 0 in order, but this one is 'stage 0'; write 'stage 1:'"},
      {"stage one: F0 B0 U",
       "[x.grid:1] rows are numbered from 0 in order, but this one is 'stage one'; write 'stage "
       "0:'"},
      {"stage 0 F0 B0 U", "[x.grid:1] a row starts with its stage and ':'; write 'stage 0: ...'"},
      {"dealy 1\nstage 0: F0 B0 U",
       "[x.grid:1] 'dealy' is no setting of a grid; did you mean 'delay'?"},
      {"F0 B0 U",
       "[x.grid:1] 'F0' is no setting of a grid; write one of stages, micro_batches, chunks, "
       "placement, backward, updates, delay, versions, gradient_buffers, in_flight, "
       "collect_after, reductions, summary, or a row 'stage 0: ...'"},
      {"delay\nstage 0: F0 B0 U", "[x.grid:1] 'delay' has no value; write 'delay VALUE'"},
      {"delay 1\ndelay 1\nstage 0: F0 B0 U",
       "[x.grid:2] 'delay' was set in line 1 already; remove one of them"},
      {"delay 1..0\nstage 0: F0 B0 U",
       "[x.grid:1] delay is a whole number from 0 to 100000, but it is '1..0'; write 'delay 1' or "
       "'delay 0..1'"},
      {"delay -1\nstage 0: F0 B0 U",
       "[x.grid:1] delay is a whole number from 0 to 100000, but it is '-1'; write 'delay 1' or "
       "'delay 0..1'"},
      {"versions 1..2\nstage 0: F0 B0 U",
       "[x.grid:1] versions is a whole number from 1 to 100000, but it is '1..2'; write 'versions "
       "1'"},
      {"in_flight 1 2 3\nstage 0: F0 B0 U\nstage 1: F0 B0 U",
       "[x.grid:1] in_flight has one value, or one for each of the 2 stages, but there are 3; "
       "write 1 or 2"},
      {"micro_batches 0\nstage 0: F0 B0 U",
       "[x.grid:1] micro_batches is one whole number from 1 to 10000, but it is '0'; write "
       "'micro_batches 1'"},
      {"chunks 1\nstage 0: F0 F0'1 B0 B0'1 U",
       "[x.grid:1] 'chunks 1' allows chunks below 1, but the rows name chunk 1; set chunks to 2"},
      {"placement x\nstage 0: F0 B0 U",
       "[x.grid:1] placement is 'loop' or 'v', but it is 'x'; write 'placement loop'"},
      {"updates soon\nstage 0: F0 B0 U",
       "[x.grid:1] updates is 'together' or 'alone', but it is 'soon'; write 'updates together'"},
  };
  for (const auto& [text, message] : mistakes) EXPECT_EQ(message_of(text), message) << text;
}

}  // namespace
}  // namespace penstock::schedule
