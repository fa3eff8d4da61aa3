// Heads of frames that are made and read without Python, where a cell has broken what cells.py
// needs. Pure functions.
#pragma once

#include <string>
#include <string_view>

namespace brood {

// The digits of the first member of that name, of an object that the server wrote; empty without.
std::string number_by_hand(std::string_view head, std::string_view name);

// The head of an EVENT of type "error". Of `text` at most 2,000 bytes are taken; what is not ASCII
// becomes "?".
std::string error_by_hand(std::string_view text);

// The head of an ANSWER to the ASK `head`: nothing is known.
std::string no_answer_by_hand(std::string_view head);

}  // namespace brood
