#include "train/event_handler.h"

#include <utility>
#include <variant>

namespace penstock::train {

bool EventHandler::is_old(const engine::Event& event) const {
  if (const auto* update = std::get_if<engine::UpdateEvent>(&event)) return update->batch < cut_;
  const auto* evaluation = std::get_if<engine::EvaluationEvent>(&event);
  return evaluation != nullptr && evaluation->version < cut_;
}

void EventHandler::handle(engine::Event event) {
  if (is_old(event)) return;
  if (auto* capture = std::get_if<engine::CaptureEvent>(&event)) {
    states_.push_back(std::move(capture->state));
  } else {
    reporter_.handle(event);
  }
  pass_states_on();
}

void EventHandler::finish() {
  reporter_.finish();
  pass_states_on();
}

void EventHandler::pass_states_on() {
  const auto recorded = static_cast<std::int64_t>(reporter_.losses().size());
  std::erase_if(states_, [&](engine::StageState& state) {
    if (state.cut > recorded) return false;
    saver_.save(std::move(state));
    return true;
  });
}

}  // namespace penstock::train
