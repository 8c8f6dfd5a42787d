//! The heap, as the C library keeps it: what is freed stays with the process, for whoever asks next.
//!
//! Ten thousand connections leave 45 MB behind, of which a few are still in use. Small things that live on are spread
//! over all of it, so it does not shrink by itself. What is measured with other allocators stands in bench/MEMORY.md.
//!
//! Both calls, and the tunable, are glibc's own. Other C libraries give memory back by themselves, or have no way to be
//! asked.

/// A variable for the environment of a server, which reads it as it starts: so it is for who starts it to say. Else
/// every thread keeps up to seven freed blocks of each size for itself (glibc's manual, "Memory Allocation Tunables"),
/// and one of them is enough to hold a page: without, of what stays after a crowd half goes back as well.
pub(crate) const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");

/// The free end of a heap that stays with the process. glibc begins with 128 KB, and takes twice the largest block that
/// was ever freed: after a crowd 10 MB of each thread's heap; and [`give_back`] shortens only that of the first.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const END: libc::c_int = 512 << 10;

/// Has the ends of heaps go back as soon as they are free. Called once, before anything large was freed.
pub(crate) fn keep_short() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "see `give_back`")]
    // SAFETY: it takes no pointer, and may be called by any thread at any time (mallopt(3): MT-Safe).
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, END);
    }
}

/// Gives every free page back to the system. Everybody who allocates meanwhile may have to wait, for some ten
/// milliseconds after a crowd: it is for the time after one, and for a thread that nobody waits for.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "glibc has nothing else to ask it by, and no crate that is well kept wraps it"
    )]
    // SAFETY: it takes no pointer, and may be called by any thread at any time (malloc_trim(3): MT-Safe).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes room in this thread's part of the heap for so many bytes, which take no memory before they are used. Else it
/// grows a page at a time, and for each asks the kernel, which lets no other thread of the process have one meanwhile:
/// for ten thousand connections that are there at once, that was a quarter of the time it takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn make_room(bytes: usize) {
    // Larger ones are not taken from it (mallopt(3): M_MMAP_THRESHOLD).
    const PIECE: usize = 120 << 10;
    let pieces: Vec<Vec<u8>> = (0..bytes / PIECE).map(|_| Vec::with_capacity(PIECE)).collect();
    std::hint::black_box(&pieces);
}

/// Others have other ways to grow.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn make_room(_bytes: usize) {}
