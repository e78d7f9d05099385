#include "cli/picture_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/atomic_file.h"
#include "observe/progress.h"
#include "timeline/html.h"
#include "timeline/svg.h"
#include "timeline/text_picture.h"

namespace penstock::cli {

void add_picture_options(CLI::App& command, PictureOptions& options) {
  const std::string group = "Picture";
  command.add_option("--color", options.colour, "always, never, or auto: on a terminal.")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--width", options.width,
                  "Columns of a line; the terminal's width, and no limit elsewhere.")
      ->check(CLI::Range(20, 1'000'000))
      ->group(group);
  command.add_flag("--narrow", options.narrow, "One column per time slot, without numbers.")
      ->group(group);
  command.add_option("--svg", options.svg, "Write the picture to this SVG file.")->group(group);
  command
      .add_option("--html", options.html,
                  "Write it to this page for a browser, with zoom and details.")
      ->group(group);
}

bool use_colour(const PictureOptions& options) {
  if (options.colour != "auto") return options.colour == "always";
  return observe::detect_console(STDOUT_FILENO).colour;
}

std::size_t line_width(const PictureOptions& options) {
  if (options.width > 0) return options.width;
  const auto console = observe::detect_console(STDOUT_FILENO);
  return console.terminal ? console.width() : 0;
}

std::string to_text(const timeline::Picture& picture, const PictureOptions& options) {
  const auto drawn = timeline::text_picture(picture, {.width = line_width(options),
                                                      .per_slot = options.narrow ? 1U : 0U,
                                                      .colour = use_colour(options)});
  if (drawn.missing == 0) return drawn.text;
  const double all = drawn.shown + drawn.missing;
  return drawn.text + fmt::format(
                          "The first {:.0f} % of the time fit in this width; see the rest "
                          "with --from, --width{} or --html FILE.\n",
                          100 * drawn.shown / all, options.narrow ? "" : ", --narrow");
}

std::string write_files(const timeline::Picture& picture, const PictureOptions& options,
                        const std::string& title) {
  std::string lines;
  const auto write = [&](const std::string& file, const std::string& text) {
    write_file_atomically(file, text);
    lines += fmt::format("Wrote {}\n", file);
  };
  if (!options.svg.empty()) write(options.svg, timeline::svg(picture));
  if (!options.html.empty()) write(options.html, timeline::html(picture, title));
  return lines;
}

}  // namespace penstock::cli
