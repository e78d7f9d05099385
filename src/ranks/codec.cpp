#include "ranks/codec.h"

#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace penstock::ranks {
namespace {

using Time = std::chrono::steady_clock::time_point;

class Encoder {
 public:
  explicit Encoder(Ahead ahead) : ahead_(ahead) {}

  template <class... Values>
  void all(const Values&... values) {
    (add(values), ...);
  }
  Frame take() { return {writer_.take(), std::move(tensors_)}; }

 private:
  template <Number T>
  void add(const T& value) {
    writer_.put(value);
  }
  void add(const std::string& text) { writer_.put(text); }
  void add(const Time& time) { add(Ahead(time.time_since_epoch() - ahead_).count()); }
  void add(const at::Tensor& tensor) { tensors_.push_back(tensor); }
  template <class T>
  void add(const std::vector<T>& list) {
    add(list.size());
    for (const auto& item : list) add(item);
  }
  template <class Key, class T>
  void add(const std::map<Key, T>& map) {
    add(map.size());
    for (const auto& [key, value] : map) all(key, value);
  }
  template <class T>
  requires std::is_class_v<T>
  void add(const T& value);

  Ahead ahead_;
  ByteWriter writer_;
  std::vector<at::Tensor> tensors_;
};

class Decoder {
 public:
  Decoder(const Frame& frame, Ahead ahead)
      : ahead_(ahead),
        reader_(frame.head),
        next_(frame.tensors.begin()),
        end_(frame.tensors.end()) {}

  template <class... Values>
  void all(Values&... values) {
    (get(values), ...);
  }

 private:
  template <Number T>
  void get(T& value) {
    value = reader_.get<T>();
  }
  void get(std::string& text) { text = reader_.get_text(); }
  void get(Time& time) { time = Time(Ahead(reader_.get<Ahead::rep>()) + ahead_); }
  void get(at::Tensor& tensor) {
    if (next_ == end_) throw std::runtime_error("[ranks] a message of another rank lacks a tensor");
    tensor = *next_++;
  }
  template <class T>
  void get(std::vector<T>& list) {
    for (auto left = reader_.get<std::size_t>(); left > 0; --left) get(list.emplace_back());
  }
  template <class Key, class T>
  void get(std::map<Key, T>& map) {
    for (auto left = reader_.get<std::size_t>(); left > 0; --left) {
      std::pair<Key, T> entry;
      all(entry.first, entry.second);
      map.insert(std::move(entry));
    }
  }
  template <class T>
  requires std::is_class_v<T>
  void get(T& value);

  Ahead ahead_;
  ByteReader reader_;
  std::vector<at::Tensor>::const_iterator next_;
  std::vector<at::Tensor>::const_iterator end_;
};

// The fields of every struct that travels. A binding must name them all, so a new field that is
// forgotten here does not compile. `code` is an Encoder or a Decoder.

template <class T, class U>
concept Is = std::is_same_v<std::remove_const_t<T>, U>;

void fields(auto& code, Is<engine::UpdateEvent> auto& event) {
  auto& [batch, loss, gradient_norm, clip_factor, lr, skipped, at] = event;
  code.all(batch, loss, gradient_norm, clip_factor, lr, skipped, at);
}

void fields(auto& code, Is<timeline::Usage> auto& usage) {
  auto& [work, evaluation, activation, gradient, update, transfer, blocked, idle] = usage;
  code.all(work, evaluation, activation, gradient, update, transfer, blocked, idle);
}

void fields(auto& code, Is<engine::GroupChange> auto& change) {
  auto& [update, update_change, step, weight] = change;
  code.all(update, update_change, step, weight);
}

void fields(auto& code, Is<engine::StageEvent> auto& event) {
  auto& [stage, batch, gradient_norm, least, most, usage, waited, groups] = event;
  code.all(stage, batch, gradient_norm, least, most, usage, waited, groups);
}

void fields(auto& code, Is<engine::EvaluationEvent> auto& event) {
  auto& [version, loss, tokens, begin, at] = event;
  code.all(version, loss, tokens, begin, at);
}

void fields(auto& code, Is<OperationWork> auto& work) {
  auto& [flops, bytes] = work;
  code.all(flops, bytes);
}

void fields(auto& code, Is<OperationTotal> auto& total) {
  auto& [part, name, calls, seconds, work] = total;
  code.all(part, name, calls, seconds, work);
}

void fields(auto& code, Is<engine::StageProfile> auto& profile) {
  auto& [stage, updates, seconds, operations, usage, waited] = profile;
  code.all(stage, updates, seconds, operations, usage, waited);
}

void fields(auto& code, Is<engine::ProfileEvent> auto& event) {
  auto& [profile] = event;
  code.all(profile);
}

void fields(auto& code, Is<schedule::Action> auto& action) {
  auto& [kind, batch, micro_batch, version, chunk] = action;
  code.all(kind, batch, micro_batch, version, chunk);
}

void fields(auto& code, Is<timeline::Span> auto& span) {
  auto& [action, begin, end, transfer] = span;
  code.all(action, begin, end, transfer);
}

void fields(auto& code, Is<engine::SpansEvent> auto& event) {
  auto& [stage, spans] = event;
  code.all(stage, spans);
}

void fields(auto& code, Is<engine::CaptureEvent> auto& event) {
  auto& [state] = event;
  code.all(state);
}

void fields(auto& code, Is<engine::StageState> auto& state) {
  auto& [stage, cut, tensors] = state;
  code.all(stage, cut, tensors);
}

void fields(auto& code, Is<engine::Message<at::Tensor>> auto& message) {
  auto& [origin, sender_version, sent, payload] = message;
  code.all(origin, sender_version, sent, payload);
}

void fields(auto& code, Is<comm::BatchGate::Decision> auto& decision) {
  auto& [decided, end, stop_cut] = decision;
  code.all(decided, end, stop_cut);
}

template <class T>
requires std::is_class_v<T>
void Encoder::add(const T& value) { fields(*this, value); }

template <class T>
requires std::is_class_v<T>
void Decoder::get(T& value) { fields(*this, value); }

template <class T>
Frame encode_one(const T& value, Ahead ahead) {
  Encoder encoder(ahead);
  encoder.all(value);
  return encoder.take();
}

template <class T>
T decode_one(const Frame& frame, Ahead ahead) {
  T value;
  Decoder(frame, ahead).all(value);
  return value;
}

template <std::size_t... Index>
engine::Event decode_alternative(std::size_t index, Decoder& decoder,
                                 std::index_sequence<Index...> /*all*/) {
  engine::Event event;
  const auto try_one = [&]<std::size_t I>() {
    if (I != index) return false;
    decoder.all(event.emplace<I>());
    return true;
  };
  if (!(try_one.template operator()<Index>() || ...)) {
    throw std::runtime_error("[ranks] another rank sent an event of a kind that is not known here");
  }
  return event;
}

}  // namespace

Frame encode(const engine::Message<at::Tensor>& message, Ahead ahead) {
  return encode_one(message, ahead);
}

engine::Message<at::Tensor> decode_message(const Frame& frame, Ahead ahead) {
  return decode_one<engine::Message<at::Tensor>>(frame, ahead);
}

Frame encode(const engine::Event& event, Ahead ahead) {
  Encoder encoder(ahead);
  encoder.all(event.index());
  std::visit([&](const auto& alternative) { encoder.all(alternative); }, event);
  return encoder.take();
}

engine::Event decode_event(const Frame& frame, Ahead ahead) {
  Decoder decoder(frame, ahead);
  std::size_t index = 0;
  decoder.all(index);
  return decode_alternative(index, decoder,
                            std::make_index_sequence<std::variant_size_v<engine::Event>>());
}

Frame encode(const comm::BatchGate::Decision& decision) { return encode_one(decision, Ahead(0)); }

comm::BatchGate::Decision decode_decision(const Frame& frame) {
  return decode_one<comm::BatchGate::Decision>(frame, Ahead(0));
}

}  // namespace penstock::ranks
