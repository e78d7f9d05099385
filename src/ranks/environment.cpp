#include "ranks/environment.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace penstock::ranks {
namespace {

constexpr int most_ranks = 4096;

int number(const Lookup& lookup, const char* name, int least, int most,
           std::optional<int> fallback) {
  const auto text = lookup(name);
  if (!text) {
    if (fallback) return *fallback;
    throw user_error("ranks",
                     "WORLD_SIZE is set, but {} is not; start ranks with penstock launch or set it",
                     name);
  }
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < least || value > most) {
    throw user_error("ranks",
                     "{} = '{}' in the environment, but must be a number from {} to {}; correct it",
                     name, *text, least, most);
  }
  return value;
}

bool is_true(const std::optional<std::string>& text) {
  return text && (*text == "True" || *text == "true" || *text == "1");
}

}  // namespace

std::optional<std::string> environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

std::optional<Environment> read_environment(const Lookup& lookup) {
  Environment environment;
  environment.size = number(lookup, "WORLD_SIZE", 1, most_ranks, 1);
  if (environment.size == 1) return std::nullopt;
  environment.rank = number(lookup, "RANK", 0, environment.size - 1, std::nullopt);
  environment.local_size =
      number(lookup, "LOCAL_WORLD_SIZE", 1, environment.size, environment.size);
  environment.local_rank = number(lookup, "LOCAL_RANK", 0, environment.local_size - 1,
                                  environment.rank % environment.local_size);
  environment.address = lookup("MASTER_ADDR").value_or("127.0.0.1");
  environment.port =
      static_cast<std::uint16_t>(number(lookup, "MASTER_PORT", 1, 65535, std::nullopt));
  environment.launcher_has_store = is_true(lookup("TORCHELASTIC_USE_AGENT_STORE"));
  environment.attempt = lookup("TORCHELASTIC_RESTART_COUNT").value_or("0");
  return environment;
}

}  // namespace penstock::ranks
