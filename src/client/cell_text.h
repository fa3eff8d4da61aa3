// When a cell that is typed line by line is whole, as far as its brackets, quotes and indentation
// say. A guess: an empty line always ends it. Pure.
#pragma once

#include <string>
#include <string_view>

namespace brood {

// `code`: the lines so far, each with its end.
bool is_whole_cell(std::string_view code);

// Whether `code`, which was pasted, ends within a bracket or a string, or where a block is to
// begin. Empty lines and indentation end nothing.
bool wants_more(std::string_view code);

// The blanks with which the next line of `code` probably begins.
std::string next_indent(std::string_view code);

}  // namespace brood
