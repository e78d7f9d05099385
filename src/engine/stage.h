#pragma once
// What the executor needs of a stage. The real one trains a part of the model; tests use fakes.

#include "schedule/action.h"

namespace penstock::engine {

/// Payload: what travels between pieces (activations forwards, gradients backwards). The first
/// piece of the model is given an empty forward payload, the last an empty backward one; the action
/// says which of the stage's chunks is meant. All functions are called by the stage's own thread,
/// in the order of its actions. Any exception ends the run.
template <class Payload>
class Stage {
 public:
  virtual ~Stage() = default;

  /// Called once, on the stage's thread, before the first action.
  virtual void start() {}
  /// Called once behind the last action, where none has failed.
  virtual void finish() {}

  virtual Payload forward(const schedule::Action& action, Payload input) = 0;
  virtual Payload backward(const schedule::Action& action, Payload gradient) = 0;
  /// backward() in two parts: dX, and later dW.
  virtual Payload backward_input(const schedule::Action& action, Payload gradient) = 0;
  virtual void backward_weight(const schedule::Action& action) = 0;
  virtual void contribute(const schedule::Action& action) = 0;
  virtual void await_reduction(const schedule::Action& action) = 0;
  virtual void update(const schedule::Action& action) = 0;
  virtual Payload evaluate(const schedule::Action& action, Payload input) = 0;

  /// Copies the stage's state. What in_transit() brings before the next update belongs to it.
  virtual void capture(const schedule::Action& action) = 0;
  /// A message that was sent before its sender's capture and received after this stage's.
  /// `origin`: the action that made it.
  virtual void in_transit(const schedule::Action& receive, const schedule::Action& origin,
                          const Payload& payload) = 0;
};

}  // namespace penstock::engine
