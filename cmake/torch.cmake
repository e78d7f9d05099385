# LibTorch as imported targets. find_package(Torch) is not used: it asks for the whole CUDA toolkit.
# PENSTOCK_TORCH_ROOT is the folder that holds include/ and lib/ (of a wheel: site-packages/torch).

set(PENSTOCK_TORCH_ROOT "" CACHE PATH "LibTorch 2.11: the folder with include/ and lib/")
if(NOT EXISTS "${PENSTOCK_TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "PENSTOCK_TORCH_ROOT = '${PENSTOCK_TORCH_ROOT}' holds no lib/libtorch_cpu.so; "
                      "run ./penstock setup, or give the folder of a LibTorch 2.11")
endif()

function(penstock_import_torch name)
  add_library(torch::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(torch::${name} PROPERTIES
    IMPORTED_LOCATION "${PENSTOCK_TORCH_ROOT}/lib/lib${name}.so")
endfunction()
# Headers only: LibTorch has Gloo's code, but not the headers that its own need.
find_path(PENSTOCK_GLOO_INCLUDE gloo/context.h)
if(NOT PENSTOCK_GLOO_INCLUDE)
  message(FATAL_ERROR "gloo/context.h is missing; install libgloo-dev, or run ./penstock setup")
endif()

penstock_import_torch(c10)
penstock_import_torch(torch_cpu)

# The OpenMP runtime LibTorch was built with, so that the process has one pool of threads.
find_library(PENSTOCK_GOMP NAMES libgomp.so.1 gomp PATHS "${PENSTOCK_TORCH_ROOT}/lib" NO_DEFAULT_PATH)

add_library(penstock_torch INTERFACE)
# Searched last: the folder also holds other versions of libraries that we take from the system.
target_compile_options(penstock_torch INTERFACE
  "SHELL:-idirafter ${PENSTOCK_TORCH_ROOT}/include"
  "SHELL:-idirafter ${PENSTOCK_TORCH_ROOT}/include/torch/csrc/api/include")
target_compile_definitions(penstock_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_compile_options(penstock_torch INTERFACE -fopenmp)
target_link_libraries(penstock_torch INTERFACE torch::torch_cpu torch::c10)
if(PENSTOCK_GOMP)
  target_link_libraries(penstock_torch INTERFACE "${PENSTOCK_GOMP}")
else()
  target_link_options(penstock_torch INTERFACE -fopenmp)
endif()
