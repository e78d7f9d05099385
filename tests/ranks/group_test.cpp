#include "ranks/group.h"

#include <gmock/gmock.h>

#include <atomic>

#include "comm/closed.h"
#include "ranks/in_one_process.h"

namespace penstock::ranks {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing::Each;
using testing::HasSubstr;
using tests::message_of;
using tests::run_ranks;
using tests::run_ranks_well;

Frame numbered(int number, std::int64_t elements) {
  return {ByteWriter().put(number).take(), {at::full({elements}, number, at::kInt)}};
}

void expect_numbered(const Frame& frame, int number, std::int64_t elements) {
  EXPECT_EQ(ByteReader(frame.head).get<int>(), number);
  ASSERT_EQ(frame.tensors.size(), 1u);
  EXPECT_TRUE(at::equal(frame.tensors[0], at::full({elements}, number, at::kInt)));
}

TEST(Group, KeepsTheOrderOfEveryTagWhileManyAreInUse) {
  constexpr int tags = 6, frames = 60;
  run_ranks_well(3, [](Group& group) {
    const int next = (group.rank() + 1) % 3, before = (group.rank() + 2) % 3;
    std::vector<std::jthread> threads;
    for (int tag = 10; tag < 10 + tags; ++tag) {
      threads.emplace_back([&, tag] {
        for (int i = 0; i < frames; ++i) group.send(next, tag, numbered(100 * tag + i, tag * i));
      });
      threads.emplace_back([&, tag] {
        for (int i = 0; i < frames; ++i) {
          expect_numbered(group.receive(before, tag), 100 * tag + i, tag * i);
        }
      });
    }
  });
}

TEST(Group, CarriesLongHeadsAndAnyTensor) {
  run_ranks_well(2, [](Group& group) {
    const std::string text(100'000, 'x');
    const at::Tensor strided = at::arange(12, at::kBFloat16).reshape({3, 4}).t();
    if (group.rank() == 0) {
      group.send(1, 9,
                 {ByteWriter().put(text).take(),
                  {at::Tensor(), at::zeros({0, 2}), strided, at::ones({1 << 20})}});
      group.send(1, 9, {});
      return;
    }
    const Frame frame = group.receive(0, 9);
    EXPECT_EQ(ByteReader(frame.head).get_text(), text);
    ASSERT_EQ(frame.tensors.size(), 4u);
    EXPECT_FALSE(frame.tensors[0].defined());
    EXPECT_EQ(frame.tensors[1].sizes(), at::IntArrayRef({0, 2}));
    EXPECT_TRUE(at::equal(frame.tensors[2], strided));
    EXPECT_TRUE(at::equal(frame.tensors[3], at::ones({1 << 20})));
    EXPECT_TRUE(group.receive(0, 9).head.empty());
  });
}

TEST(Group, OfOneHostHasOneClock) {
  run_ranks_well(2, [](Group& group) { EXPECT_EQ(group.ahead_of_rank_0(), 0ns); });
}

TEST(Group, EndsEveryRankWithTheFirstFailure) {
  std::vector<std::string> known(4);
  const auto errors = run_ranks(4, [&](Group& group) {
    std::atomic<int> calls = 0;
    group.on_failure([&] { ++calls; });
    const auto wait = [&] {
      // Blocked in both directions: nobody ever answers.
      std::jthread receiver(
          [&] { EXPECT_THROW(group.receive((group.rank() + 1) % 4, 20), comm::Closed); });
      EXPECT_THROW(group.receive((group.rank() + 2) % 4, 21), comm::Closed);
    };
    if (group.rank() == 2) {
      group.fail({.rank = 2, .lost = false, .user_error = false, .message = "[test] the first"});
      group.fail({.rank = 2, .lost = false, .user_error = false, .message = "[test] the second"});
    } else {
      wait();
    }
    EXPECT_THROW(group.send((group.rank() + 1) % 4, 20, {}), comm::Closed);
    group.on_failure({});  // waits for the call, which may be later than the end of the waiting
    known[static_cast<std::size_t>(group.rank())] = group.failure()->message;
    EXPECT_EQ(calls, 1);
  });
  EXPECT_THAT(errors, Each(nullptr));
  EXPECT_THAT(known, Each("[test] the first"));
}

TEST(Group, TellsWhichRankWentWithoutAWord) {
  std::vector<std::string> known(3);
  run_ranks_well(3, [&](Group& group) {
    if (group.rank() == 1) return;  // closes its connections
    EXPECT_THROW(group.receive(1, 20), comm::Closed);
    ASSERT_TRUE(group.failure());
    EXPECT_EQ(group.failure()->rank, 1);
    EXPECT_TRUE(group.failure()->lost);
    known[static_cast<std::size_t>(group.rank())] = group.failure()->message;
  });
  EXPECT_EQ(known[0], "[engine] rank 1 ended: it closed its connections");
  EXPECT_EQ(known[2], known[0]);
}

TEST(Group, PrefersTheReasonThatTheLauncherGives) {
  StoreHost store;
  std::jthread other([&] { Group group(tests::setup_of_rank(store, 1, 2)); });
  auto setup = tests::setup_of_rank(store, 0, 2);
  setup.patience = 20s;
  Group group(setup);
  std::jthread launcher([&] {
    std::this_thread::sleep_for(100ms);
    store.fail({.rank = 1, .lost = true, .user_error = false, .message = "[engine] killed"});
  });
  EXPECT_THROW(group.receive(1, 20), comm::Closed);
  EXPECT_EQ(group.failure()->message, "[engine] killed");
}

TEST(Group, NoticesThatTheStoreIsGone) {
  auto store = std::make_unique<StoreHost>();
  std::atomic<int> joined = 0, noticed = 0;
  const auto rank = [&](int number) {
    Group group(tests::setup_of_rank(*store, number, 2));
    ++joined;
    EXPECT_THROW(group.receive(1 - number, 20), comm::Closed);
    EXPECT_EQ(group.failure()->message, "[engine] the launcher ended: its store is gone");
    for (++noticed; noticed < 2;) std::this_thread::sleep_for(1ms);
  };
  std::jthread first(rank, 0), second(rank, 1);
  while (joined < 2) std::this_thread::sleep_for(1ms);
  store.reset();
}

TEST(Group, NamesTheRanksThatDoNotCome) {
  const StoreHost store;
  auto setup = tests::setup_of_rank(store, 1, 4);
  setup.join_timeout = 1s;
  try {
    Group group(setup);
    FAIL();
  } catch (const RunFailure& error) {
    EXPECT_STREQ(error.what(), "[ranks] after 1 s these of 4 ranks have not come: 0, 2, 3");
  }
}

TEST(Group, RefusesASecondProcessOfTheSameRank) {
  const StoreHost store;
  auto setup = tests::setup_of_rank(store, 0, 2);
  setup.join_timeout = 1s;
  EXPECT_THROW(Group{setup}, RunFailure);
  try {
    Group group(setup);
    FAIL();
  } catch (const RunFailure& error) {
    EXPECT_STREQ(error.what(), "[ranks] two processes are rank 0; give each a RANK of its own");
  }
}

TEST(Group, JoiningEndsWithTheFailureOfAnotherRank) {
  StoreHost store;
  store.fail({.rank = 1, .lost = false, .user_error = false, .message = "[data] no text"});
  const auto begin = steady_clock::now();
  try {
    Group group(tests::setup_of_rank(store, 0, 2));
    FAIL();
  } catch (const RunFailure& error) {
    EXPECT_STREQ(error.what(), "[data] no text");
  }
  EXPECT_LT(steady_clock::now() - begin, 30s);
}

TEST(Group, TakesTheStoreOfRank0WhereTheLauncherHasNone) {
  const StoreHost free_port;  // taken, so that an error shows
  Environment environment{.rank = 0, .size = 2, .address = "127.0.0.1", .port = free_port.port()};
  try {
    Group group({.environment = environment, .join_timeout = 1s});
    FAIL();
  } catch (const RunFailure& error) {
    EXPECT_THAT(error.what(), HasSubstr("[ranks] rank 0 cannot open the store at 127.0.0.1:"));
  }
}

}  // namespace
}  // namespace penstock::ranks
