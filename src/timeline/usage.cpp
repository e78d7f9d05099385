#include "timeline/usage.h"

#include <algorithm>

namespace penstock::timeline {
namespace {

/// The part of `span` between two moments. The transfer is the last part of a receive.
Span cut(Span span, double from, double to) {
  const double made = span.end - span.transfer;
  span.begin = std::max(span.begin, from);
  span.end = std::min(span.end, to);
  if (span.transfer > 0) span.transfer = std::max(span.end - std::max(made, span.begin), 0.0);
  return span;
}

Usage usage_of(const std::vector<Span>& spans, double from, double to) {
  Usage usage;
  double covered_until = from;
  for (const Span& whole : spans) {
    const Span span = cut(whole, from, to);
    if (span.end < span.begin) continue;  // outside
    usage.idle += std::max(span.begin - covered_until, 0.0);
    covered_until = std::max(covered_until, span.end);
    usage.add(span);
  }
  usage.idle += std::max(to - covered_until, 0.0);
  return usage;
}

}  // namespace

void Usage::add(const Span& span) {
  using enum schedule::ActionKind;
  switch (span.action.kind) {
    case forward:
    case backward:
    case backward_input:
    case backward_weight:
    case contribute:
    case update:
    case capture:
      work += span.seconds();
      break;
    case receive_evaluation:
    case evaluate:
    case send_evaluation:
      evaluation += span.seconds();
      break;
    case receive_activation:
      transfer += span.transfer;
      wait_activation += span.seconds() - span.transfer;
      break;
    case receive_gradient:
      transfer += span.transfer;
      wait_gradient += span.seconds() - span.transfer;
      break;
    case await_reduction:
      wait_update += span.seconds();
      break;
    case send_activation:
    case send_gradient:
      blocked += span.seconds();
      break;
  }
}

Usage& Usage::operator+=(const Usage& other) {
  work += other.work;
  evaluation += other.evaluation;
  wait_activation += other.wait_activation;
  wait_gradient += other.wait_gradient;
  wait_update += other.wait_update;
  transfer += other.transfer;
  blocked += other.blocked;
  idle += other.idle;
  return *this;
}

std::vector<Usage> usage(const Timeline& timeline, double from, double to) {
  std::vector<Usage> result;
  for (const auto& spans : timeline.stages) result.push_back(usage_of(spans, from, to));
  return result;
}

}  // namespace penstock::timeline
