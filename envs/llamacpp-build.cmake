# What of llama.cpp is compiled for the environment `llamacpp`: the library alone, for the processor it is compiled on.
# CMake reads this file twice: as its initial cache, and at the start of llama.cpp's own project, where the plain
# variable outweighs what llama-cpp-python forces into the cache.
set(LLAVA_BUILD OFF CACHE BOOL "no image models")
set(CMAKE_PROJECT_llama.cpp_INCLUDE "${CMAKE_CURRENT_LIST_FILE}" CACHE FILEPATH "read again by llama.cpp's project")
set(LLAMA_BUILD_COMMON OFF)
