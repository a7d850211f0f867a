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
pcc_link(_core)
# No loops over data in the bindings, but many templates: half the build time otherwise.
target_compile_options(_core PRIVATE -O1)
# All files as one: they say little beside what pybind11's headers do.
set_target_properties(_core PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)

# The engine and its backends lie beside the module. $ORIGIN comes first in the build folder as well,
# so that the three can be copied elsewhere together.
set_target_properties(_core PROPERTIES
  BUILD_RPATH "$ORIGIN"
  INSTALL_RPATH "$ORIGIN"
  INSTALL_RPATH_USE_LINK_PATH OFF)
get_property(pcc_modules GLOBAL PROPERTY PCC_MODULES)
install(TARGETS _core pcc ${pcc_modules} LIBRARY DESTINATION pycaffe_clr)

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
