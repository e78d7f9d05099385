#pragma once
// The message of the UserError that a call throws.

#include <string>

#include "base/error.h"

namespace penstock::plan {

template <class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace penstock::plan
