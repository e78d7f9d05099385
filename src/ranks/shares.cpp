#include "ranks/shares.h"

#include "base/error.h"

namespace penstock::ranks {

engine::Ranks::Share stages_of_rank(int rank, int ranks, int stages) {
  if (ranks > stages) {
    throw user_error("ranks",
                     "each rank needs a stage, but there are {} ranks and pipeline.stages = {}; "
                     "start at most {} ranks or set pipeline.stages",
                     ranks, stages, stages);
  }
  const int first = rank * stages / ranks;
  return {first, (rank + 1) * stages / ranks - first};
}

int rank_of_stage(int stage, int ranks, int stages) {
  int rank = 0;
  while (!stages_of_rank(rank, ranks, stages).has(stage)) ++rank;
  return rank;
}

engine::Ranks::Share stages_of_host(const Environment& environment, int stages) {
  const int first_rank = environment.rank - environment.local_rank;
  const int last_rank = first_rank + environment.local_size - 1;
  const auto first = stages_of_rank(first_rank, environment.size, stages);
  const auto last = stages_of_rank(last_rank, environment.size, stages);
  return {first.first, last.first + last.count - first.first};
}

}  // namespace penstock::ranks
