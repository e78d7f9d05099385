#include "ranks/environment.h"

#include <gmock/gmock.h>

#include <map>

#include "base/error.h"

namespace penstock::ranks {
namespace {

Lookup lookup(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

std::string complaint(std::map<std::string, std::string> variables) {
  try {
    read_environment(lookup(std::move(variables)));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Environment, IsThatOfOneProcessWhereNothingIsSaid) {
  EXPECT_FALSE(read_environment(lookup({})));
  EXPECT_FALSE(read_environment(lookup({{"WORLD_SIZE", "1"}, {"RANK", "0"}})));
}

TEST(Environment, IsReadAsTorchrunSetsIt) {
  const auto environment = read_environment(lookup({{"WORLD_SIZE", "8"},
                                                    {"RANK", "5"},
                                                    {"LOCAL_RANK", "1"},
                                                    {"LOCAL_WORLD_SIZE", "4"},
                                                    {"MASTER_ADDR", "host"},
                                                    {"MASTER_PORT", "29500"},
                                                    {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                                    {"TORCHELASTIC_RESTART_COUNT", "2"}}));
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->rank, 5);
  EXPECT_EQ(environment->size, 8);
  EXPECT_EQ(environment->local_rank, 1);
  EXPECT_EQ(environment->local_size, 4);
  EXPECT_EQ(environment->address, "host");
  EXPECT_EQ(environment->port, 29500);
  EXPECT_TRUE(environment->launcher_has_store);
  EXPECT_EQ(environment->attempt, "2");
}

TEST(Environment, TakesAllRanksForRanksOfThisHostWhereNothingElseIsSaid) {
  const auto environment =
      read_environment(lookup({{"WORLD_SIZE", "4"}, {"RANK", "3"}, {"MASTER_PORT", "1"}}));
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->local_rank, 3);
  EXPECT_EQ(environment->local_size, 4);
  EXPECT_EQ(environment->address, "127.0.0.1");
  EXPECT_FALSE(environment->launcher_has_store);
}

TEST(Environment, NamesTheVariableThatIsMissingOrWrong) {
  EXPECT_EQ(complaint({{"WORLD_SIZE", "two"}}),
            "[ranks] WORLD_SIZE = 'two' in the environment, but must be a number from 1 to 4096; "
            "correct it");
  EXPECT_EQ(complaint({{"WORLD_SIZE", "2"}}),
            "[ranks] WORLD_SIZE is set, but RANK is not; start ranks with penstock launch or set "
            "it");
  EXPECT_EQ(complaint({{"WORLD_SIZE", "2"}, {"RANK", "2"}}),
            "[ranks] RANK = '2' in the environment, but must be a number from 0 to 1; correct it");
  EXPECT_EQ(complaint({{"WORLD_SIZE", "2"}, {"RANK", "1"}}),
            "[ranks] WORLD_SIZE is set, but MASTER_PORT is not; start ranks with penstock launch "
            "or set it");
  EXPECT_EQ(complaint({{"WORLD_SIZE", "2"}, {"RANK", "1"}, {"MASTER_PORT", "80 "}}),
            "[ranks] MASTER_PORT = '80 ' in the environment, but must be a number from 1 to 65535; "
            "correct it");
}

}  // namespace
}  // namespace penstock::ranks
