#include "ranks/failure.h"

#include <fmt/format.h>

#include "base/error.h"

namespace penstock::ranks {

void throw_failure(const Failure& failure) {
  const auto& text = failure.message;
  const auto end = text.find("] ");
  if (failure.user_error && text.starts_with("[") && end != std::string::npos) {
    throw UserError(text.substr(1, end - 1), text.substr(end + 2));
  }
  throw RunFailure(text);
}

Failure failure_of(int rank, const std::exception_ptr& error) {
  Failure failure{.rank = rank, .lost = false, .user_error = false, .message = {}};
  try {
    std::rethrow_exception(error);
  } catch (const UserError& cause) {
    failure.user_error = true;
    failure.message = first_line(cause);
  } catch (const std::exception& cause) {
    failure.message = first_line(cause);
  } catch (...) {
    failure.message = fmt::format("[engine] rank {} failed for a reason without a name", rank);
  }
  return failure;
}

Bytes encode(const Failure& failure) {
  ByteWriter writer;
  writer.put(failure.rank).put(failure.lost).put(failure.user_error).put(failure.message);
  return writer.take();
}

Failure decode_failure(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  Failure failure;
  failure.rank = reader.get<int>();
  failure.lost = reader.get<bool>();
  failure.user_error = reader.get<bool>();
  failure.message = reader.get_text();
  return failure;
}

std::string store_prefix(const std::string& attempt) { return "penstock/" + attempt; }

}  // namespace penstock::ranks
