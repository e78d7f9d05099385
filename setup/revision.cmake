# Which source a program was built from. In CMakeLists.txt, after project():
#
#   include(setup/revision.cmake)
#   penstock_add_revision(<target that compiles src/base/build_info.cpp>)
#
# Every build then asks git for the revision and rewrites <build>/include/generated/revision.h when
# the answer has changed, so a commit, a checkout or a first edit recompiles that one file, without
# configuring anew. Without git, or outside a repository, the revision is "unknown".

if(NOT CMAKE_SCRIPT_MODE_FILE)
  set(PENSTOCK_REVISION_SCRIPT "${CMAKE_CURRENT_LIST_FILE}")

  function(penstock_add_revision target)
    find_package(Git QUIET)
    set(include_dir "${CMAKE_BINARY_DIR}/include")
    set(header "${include_dir}/generated/revision.h")
    add_custom_target(penstock-revision
      COMMAND "${CMAKE_COMMAND}" "-DHEADER=${header}" "-DSOURCE=${PROJECT_SOURCE_DIR}"
              "-DVERSION=${PROJECT_VERSION}" "-DGIT=${GIT_EXECUTABLE}"
              -P "${PENSTOCK_REVISION_SCRIPT}"
      BYPRODUCTS "${header}"
      COMMENT "Recording the revision"
      VERBATIM)
    add_dependencies(${target} penstock-revision)
    target_include_directories(${target} PRIVATE "${include_dir}")
  endfunction()
  return()
endif()

set(revision "unknown")
set(dirty "false")
if(GIT AND EXISTS "${SOURCE}/.git")
  # --exclude keeps tags out of the answer: always the hash, with -dirty for edited tracked files.
  execute_process(
    COMMAND "${GIT}" -C "${SOURCE}" describe --always --abbrev=12 --exclude=* --dirty
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    string(REGEX REPLACE "-dirty$" "" revision "${described}")
    if(described MATCHES "-dirty$")
      set(dirty "true")
    endif()
  endif()
endif()

set(text "#pragma once
// Written by setup/revision.cmake at every build.

namespace penstock::generated {

inline constexpr char version[] = \"${VERSION}\";
inline constexpr char revision[] = \"${revision}\";
inline constexpr bool dirty = ${dirty};

}  // namespace penstock::generated
")
set(before "")
if(EXISTS "${HEADER}")
  file(READ "${HEADER}" before)
endif()
if(NOT text STREQUAL before)
  file(WRITE "${HEADER}" "${text}")
endif()
