# Our barrier is a source of ggml's own CPU backends, in the place of GNU OpenMP's (waits/barrier.cpp). Its tree stays as it is.
# Other implementations of OpenMP, other linkers and other systems wait as they do.
target_sources(ggml-base PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/waits/waits.cpp")
if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    foreach(variant IN LISTS llamacli_cpu_variants)
        get_target_property(definitions ${variant} COMPILE_DEFINITIONS)
        if("GGML_USE_OPENMP" IN_LIST definitions)
            target_sources(${variant} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/waits/barrier.cpp")
            target_link_options(${variant} PRIVATE "LINKER:--wrap=GOMP_parallel" "LINKER:--wrap=GOMP_barrier")
        endif()
    endforeach()
endif()
