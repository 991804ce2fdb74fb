# Runs the program in ARGS[0] and keeps what it prints in OUT. Where it cannot run (cross-compiling, a device driver that this
# machine lacks), FALLBACK is kept instead.
execute_process(COMMAND ${ARGS} RESULT_VARIABLE failed OUTPUT_VARIABLE text ERROR_QUIET TIMEOUT 60)
if(failed)
    set(text "${FALLBACK}\n")
endif()
file(WRITE "${OUT}" "${text}")
