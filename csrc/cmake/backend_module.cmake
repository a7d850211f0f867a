# pcc_backend_module(name DEPENDS target... RPATH folder... SOURCES file...): a backend in a library of
# its own, libpycaffe_clr_NAME.so beside the engine's, which ops/backends.cpp loads when that name is
# first asked for. DEPENDS: the libraries that it alone needs; RPATH: where they lie once installed.

function(pcc_backend_module name)
  cmake_parse_arguments(arg "" "" "DEPENDS;RPATH;SOURCES" ${ARGN})
  set(target pcc_${name})
  add_library(${target} MODULE ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE pcc ${arg_DEPENDS})
  target_link_options(${target} PRIVATE -Wl,--no-undefined)
  set_target_properties(${target} PROPERTIES
    PREFIX lib
    OUTPUT_NAME pycaffe_clr_${name}
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}
    UNITY_BUILD_BATCH_SIZE 7
    INSTALL_RPATH "$ORIGIN;${arg_RPATH}"
    INSTALL_RPATH_USE_LINK_PATH OFF)
  set_property(GLOBAL APPEND PROPERTY PCC_MODULES ${target})
endfunction()

# Links a program or the Python module with the engine, and has the backends built with it.
function(pcc_link target)
  target_link_libraries(${target} PRIVATE pcc)
  get_property(modules GLOBAL PROPERTY PCC_MODULES)
  if(modules)
    add_dependencies(${target} ${modules})
  endif()
endfunction()
