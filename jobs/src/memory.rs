//! How memory is given back.

/// Has the C library give back what large arrays took as soon as they are gone, and keep what
/// threads hand to each other in one place. By itself it raises the size from which it does so to
/// that of the largest array it has seen, and has a heap per thread; then what a writing thread
/// frees of what a reading thread made stays with the process, more the longer it runs.
pub fn tune() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "a call into the C library, before there are other threads")]
    // SAFETY: mallopt takes two numbers, and nothing else runs yet. What it does not take, it leaves.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        // At 256 KiB or 1 MiB memory grows again; docs/benchmark.md has what it costs.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
    }
}
