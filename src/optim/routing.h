#pragma once
// Which optimizer updates which parameter. No tensors here.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/catalogue.h"
#include "config/config.h"

namespace penstock::optim {

struct ParameterInfo {
  std::string name;
  std::vector<std::int64_t> shape;
  bool is_block_matrix = false;  ///< Of a layer's attention or MLP.
  bool is_gain = false;          ///< Of a norm.

  std::int64_t count() const;
};

enum class Rule { optimizer, fallback, group };

/// How one parameter is updated.
struct Route {
  Rule rule = Rule::optimizer;
  std::size_t group = 0;    ///< In Config::groups, of Rule::group.
  double lr_factor = 1;     ///< Of the optimizer's learning rate, beside the schedule.
  double weight_decay = 0;  ///< 0 of gains.

  bool operator==(const Route&) const = default;
};

/// The routes of all parameters of a model, in their order. The first group whose patterns match a
/// name gets the parameter. Of the others, block matrices go to [optimizer], and so does everything
/// else unless that optimizer takes matrices only: then it goes to the fallback. Gains are not
/// decayed, whoever updates them.
/// `parameters`: those of the whole model, tied ones once. `optimizers`: all there are.
/// Errors: UserError for a pattern that matches no parameter, a group that gets none because groups
/// before it claim all that it matches, and an optimizer for matrices that is to get another shape.
std::vector<Route> route(const config::Config& config, const std::vector<ParameterInfo>& parameters,
                         const std::vector<config::ComponentSpec>& optimizers);

/// The optimizer of a route.
const config::ComponentConfig& optimizer_of(const config::Config& config, const Route& route);

/// Whether `pattern` describes the whole `name`: '*' stands for any text, dots included, '?' for
/// any one character, everything else for itself.
bool matches(std::string_view pattern, std::string_view name);

/// "optimizer.group.0", "optimizer" or "optimizer.fallback".
std::string section_of(const Route& route);

/// "1024 x 4096"
std::string shape_text(const std::vector<std::int64_t>& shape);

/// What one rule does, over all its parameters.
struct RoutedRule {
  std::string name;  ///< As section_of() says.
  std::string optimizer;
  double lr = 0;  ///< Peak, lr_factor included.
  double lr_factor = 1;
  double weight_decay = 0;  ///< Of all but gains.
  std::int64_t parameters = 0;
  std::int64_t gains = 0;  ///< Of the parameters.
  std::int64_t elements = 0;
  config::TextList patterns;  ///< Of a group.
};

/// The rules in the order in which they claim: groups, then [optimizer], then the fallback.
std::vector<RoutedRule> routed_rules(const config::Config& config,
                                     const std::vector<ParameterInfo>& parameters,
                                     const std::vector<Route>& routes);

/// As a text of aligned columns with a heading.
std::string routing_table(const std::vector<RoutedRule>& rules);

}  // namespace penstock::optim
