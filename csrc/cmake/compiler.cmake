# Flags of every source file, gathered in the interface target pcc_flags.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# For the code of the engine, a shared library whose functions nobody replaces (csrc/exports.map).
set(PCC_SHARED_CODE -fvisibility=default -fno-semantic-interposition)

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Threads REQUIRED)

add_library(pcc_flags INTERFACE)
target_include_directories(pcc_flags INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/csrc)
target_link_libraries(pcc_flags INTERFACE OpenMP::OpenMP_CXX Threads::Threads)
target_compile_definitions(pcc_flags INTERFACE PCC_VERSION="${PROJECT_VERSION}")
# Without contraction a*b+c is rounded twice on every processor: schedules, update rules and the
# reference backend give the same bits everywhere. The vector kernels allow it (isa.cmake).
set(pcc_options
  -fno-math-errno -Wall -Wextra -Wno-psabi
  # GCC 12 sees overlaps in std::string that are not there (its bug 105651).
  -Wno-restrict
  # Designated initialisers name what differs from the default; the rest is meant to be left out.
  -Wno-missing-field-initializers)
if(PYCAFFE_CLR_WERROR)
  list(APPEND pcc_options -Werror)
endif()
list(JOIN pcc_options "," pcc_cuda_options)
target_compile_options(pcc_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${pcc_options};-Wpedantic>"
  "$<$<AND:$<COMPILE_LANGUAGE:CXX>,$<NOT:$<BOOL:$<TARGET_PROPERTY:PCC_CONTRACTS>>>>:-ffp-contract=off>"
  # What nvcc hands to the host's compiler is not pedantic C++. Our own constexpr functions are called
  # in kernels.
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${pcc_cuda_options},-ffp-contract=off;--expt-relaxed-constexpr>")
if(PYCAFFE_CLR_WERROR)
  target_compile_options(pcc_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings>")
endif()
if(PYCAFFE_CLR_SANITIZE)
  # -O1 keeps the stack traces and the build time readable.
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g")
  target_compile_options(pcc_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(pcc_flags INTERFACE -fsanitize=address,undefined)
endif()
