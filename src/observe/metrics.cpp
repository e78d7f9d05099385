#include "observe/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>

namespace penstock::observe {
namespace {

[[noreturn]] void fail(int error, std::string_view what, const std::filesystem::path& file) {
  throw std::system_error(error, std::generic_category(),
                          fmt::format("cannot {} '{}'", what, file.string()));
}

}  // namespace

std::string to_json_line(const UpdateRecord& record) {
  nlohmann::ordered_json line;
  line["step"] = record.step;
  line["loss"] = record.loss;
  line["gradient_norm"] = record.gradient_norm;
  line["clip_factor"] = record.clip_factor;
  line["lr"] = record.lr;
  line["tokens"] = record.tokens;
  line["seconds"] = record.seconds;
  line["busy"] = record.busy;
  return line.dump();
}

std::string to_json_line(const EvalRecord& record) {
  nlohmann::ordered_json line;
  line["step"] = record.step;
  line["val_loss"] = record.val_loss;
  line["sequences"] = record.sequences;
  line["seconds"] = record.seconds;
  line["duration"] = record.duration;
  return line.dump();
}

MetricsWriter::MetricsWriter(std::filesystem::path file) : file_(std::move(file)) {
  if (file_.has_parent_path()) std::filesystem::create_directories(file_.parent_path());
  descriptor_ = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(errno, "open", file_);
}

MetricsWriter::~MetricsWriter() { ::close(descriptor_); }

void MetricsWriter::write_line(std::string line) {
  line += '\n';
  const off_t start = ::lseek(descriptor_, 0, SEEK_END);
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(line.size())) return;
  // A regular file takes less than it was given only when the disk or a limit is reached.
  const int error = written < 0 ? errno : ENOSPC;
  if (written > 0 && ::ftruncate(descriptor_, start) != 0) fail(errno, "shorten", file_);
  fail(error, "write", file_);
}

}  // namespace penstock::observe
