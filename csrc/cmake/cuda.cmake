# Finds CUDA's compiler. Sets PCC_CUDA and, when ON, enables the language, for compute capability 8.0
# (A100 and, with fewer registers to spare, its kin), 9.0 (H100, H200), and what comes later through PTX.

set(PCC_CUDA OFF)
if(NOT PYCAFFE_CLR_CUDA)
  message(STATUS "CUDA: left out (PYCAFFE_CLR_CUDA=OFF)")
  return()
endif()
if(PYCAFFE_CLR_SANITIZE AND PYCAFFE_CLR_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA: left out (the sanitizers see nothing of a GPU)")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
set(pcc_nvcc_version 0)
if(CMAKE_CUDA_COMPILER)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE pcc_nvcc_says)
  if(pcc_nvcc_says MATCHES "release ([0-9.]+)")
    set(pcc_nvcc_version ${CMAKE_MATCH_1})
  endif()
endif()
if(pcc_nvcc_version VERSION_GREATER_EQUAL 12.4)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    # One front end for all of them: nothing here asks for more than 8.0 has, and what comes out for
    # 9.0 is the same, in two thirds of the time.
    set(CMAKE_CUDA_ARCHITECTURES OFF)
    set(pcc_cuda_targets " \"--generate-code=arch=compute_80,code=[sm_80,sm_90,compute_80]\"")
  endif()
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  # Without a driver the backend must load all the same, and say so.
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  # CMake before 3.25.2 does not know that nvcc can do C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  string(APPEND CMAKE_CUDA_FLAGS "${pcc_cuda_targets}")
  # Of the host's part, which launches kernels; they themselves are optimised in full.
  set(CMAKE_CUDA_FLAGS_RELEASE "-O1 -DNDEBUG")
  set(PCC_CUDA ON)
  message(STATUS "CUDA: found (${CMAKE_CUDA_COMPILER}, version ${CMAKE_CUDA_COMPILER_VERSION})")
elseif(PYCAFFE_CLR_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA: no nvcc of 12.4 or later, left out")
else()
  message(FATAL_ERROR "PYCAFFE_CLR_CUDA=${PYCAFFE_CLR_CUDA}, but there is no nvcc of 12.4 or later. "
                      "Install one, or name it: -DCMAKE_CUDA_COMPILER=.../bin/nvcc")
endif()
