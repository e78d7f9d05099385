#include "train/run_text.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <cstdio>
#include <string_view>
#include <vector>

#include "config/print.h"
#include "engine/parameter_routes.h"
#include "engine/pipeline.h"
#include "model/partition.h"
#include "optim/routing.h"
#include "train/catalogue.h"
#include "train/language_model.h"

namespace penstock::train {
namespace {

void print_data(std::ostream& out, const config::Config& config, const RunData& data) {
  const auto& prepared = data.prepared();
  fmt::print(out, "data: {:.2f} M tokens, vocabulary {}, unigram entropy {:.3f} nats per token{}\n",
             1e-6 * static_cast<double>(prepared.tokens), prepared.vocabulary,
             prepared.unigram_entropy, prepared.from_cache ? " (from the cache)" : "");
  const double epochs = static_cast<double>(config.updates() * config.tokens_per_update()) /
                        static_cast<double>(data.training_sequences() * config.model.seq);
  fmt::print(out, "run: {} updates of {} tokens, {:.2f} epochs; validation on {} sequences\n",
             config.updates(), config.tokens_per_update(), epochs, data.validation_sequences());
}

void print_optimizers(std::ostream& out, const config::Config& config) {
  const auto parameters = engine::parameter_infos(config.model);
  const auto rules = optim::routed_rules(config, parameters, engine::parameter_routes(config));
  fmt::print(out, "{}\n", optim::routing_table(rules));
}

}  // namespace

void warn(const std::string& text) { std::fputs(text.c_str(), stderr); }

void print_settings(std::ostream& out, const config::Config& config,
                    const schedule::Schedule& schedule, const RunData& data) {
  fmt::print(out, "{}\n", config::table(config, catalogue()));
  for (const auto& note : config.notes) fmt::print(out, "note: {}\n", note);
  if (config.updates() > 0) print_data(out, config, data);
  fmt::print(out, "model: {} parameters in {} stage{}, {} thread{} each\n",
             model::parameter_count(config.model), config.pipeline.stages,
             config.pipeline.stages == 1 ? "" : "s", engine::threads_per_stage(config),
             engine::threads_per_stage(config) == 1 ? "" : "s");
  const auto pieces = engine::pieces(config, schedule);
  print_optimizers(out, config);
  fmt::print(out, "{}\n", model::stage_map(model::units(config.model), pieces, config.model.tied));
  out.flush();
}

data::Progress show_preparation(std::ostream& out, const observe::Console& console) {
  return [&out, &console, last = std::string(), percent = -1](std::string_view stage,
                                                              double fraction) mutable {
    const int now = static_cast<int>(100 * fraction);
    if (stage == last && (!console.terminal || now == percent)) return;
    if (console.terminal) {
      fmt::print(out, "\rpreparing the data: {} {:3d} %\033[K", stage, now);
    } else {
      fmt::print(out, "preparing the data: {}\n", stage);
    }
    out.flush();
    last = stage;
    percent = now;
  };
}

void print_sample(std::ostream& out, const config::Config& config, data::Tokenizer& tokenizer,
                  const std::map<std::string, at::Tensor>& weights) {
  std::vector<std::uint32_t> prompt{data::Tokenizer::end_of_document};
  tokenizer.encode(config.output.sample, prompt);
  const auto ids =
      sample(LanguageModel(config.model, weights), config.model.seq, prompt,
             data::Tokenizer::end_of_document, {.tokens = config.output.sample_tokens});
  fmt::print(out, "\nsample (prompt \"{}\"):\n{}\n", config.output.sample, tokenizer.decode(ids));
}

}  // namespace penstock::train
