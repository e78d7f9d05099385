#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "support/file_size_limit.h"
#include "support/temporary_folder.h"

namespace penstock::checkpoint {
namespace {

using support::TemporaryFolder;
using testing::HasSubstr;

std::string eight_bytes(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i) & 0xffU));
  return bytes;
}

/// The bytes of a file with this header and body.
std::string file_of(const std::string& header, const std::string& body = {}) {
  return eight_bytes(header.size()) + header + body;
}

SafetensorsFile read_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  return read_safetensors(folder.write("w.safetensors", bytes));
}

/// What reading such a file complains of, between the file's name and the advice.
std::string problem_of(const std::string& bytes) {
  const TemporaryFolder folder;
  const auto path = folder.write("w.safetensors", bytes);
  try {
    read_safetensors(path);
  } catch (const UserError& error) {
    const std::string what = error.what();
    const std::string start = "[weights] '" + path.string() + "' is no readable safetensors file: ";
    const std::string end = "; give a complete one";
    EXPECT_TRUE(what.starts_with(start)) << what;
    EXPECT_TRUE(what.ends_with(end)) << what;
    return what.substr(start.size(), what.size() - start.size() - end.size());
  }
  return "nothing";
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

TEST(Safetensors, RoundTripOfEveryTypeAndShape) {
  const TemporaryFolder folder;
  SafetensorsFile file;
  file.metadata = {{"format", "pt"}, {"note", "quotes \" and\nlines \xc3\xa4"}};
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool}) {
    const std::string name = c10::toString(type);
    file.tensors[name + ".scalar"] = at::full({}, type == at::kByte ? 3 : -3, type);
    file.tensors[name + ".empty"] = at::empty({0}, type);
    file.tensors[name + ".empty_matrix"] = at::empty({3, 0, 2}, type);
    file.tensors[name + ".one"] = at::full({1}, 7, type);
    file.tensors[name + ".odd"] = at::arange(3 * 5 * 7).view({3, 5, 7}).to(type);
  }
  file.tensors["special"] =
      at::tensor({std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(),
                  -0.0F, std::numeric_limits<float>::denorm_min()});
  file.tensors["whole range"] = at::tensor(
      {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()});
  write_safetensors(folder / "w.safetensors", file);
  const SafetensorsFile back = read_safetensors(folder / "w.safetensors");
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) {
    EXPECT_TRUE(same_bits(back.tensors.at(name), tensor)) << name;
  }
}

TEST(Safetensors, TheBytesAreThoseOfTheFormat) {
  const TemporaryFolder folder;
  SafetensorsFile file;
  file.metadata["step"] = "7";
  file.tensors["b"] = at::tensor({1.0F, -2.0F});
  file.tensors["a"] = at::tensor({258}, at::kLong).view({1, 1});
  file.tensors["c"] = at::tensor({1.5F}).to(at::kBFloat16);
  write_safetensors(folder / "w.safetensors", file);
  std::string header = R"({"__metadata__":{"step":"7"},)"
                       R"("a":{"dtype":"I64","shape":[1,1],"data_offsets":[0,8]},)"
                       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},)"
                       R"("c":{"dtype":"BF16","shape":[1],"data_offsets":[16,18]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string body(
      "\x02\x01\0\0\0\0\0\0"
      "\0\0\x80\x3f"
      "\0\0\0\xc0"
      "\xc0\x3f",
      18);
  EXPECT_EQ(folder.read("w.safetensors"), file_of(header, body));
}

TEST(Safetensors, WritingGivesTheFilesFingerprint) {
  const TemporaryFolder folder;
  const auto path = folder / "w.safetensors";
  for (const auto& file :
       {SafetensorsFile{{{"t", at::arange(1000)}}, {{"step", "7"}}},
        SafetensorsFile{{{"t", at::ones({3}).expand({4, 3})}}, {}}, SafetensorsFile{}}) {
    const Fingerprint written = write_safetensors(path, file);
    EXPECT_EQ(written, fingerprint_of_file(path));
  }
}

TEST(Safetensors, MetadataCanBeReadAlone) {
  const TemporaryFolder folder;
  const auto path = folder / "w.safetensors";
  write_safetensors(path, {{{"t", at::ones({3})}}, {{"step", "7"}, {"format", "pt"}}});
  EXPECT_EQ(read_safetensors_metadata(path),
            (std::map<std::string, std::string>{{"format", "pt"}, {"step", "7"}}));
  write_safetensors(path, {{{"t", at::ones({3})}}, {}});
  EXPECT_TRUE(read_safetensors_metadata(path).empty());
  EXPECT_THROW(read_safetensors_metadata(folder / "none"), UserError);
  EXPECT_THROW(
      read_safetensors_metadata(folder.write("bad", file_of(R"({"__metadata__":{"step":7}})"))),
      UserError);
  EXPECT_THROW(read_safetensors_metadata(folder.write("bad", file_of("{"))), UserError);
}

TEST(Safetensors, TensorsStartAtAMultipleOfEightBytes) {
  const TemporaryFolder folder;
  for (std::size_t length = 1; length <= 9; ++length) {
    SafetensorsFile file;
    file.tensors[std::string(length, 'n')] = at::ones({1});
    write_safetensors(folder / "w.safetensors", file);
    const std::string bytes = folder.read("w.safetensors");
    EXPECT_EQ((bytes.size() - 4) % 8, 0U) << "name of " << length;
    EXPECT_EQ(static_cast<std::uint8_t>(bytes[0]), bytes.size() - 8 - 4);
    EXPECT_TRUE(
        read_safetensors(folder / "w.safetensors").tensors.contains(std::string(length, 'n')));
  }
}

TEST(Safetensors, ViewsAreWrittenInTheirOwnOrder) {
  const TemporaryFolder folder;
  const at::Tensor matrix = at::arange(6, at::kFloat).view({2, 3});
  write_safetensors(folder / "w.safetensors", {{{"t", matrix.t()}}, {}});
  const auto back = read_safetensors(folder / "w.safetensors").tensors.at("t");
  EXPECT_TRUE(at::equal(back, matrix.t()));
}

TEST(Safetensors, AnEmptyFileHoldsNoTensors) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w.safetensors", {});
  const SafetensorsFile back = read_safetensors(folder / "w.safetensors");
  EXPECT_TRUE(back.tensors.empty());
  EXPECT_TRUE(back.metadata.empty());
}

TEST(Safetensors, ReadsFilesOfOtherWriters) {
  // another order of keys and of tensors, blanks, no padding
  const std::string header =
      "{ \"y\" : {\"data_offsets\":[4,12], \"shape\":[1], \"dtype\":\"F64\"},\n"
      " \"x\":{\"shape\":[],\"dtype\":\"F32\",\"data_offsets\":[0,4]} }";
  const std::string body(
      "\0\0\x80\x3f"
      "\0\0\0\0\0\0\xf0\x3f",
      12);
  const SafetensorsFile file = read_bytes(file_of(header, body));
  EXPECT_EQ(file.tensors.at("x").dim(), 0);
  EXPECT_EQ(file.tensors.at("x").item<float>(), 1.0F);
  EXPECT_EQ(file.tensors.at("y").item<double>(), 1.0);
}

TEST(Safetensors, AMissingFileIsNamed) {
  try {
    read_safetensors("/nowhere/w.safetensors");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[weights] '/nowhere/w.safetensors' cannot be opened; give an existing file");
  }
}

TEST(Safetensors, AFolderIsNoFile) {
  const TemporaryFolder folder;
  try {
    read_safetensors(folder.path());
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(error.what(),
              "[weights] '" + folder.path().string() + "' cannot be opened; give an existing file");
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  SafetensorsFile file;
  file.tensors["a"] = at::ones({3});
  file.tensors["b"] = at::ones({2}, at::kLong);
  write_safetensors(folder / "w.safetensors", file);
  const std::string whole = folder.read("w.safetensors");
  const std::size_t body = whole.size() - 12 - 16;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::string problem = problem_of(whole.substr(0, length));
    if (length < 8) {
      EXPECT_EQ(problem, "it ends before its header") << length;
    } else if (length < body) {
      EXPECT_EQ(problem, "it ends within its header") << length;
    } else {
      EXPECT_THAT(problem, HasSubstr("do not hold the stated shape")) << length;
    }
  }
  EXPECT_EQ(problem_of(whole), "nothing");
}

TEST(Safetensors, AHeaderLongerThanAnyFileIsRefused) {
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{1} << 40, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    EXPECT_EQ(problem_of(eight_bytes(length) + "{}"), "it ends within its header") << length;
  }
}

/// A file with one tensor "w" described by `entry`, and 16 bytes of data.
std::string one_tensor(const std::string& entry) {
  return file_of(R"({"w":{)" + entry + "}}", std::string(16, '\0'));
}

TEST(Safetensors, GarbageInTheHeaderIsRefused) {
  EXPECT_THAT(problem_of(file_of("not json")), HasSubstr("parse error"));
  EXPECT_THAT(problem_of(file_of("")), HasSubstr("parse error"));
  EXPECT_THAT(problem_of(file_of(R"({"w":{)")), HasSubstr("parse error"));
  EXPECT_THAT(problem_of(file_of("{} {}")), HasSubstr("parse error"));
  EXPECT_THAT(problem_of(file_of("{\"\xff\":1}")), HasSubstr("UTF-8"));
  for (const char* header : {"7", "null", "[]", R"(["w"])"}) {
    EXPECT_EQ(problem_of(file_of(header)), "its header is no JSON object");
  }
  EXPECT_NE(problem_of(file_of(R"({"w":7})")), "nothing");
  EXPECT_NE(problem_of(file_of(R"({"__metadata__":{"step":7}})")), "nothing");
}

TEST(Safetensors, MissingOrMistypedFieldsAreNamed) {
  EXPECT_THAT(problem_of(one_tensor(R"("shape":[4],"data_offsets":[0,16])")), HasSubstr("dtype"));
  EXPECT_THAT(problem_of(one_tensor(R"("dtype":"F32","data_offsets":[0,16])")), HasSubstr("shape"));
  EXPECT_THAT(problem_of(one_tensor(R"("dtype":"F32","shape":[4])")), HasSubstr("data_offsets"));
  for (const char* shape : {"4", "[\"4\"]", "[4.0]", "[true,4]", "null"}) {
    EXPECT_EQ(problem_of(one_tensor(std::string(R"("dtype":"F32","data_offsets":[0,16],"shape":)") +
                                    shape)),
              "'shape' is no list of whole numbers")
        << shape;
  }
  EXPECT_EQ(problem_of(one_tensor(R"("dtype":"F32","shape":[4],"data_offsets":[0.5,16])")),
            "'data_offsets' is no list of whole numbers");
  for (const char* offsets : {"[0]", "[0,16,16]"}) {
    EXPECT_EQ(problem_of(one_tensor(std::string(R"("dtype":"F32","shape":[4],"data_offsets":)") +
                                    offsets)),
              "'data_offsets' are not two numbers");
  }
}

TEST(Safetensors, UnknownTypesAreNamed) {
  EXPECT_EQ(problem_of(one_tensor(R"("dtype":"F8_E5M2","shape":[16],"data_offsets":[0,16])")),
            "type 'F8_E5M2' is none of F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL");
}

TEST(Safetensors, RangesThatDoNotHoldTheShapeAreRefused) {
  const auto problem = [](const std::string& shape, const std::string& offsets) {
    return problem_of(
        one_tensor(R"("dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets));
  };
  EXPECT_EQ(problem("[4]", "[0,16]"), "nothing");
  EXPECT_EQ(problem("[5]", "[0,20]"), "bytes 0 to 20 of 16 do not hold the stated shape");
  EXPECT_EQ(problem("[3]", "[0,16]"), "bytes 0 to 16 of 16 do not hold the stated shape");
  EXPECT_EQ(problem("[4]", "[16,0]"), "bytes 16 to 0 of 16 do not hold the stated shape");
  EXPECT_EQ(problem("[4]", "[4,20]"), "bytes 4 to 20 of 16 do not hold the stated shape");
  EXPECT_EQ(problem("[0]", "[17,17]"), "bytes 17 to 17 of 16 do not hold the stated shape");
  EXPECT_THAT(problem("[4]", "[-16,0]"), HasSubstr("do not hold the stated shape"));
  EXPECT_THAT(problem("[4]", "[18446744073709551612,12]"),
              HasSubstr("do not hold the stated shape"));
}

TEST(Safetensors, GapsAndOverlapsAreRefused) {
  const auto entry = [](const char* name, int first, int last) {
    return '"' + std::string(name) + R"(":{"dtype":"F32","shape":[)" +
           std::to_string((last - first) / 4) + R"(],"data_offsets":[)" + std::to_string(first) +
           "," + std::to_string(last) + "]}";
  };
  const auto problem = [&](const std::string& entries) {
    return problem_of(file_of("{" + entries + "}", std::string(16, '\0')));
  };
  const std::string refused =
      "its tensors do not fill its 16 bytes of data without gaps and overlaps";
  EXPECT_EQ(problem(entry("b", 0, 8) + "," + entry("a", 8, 16) + "," + entry("c", 8, 8)),
            "nothing");
  EXPECT_EQ(problem(entry("a", 0, 8) + "," + entry("b", 4, 16)), refused);
  EXPECT_EQ(problem(entry("a", 0, 16) + "," + entry("b", 0, 16)), refused);
  EXPECT_EQ(problem(entry("a", 0, 4) + "," + entry("b", 8, 16)), refused);
  EXPECT_EQ(problem(entry("a", 4, 16)), refused);
  EXPECT_EQ(problem(entry("a", 0, 12)), refused);
}

TEST(Safetensors, ShapesOutOfRangeAreRefused) {
  for (const char* shape :
       {"[-1]", "[-2,-2]", "[9223372036854775807]", "[4294967296,4294967296]",
        "[4611686018427387904,4]", "[2147483648,2147483648,4]", "[0,9223372036854775807,4]"}) {
    EXPECT_EQ(problem_of(one_tensor(std::string(R"("dtype":"F32","shape":)") + shape +
                                    R"(,"data_offsets":[0,0])")),
              "a shape is out of range")
        << shape;
  }
}

TEST(Safetensors, AFailedWriteLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w.safetensors", {{{"w", at::ones({2})}}, {}});
  const std::string before = folder.read("w.safetensors");
  EXPECT_THROW(
      write_safetensors(folder / "w.safetensors", {{{"w", at::ones({2}, at::kComplexFloat)}}, {}}),
      std::logic_error);
  EXPECT_EQ(folder.read("w.safetensors"), before);
  {
    const support::FileSizeLimit full_disk(1000);
    EXPECT_THROW(write_safetensors(folder / "w.safetensors", {{{"w", at::ones({500})}}, {}}),
                 std::system_error);
  }
  EXPECT_EQ(folder.read("w.safetensors"), before);
}

}  // namespace
}  // namespace penstock::checkpoint
