// How jemalloc, which the program is linked with where it is there, manages memory.
//
// A step allocates and frees the same tensors over and over, some of them large. The C library's
// allocator gives large ones back to the system each time, and getting their pages again costs a
// tenth of the step. jemalloc keeps what was freed for a while and asks for huge pages.

// jemalloc's own name for its settings, https://jemalloc.net/jemalloc.3.html. oversize_threshold:
// large blocks are reused like all others; decay: unused memory goes back to the system after 10 s.
extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =
    "thp:always,oversize_threshold:0,dirty_decay_ms:10000,muzzy_decay_ms:10000";
}
