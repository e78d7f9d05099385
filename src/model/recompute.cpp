#include "model/recompute.h"

namespace penstock::model {
namespace {

bool ends_segment(UnitKind kind, config::Recompute recompute) {
  return recompute == config::Recompute::block && kind == UnitKind::mlp;
}

}  // namespace

std::vector<Segment> segments(const std::vector<UnitKind>& kinds, config::Recompute recompute) {
  std::vector<Segment> all;
  bool open = false;
  for (std::size_t u = 0; u < kinds.size(); ++u) {
    const bool kept = recompute == config::Recompute::none || kinds[u] == UnitKind::head;
    if (kept || !open) all.push_back({u, u, !kept});
    all.back().last = u + 1;
    open = !kept && !ends_segment(kinds[u], recompute);
  }
  return all;
}

}  // namespace penstock::model
