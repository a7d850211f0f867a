# The CUDA backend has no sources yet; the option is there so that scripts need not change.

if(PYCAFFE_CLR_CUDA STREQUAL "AUTO" OR NOT PYCAFFE_CLR_CUDA)
  message(STATUS "CUDA: no backend in this version")
else()
  message(FATAL_ERROR "PYCAFFE_CLR_CUDA=${PYCAFFE_CLR_CUDA}: this version has no CUDA backend")
endif()
