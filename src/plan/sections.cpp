#include "plan/sections.h"

#include <cerrno>
#include <fstream>
#include <sstream>
#include <system_error>

namespace penstock::plan {
namespace {

std::string advice(std::string_view name, const std::vector<std::string>& names) {
  const std::string near = suggest(name, names);
  return near.empty() ? "the sections are " + config::joined(names, ", ")
                      : fmt::format("did you mean '{}'?", near);
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

}  // namespace

void check_sections(const config::Document& document, const std::vector<std::string>& names) {
  for (const auto& section : document.sections) {
    if (contains(names, section.name)) continue;
    throw user_error("config", "unknown section '{}' in {}; {}", section.name, section.place,
                     advice(section.name, names));
  }
  for (const auto& setting : document.settings) {
    if (contains(names, setting.section)) continue;
    throw user_error("config", "unknown key '{}' in {}; {}", setting.name(), setting.place,
                     advice(setting.section, names));
  }
}

std::string read_text(const std::string& path, std::string_view what) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  // Reading is what fails on a folder; opening succeeds.
  if (file && file.peek() != std::ifstream::traits_type::eof()) text << file.rdbuf();
  if (!file.is_open() || file.bad()) {
    throw user_error("plan", "cannot read {} '{}': {}; give the path of a TOML file", what, path,
                     std::generic_category().message(errno));
  }
  return text.str();
}

}  // namespace penstock::plan
