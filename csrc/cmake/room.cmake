# pcc_room(name SOURCES file... [OPTIONS option...]): the files of one folder, compiled with these
# options of their own into the library pcc.
#
# With CMAKE_UNITY_BUILD, as the package is built, several are compiled as one, in half the time:
# names in their unnamed namespaces must differ within a room. Without, each is compiled by itself.

function(pcc_room name)
  cmake_parse_arguments(arg "" "" "SOURCES;OPTIONS" ${ARGN})
  set(room pcc_${name})
  add_library(${room} OBJECT ${arg_SOURCES})
  target_link_libraries(${room} PRIVATE pcc_flags)
  # Everything of ours is seen from outside, and nothing that came with headers of others. Inside,
  # calls stay as direct as in a program of one piece.
  target_compile_options(${room} PRIVATE ${PCC_SHARED_CODE} ${arg_OPTIONS})
  set_target_properties(${room} PROPERTIES UNITY_BUILD_BATCH_SIZE 5)
  target_sources(pcc PRIVATE $<TARGET_OBJECTS:${room}>)
endfunction()
