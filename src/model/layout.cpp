#include "model/layout.h"

namespace penstock::model {
namespace {

constexpr std::int64_t alignment = 64;

std::int64_t reserve(std::int64_t& end, std::int64_t count) {
  const std::int64_t offset = end;
  end += (count + alignment - 1) / alignment * alignment;
  return offset;
}

/// Number of the first parameter of every unit. The embedding comes first and is number 0; a tied
/// head, the last parameter of all, is number 0 too.
std::vector<std::size_t> first_numbers(const std::vector<Unit>& chain) {
  std::vector<std::size_t> numbers;
  std::size_t next = 0;
  for (const auto& unit : chain) {
    numbers.push_back(next);
    for (const auto& tensor : unit.tensors) next += tensor.parameters.size();
  }
  numbers.push_back(next);
  return numbers;
}

}  // namespace

Layout layout(const std::vector<Unit>& chain, UnitRange range, bool tied) {
  const auto numbers = first_numbers(chain);
  Layout result;
  result.range = range;
  for (auto u = static_cast<std::size_t>(range.first); u < static_cast<std::size_t>(range.last);
       ++u) {
    std::size_t number = numbers[u];
    auto& tensors = result.units.emplace_back();
    for (const auto& spec : chain[u].tensors) {
      const bool is_tied_head = tied && spec.parameters.front().kind == ParameterKind::head;
      const bool shares = is_tied_head && range.first == 0;
      Layout::Tensor place{spec.shape(), 0, reserve(result.gradient_count, spec.count())};
      place.weight_offset =
          shares ? result.units[0][0].weight_offset : reserve(result.weight_count, spec.count());
      std::int64_t before = 0;
      for (const auto& parameter : spec.parameters) {
        result.parameters.push_back({parameter, is_tied_head ? 0 : number,
                                     place.weight_offset + before, place.gradient_offset + before,
                                     !shares});
        before += parameter.count();
        ++number;
      }
      tensors.push_back(std::move(place));
    }
  }
  return result;
}

std::size_t parameter_numbers(const std::vector<Unit>& chain, bool tied) {
  return first_numbers(chain).back() - (tied ? 1 : 0);
}

}  // namespace penstock::model
