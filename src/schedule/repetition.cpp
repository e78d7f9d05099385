#include "schedule/repetition.h"

#include <algorithm>

namespace penstock::schedule {

std::uint64_t with_number(std::uint64_t hash, std::uint64_t number) {
  hash = (hash ^ number) * 0x9e3779b97f4a7c15ULL;
  return hash ^ (hash >> 32);
}

std::uint64_t with_action(std::uint64_t hash, const Action& action, std::int64_t from_batch) {
  hash = with_number(hash, static_cast<std::uint64_t>(action.kind) |
                               static_cast<std::uint64_t>(action.chunk) << 8 |
                               static_cast<std::uint64_t>(action.micro_batch) << 24);
  return with_number(hash, static_cast<std::uint64_t>(action.batch - from_batch) << 32 ^
                               static_cast<std::uint64_t>(action.version - from_batch));
}

void Repetition::add(int stage, std::uint64_t block) {
  Stage& me = stages_[static_cast<std::size_t>(stage)];
  const std::int64_t number = me.blocks++;
  Batch& mine = batch(number);
  for (int p = 1; p <= longest_period; ++p) {
    const auto i = static_cast<std::size_t>(p - 1);
    const auto before = static_cast<std::size_t>((number + longest_period - p) % longest_period);
    const bool repeats = number >= p && me.last[before] == block;
    me.equal[i] = repeats ? me.equal[i] + 1 : 0;
    if (me.equal[i] < std::int64_t{2} * p) continue;
    if (++mine.repeated[i] == stages_.size()) found_[i] = true;
  }
  me.last[static_cast<std::size_t>(number % longest_period)] = block;
  ++mine.stages;
  while (!batches_.empty() && batches_.front().stages == stages_.size()) {
    batches_.pop_front();
    ++first_batch_;
  }
}

int Repetition::period() const {
  const auto* const least = std::ranges::find(found_, true);
  return least == found_.end() ? 0 : static_cast<int>(least - found_.begin()) + 1;
}

Repetition::Batch& Repetition::batch(std::int64_t number) {
  const auto place = static_cast<std::size_t>(number - first_batch_);
  if (place >= batches_.size()) batches_.resize(place + 1);
  return batches_[place];
}

}  // namespace penstock::schedule
