# Finds CUDA's compiler. Sets PCC_CUDA and, when ON, enables the language, for compute capability 8.0
# (A100 and, with fewer registers to spare, its kin), 9.0 (H100, H200), and what comes later through PTX.

set(PCC_CUDA OFF)
if(NOT PYCAFFE_CLR_CUDA)
  message(STATUS "CUDA: left out (PYCAFFE_CLR_CUDA=OFF)")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 90-virtual)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  # Without a driver the backend must load all the same, and say so.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
  set(PCC_CUDA ON)
  message(STATUS "CUDA: found (${CMAKE_CUDA_COMPILER}, version ${CMAKE_CUDA_COMPILER_VERSION})")
elseif(PYCAFFE_CLR_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA: no nvcc, left out")
else()
  message(FATAL_ERROR "PYCAFFE_CLR_CUDA=${PYCAFFE_CLR_CUDA}, but there is no nvcc that works. "
                      "Install CUDA 12.4 or later, or name it: -DCMAKE_CUDA_COMPILER=.../bin/nvcc")
endif()
