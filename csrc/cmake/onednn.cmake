# Finds oneDNN 3: first the wheels onednn-devel-cpu-gomp and onednn-cpu-gomp of the Python that runs
# the build, then a CMake package (-Ddnnl_ROOT=DIR). Sets PCC_ONEDNN and, when ON, the target pcc_dnnl.

set(PCC_ONEDNN OFF)
if(NOT PYCAFFE_CLR_ONEDNN)
  message(STATUS "oneDNN: left out (PYCAFFE_CLR_ONEDNN=OFF)")
  return()
endif()
if(PYCAFFE_CLR_ONEDNN STREQUAL "AUTO" AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  message(STATUS "oneDNN: left out (processor ${CMAKE_SYSTEM_PROCESSOR}; AUTO takes it on x86-64)")
  return()
endif()

execute_process(
  COMMAND ${Python_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/find_onednn.py
  OUTPUT_VARIABLE pcc_dnnl_paths ERROR_VARIABLE pcc_dnnl_why RESULT_VARIABLE pcc_dnnl_status
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_STRIP_TRAILING_WHITESPACE)
if(pcc_dnnl_status EQUAL 0)
  string(REPLACE "\n" ";" pcc_dnnl_paths "${pcc_dnnl_paths}")
  list(GET pcc_dnnl_paths 0 pcc_dnnl_include)
  list(GET pcc_dnnl_paths 1 pcc_dnnl_library)
  # At places of our own: pip installs the wheels into a new folder for each isolated build, and a
  # build folder that is kept would otherwise compile every file again. Headers are written only
  # where they differ from those that are there.
  set(pcc_dnnl_links ${CMAKE_CURRENT_BINARY_DIR}/dnnl)
  file(GLOB_RECURSE pcc_dnnl_headers RELATIVE ${pcc_dnnl_include} ${pcc_dnnl_include}/*dnnl*.h*)
  foreach(header IN LISTS pcc_dnnl_headers)
    configure_file(${pcc_dnnl_include}/${header} ${pcc_dnnl_links}/include/${header} COPYONLY)
  endforeach()
  file(CREATE_LINK ${pcc_dnnl_library} ${pcc_dnnl_links}/libdnnl.so.3 SYMBOLIC)
  add_library(pcc_dnnl SHARED IMPORTED GLOBAL)
  set_target_properties(pcc_dnnl PROPERTIES
    IMPORTED_LOCATION ${pcc_dnnl_links}/libdnnl.so.3
    IMPORTED_SONAME libdnnl.so.3
    INTERFACE_INCLUDE_DIRECTORIES ${pcc_dnnl_links}/include)
else()
  find_package(dnnl 3 CONFIG QUIET)
  if(dnnl_FOUND)
    set(pcc_dnnl_library "${dnnl_DIR}, version ${dnnl_VERSION}")
    add_library(pcc_dnnl INTERFACE)
    target_link_libraries(pcc_dnnl INTERFACE DNNL::dnnl)
  endif()
endif()

if(TARGET pcc_dnnl)
  set(PCC_ONEDNN ON)
  message(STATUS "oneDNN: found (${pcc_dnnl_library})")
elseif(PYCAFFE_CLR_ONEDNN STREQUAL "AUTO")
  message(STATUS "oneDNN: not found, left out (${pcc_dnnl_why})")
else()
  message(FATAL_ERROR "PYCAFFE_CLR_ONEDNN=ON, but oneDNN was not found (${pcc_dnnl_why}). Try: "
                      "pip install 'onednn-devel-cpu-gomp==2023.2.*', or -Ddnnl_ROOT=DIR")
endif()
