# Our kernels are sources of ggml's own targets, and ggml-cpu.c is compiled with the hook's functions in the place of three of
# its own (kernels/hook.cpp). Its tree stays as it is.
set(llamacli_kernels "${CMAKE_CURRENT_SOURCE_DIR}/kernels")
set(llamacli_ggml "${LLAMACLI_LLAMA_CPP_DIR}/ggml/src")
target_sources(ggml-base PRIVATE "${llamacli_kernels}/choice.cpp")
include(CheckCXXCompilerFlag)
set(llamacli_avx2_flags -mavx2 -mfma -mf16c)
set(llamacli_avx512_flags ${llamacli_avx2_flags} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
string(REPLACE ";" " " llamacli_x86_flags "${llamacli_avx512_flags}")
set(llamacli_kernels_x86 OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND "${CMAKE_OSX_ARCHITECTURES}" MATCHES "^(x86_64)?$" AND NOT MSVC)
    check_cxx_compiler_flag("${llamacli_x86_flags}" LLAMACLI_X86_FLAGS_WORK)
    set(llamacli_kernels_x86 ${LLAMACLI_X86_FLAGS_WORK})
endif()
if(llamacli_kernels_x86)
    set_property(SOURCE "${llamacli_kernels}/choice.cpp" DIRECTORY "${llamacli_ggml}"
        PROPERTY COMPILE_DEFINITIONS LLAMACLI_KERNELS_X86)
    foreach(variant IN LISTS llamacli_cpu_variants)
        target_sources(${variant} PRIVATE
            "${llamacli_kernels}/hook.cpp" "${llamacli_kernels}/steps.cpp"
            "${llamacli_kernels}/products.cpp" "${llamacli_kernels}/experts.cpp" "${llamacli_kernels}/attend.cpp"
            "${llamacli_kernels}/kernels_avx2.cpp" "${llamacli_kernels}/kernels_avx512.cpp")
    endforeach()
    # one order of operations for each result: a multiplication and an addition stay two roundings where they are written so
    set_property(SOURCE "${llamacli_kernels}/kernels_avx2.cpp" DIRECTORY "${llamacli_ggml}"
        PROPERTY COMPILE_OPTIONS ${llamacli_avx2_flags} -ffp-contract=off)
    set_property(SOURCE "${llamacli_kernels}/kernels_avx512.cpp" DIRECTORY "${llamacli_ggml}"
        PROPERTY COMPILE_OPTIONS ${llamacli_avx512_flags} -ffp-contract=off)
    set_property(SOURCE "${llamacli_ggml}/ggml-cpu/ggml-cpu.c" DIRECTORY "${llamacli_ggml}" APPEND PROPERTY COMPILE_DEFINITIONS
        ggml_cpu_extra_compute_forward=llamacli_compute_forward ggml_cpu_extra_work_size=llamacli_work_size
        ggml_graph_compute=llamacli_compute_nodes)
endif()
