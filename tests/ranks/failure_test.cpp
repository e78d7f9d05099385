#include "ranks/failure.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace penstock::ranks {
namespace {

template <class Error>
Failure failure_from(const Error& error) {
  return failure_of(3, std::make_exception_ptr(error));
}

std::string thrown_text(const Failure& failure) {
  try {
    throw_failure(failure);
  } catch (const std::exception& error) {
    return error.what();
  }
}

TEST(Failure, TravelsAsItIs) {
  const Failure failure = decode_failure(
      encode(Failure{.rank = 2, .lost = true, .user_error = true, .message = "[a] b"}));
  EXPECT_EQ(failure.rank, 2);
  EXPECT_TRUE(failure.lost);
  EXPECT_TRUE(failure.user_error);
  EXPECT_EQ(failure.message, "[a] b");
}

TEST(Failure, IsThrownElsewhereWithTheSameText) {
  const auto failure = failure_from(std::runtime_error("[engine] rank 3, stage 3: full\nframe #0"));
  EXPECT_EQ(failure.rank, 3);
  EXPECT_FALSE(failure.lost);
  EXPECT_EQ(thrown_text(failure), "[engine] rank 3, stage 3: full");
  EXPECT_THROW(throw_failure(failure), RunFailure);
}

TEST(Failure, OfTheUserStaysOne) {
  const auto failure = failure_from(user_error("data", "there is no text; give some"));
  EXPECT_EQ(thrown_text(failure), "[data] there is no text; give some");
  EXPECT_THROW(throw_failure(failure), UserError);
}

}  // namespace
}  // namespace penstock::ranks
