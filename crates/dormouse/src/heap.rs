//! Gives the memory back that reading a configuration took.

/// Returns to the system what is free on the heap. Reading a file and building a registry takes
/// several times what is kept of it, in small pieces, and the allocator keeps those for itself.
///
/// It blocks for as long as it takes to walk the heap: milliseconds for thousands of workloads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator offers this to C alone")]
pub(crate) fn give_back() {
    // SAFETY: `malloc_trim` takes any number, may be called at any time from any thread, and touches
    // nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators give back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_back() {}
