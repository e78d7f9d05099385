#pragma once
// "Did you mean ...?": the nearest name by edit distance.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

/// Smallest number of single-character insertions, deletions, replacements and swaps of two
/// neighbours that turn `a` into `b`, no part being edited twice (optimal string alignment;
/// Damerau 1964). Compares bytes.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or an empty string where none is near enough to be a likely
/// misspelling: more than a third of the longer word's characters would have to change, though
/// one edit is always allowed in a word of two or more. Of several equally near ones, the first.
std::string suggest(std::string_view word, std::span<const std::string> candidates);

}  // namespace penstock
