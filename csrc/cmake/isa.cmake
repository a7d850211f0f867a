# pcc_isa_sources(target file...): compiles each kernel file once per instruction set of x86-64, each
# time with PCC_ISA defined as the name of the set (baseline, avx2, avx512), and adds the objects to
# the target. A kernel file wraps its functions in `namespace PCC_ISA`; which one runs is decided at
# run time. On other processors there is only baseline.
#
# A kernel file must not use inline functions or templates of shared headers (std::vector,
# std::max, ...): the linker keeps one copy of each for the whole module, and a copy compiled for
# AVX-512 would crash an older processor. Objects are linked baseline first for the same reason.

set(PCC_ISAS baseline)
set(PCC_ISA_FLAGS_baseline "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND PCC_ISAS avx2 avx512)
  set(PCC_ISA_FLAGS_avx2 -march=x86-64-v3 -mprefer-vector-width=256)
  set(PCC_ISA_FLAGS_avx512 -march=x86-64-v4 -mprefer-vector-width=512)
endif()

function(pcc_isa_sources target)
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ OUTPUT_VARIABLE files)
  foreach(isa IN LISTS PCC_ISAS)
    set(objects ${target}_isa_${isa})
    if(NOT TARGET ${objects})
      add_library(${objects} OBJECT)
      target_link_libraries(${objects} PRIVATE pcc_flags)
      target_compile_definitions(${objects} PRIVATE PCC_ISA=${isa} PCC_ISA_${isa}=1)
      # A property, as flags of pcc_flags come after the target's own and would win.
      set_target_properties(${objects} PROPERTIES PCC_CONTRACTS ON UNITY_BUILD OFF)
      target_compile_options(${objects} PRIVATE
        ${PCC_SHARED_CODE} ${PCC_ISA_FLAGS_${isa}} -ffp-contract=fast -fno-trapping-math
        # Multiplies and adds in one instruction at -O1, too, as the sanitizers build has it.
        -fexpensive-optimizations)
      target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
    endif()
    target_sources(${objects} PRIVATE ${files})
  endforeach()
endfunction()
