#include "timeline/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "timeline/html_page.h"
#include "timeline/svg.h"

namespace penstock::timeline {
namespace {

using Json = nlohmann::ordered_json;

/// Nothing within the text can end the script that holds it.
std::string script_text(const Json& json) {
  std::string text;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    text += c == '<' ? std::string("\\u003c") : std::string(1, c);
  }
  return text;
}

double nanoseconds(double seconds) { return std::round(1e9 * seconds); }

/// [mark, begin, duration, batch, micro-batch, version, chunk], times in nanoseconds from `from`.
Json cell_list(const Panel& panel, const std::vector<Span>& spans) {
  Json list = Json::array();
  for (const Cell& cell : cells(spans, panel.from, panel.to)) {
    if (cell.end == cell.begin && cell.mark != Mark::update) continue;
    const auto& action = cell.action;
    list.push_back({static_cast<int>(cell.mark),
                    static_cast<std::int64_t>(nanoseconds(cell.begin - panel.from)),
                    static_cast<std::int64_t>(nanoseconds(cell.end - cell.begin)), action.batch,
                    action.micro_batch, action.version, action.chunk});
  }
  return list;
}

Json panel_data(const Panel& panel) {
  Json stages = Json::array();
  for (const auto& spans : panel.timeline->stages) stages.push_back(cell_list(panel, spans));
  return {{"title", panel.title},
          {"length", nanoseconds(panel.to - panel.from)},
          {"from", nanoseconds(panel.from)},
          {"chunks", panel.timeline->shape.chunks},
          {"lone", panel.timeline->shape.micro_batches == 1},
          {"stages", std::move(stages)}};
}

Json mark_data() {
  Json marks = Json::array();
  for (int i = 0; i <= static_cast<int>(Mark::capture); ++i) {
    const Mark mark = static_cast<Mark>(i);
    const Colour even = colour(mark, false);
    const Colour odd = colour(mark, true);
    marks.push_back({{"title", title(mark)},
                     {"letter", label({mark, {}, 0, 0}, {}).substr(0, 1)},
                     {"bubble", is_bubble(mark)},
                     {"fill", {even.fill, odd.fill}},
                     {"ink", {even.ink, odd.ink}}});
  }
  return marks;
}

Json legend_data(const Picture& picture) {
  Json list = Json::array();
  for (const LegendEntry& entry : legend(picture)) list.push_back(static_cast<int>(entry.mark));
  return list;
}

}  // namespace

std::string html(const Picture& picture, const std::string& title) {
  constexpr double slot_pixels = 30;
  Json panels = Json::array();
  for (const Panel& panel : picture.panels) panels.push_back(panel_data(panel));
  const Json data = {{"panels", std::move(panels)},
                     {"marks", mark_data()},
                     {"legend", legend_data(picture)},
                     {"transfer", static_cast<int>(Mark::transfer)},
                     {"waitUpdate", static_cast<int>(Mark::wait_update)},
                     {"plain", picture.axis == Axis::plain},
                     {"scale", slot_pixels / std::max(nanoseconds(picture.slot), 1.0)}};
  const std::string name = escape_xml(title);
  return fmt::format(fmt::runtime(page_head), name, name, escape_xml(legend_note(picture))) +
         script_text(data) + std::string(page_script);
}

}  // namespace penstock::timeline
