# The Python module _core, the compiled schema and the prototxt folders, as the wheel holds them.

find_package(Python 3.11 COMPONENTS Interpreter Development.Module REQUIRED)
if(NOT pybind11_DIR)
  execute_process(COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
    OUTPUT_VARIABLE pybind11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 CONFIG REQUIRED)

# NO_EXTRAS: link-time optimisation doubles the build time and gains nothing here.
pybind11_add_module(_core MODULE NO_EXTRAS ${PCC_BINDINGS})
pcc_link_all(_core)
# No loops over data in the bindings, but many templates: half the build time otherwise.
target_compile_options(_core PRIVATE -O1)

# The wheel of oneDNN puts libdnnl.so.3 into PREFIX/lib. Seen from pycaffe_clr/ that is three folders
# up in PREFIX/lib/python3.X/site-packages (virtual environments, the user's folder, Debian's
# dist-packages) and lib beside lib64 where site-packages lies in lib64 (Fedora). For other places see
# pycaffe_clr/native.py.
set_target_properties(_core PROPERTIES
  INSTALL_RPATH "$ORIGIN/../../..;$ORIGIN/../../../../lib;$ORIGIN"
  INSTALL_RPATH_USE_LINK_PATH OFF)
install(TARGETS _core LIBRARY DESTINATION pycaffe_clr)

set(pcc_proto_dir ${CMAKE_CURRENT_SOURCE_DIR}/pycaffe_clr/proto)
set(pcc_desc ${CMAKE_CURRENT_BINARY_DIR}/caffe.desc)
add_custom_command(
  OUTPUT ${pcc_desc}
  COMMAND ${Python_EXECUTABLE} -m grpc_tools.protoc -I${pcc_proto_dir} --include_imports
          --descriptor_set_out=${pcc_desc} ${pcc_proto_dir}/caffe.proto
  DEPENDS ${pcc_proto_dir}/caffe.proto
  COMMENT "Compiling caffe.proto"
  VERBATIM)
add_custom_target(pcc_schema ALL DEPENDS ${pcc_desc})
install(FILES ${pcc_desc} DESTINATION pycaffe_clr/proto)

foreach(folder prototxt solvers)
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
    install(DIRECTORY ${folder}/ DESTINATION pycaffe_clr/nets/${folder}
      FILES_MATCHING PATTERN "*.prototxt" PATTERN "results" EXCLUDE)
  endif()
endforeach()
