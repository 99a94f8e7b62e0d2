//! Copies between private memory and memory that a device can reach.
//!
//! Owns the two loops. Invariant: device memory is only ever accessed by volatile loads
//! and stores, so a device that changes it meanwhile gives wrong bytes, never undefined
//! behaviour; private memory is accessed as any slice.
//!
//! Why not `ptr::copy_nonoverlapping`: it becomes the C library's memcpy, whose
//! `rep movsb` runs 20 to 35 times slower where destination and source differ by 16
//! modulo 4096, which is just how a page-aligned buffer and a large `Vec` lie.
//! Eight-byte volatile accesses never become one.
//!
// UNSAFETY: raw pointers into mapped device memory; each function states what its caller guarantees.
#![expect(unsafe_code, reason = "device memory is reached through raw pointers")]

/// Bytes of one access in the middle of a copy.
const WORD: usize = size_of::<u64>();

/// Copy `from` to device memory at `to`.
///
/// # Safety
/// `to .. to + from.len()` lies within one live mapping of shared memory.
pub(super) unsafe fn to_device(to: *mut u8, from: &[u8]) {
    let head = to.align_offset(WORD).min(from.len());
    let (head, rest) = from.split_at(head);
    let (words, tail) = rest.as_chunks::<WORD>();
    let mut at = to;
    for byte in head {
        // SAFETY: `at` has moved by the bytes written so far, fewer than from.len(), so it is within the mapping.
        unsafe { at.write_volatile(*byte) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, with eight bytes left to write; `at` is aligned, as `head` brought it to a multiple of eight.
        unsafe { at.cast::<u64>().write_volatile(u64::from_ne_bytes(*word)) };
        at = at.wrapping_add(WORD);
    }
    for byte in tail {
        // SAFETY: as for the head.
        unsafe { at.write_volatile(*byte) };
        at = at.wrapping_add(1);
    }
}

/// Copy device memory at `from` into `to`.
///
/// # Safety
/// `from .. from + to.len()` lies within one live mapping of shared memory.
pub(super) unsafe fn from_device(to: &mut [u8], from: *const u8) {
    let head = from.align_offset(WORD).min(to.len());
    let (head, rest) = to.split_at_mut(head);
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let mut at = from;
    for byte in head {
        // SAFETY: `at` has moved by the bytes read so far, fewer than to.len(), so it is within the mapping.
        *byte = unsafe { at.read_volatile() };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, with eight bytes left to read; `at` is aligned, as `head` brought it to a multiple of eight.
        *word = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
        at = at.wrapping_add(WORD);
    }
    for byte in tail {
        // SAFETY: as for the head.
        *byte = unsafe { at.read_volatile() };
        at = at.wrapping_add(1);
    }
}

/// Append `len` bytes of device memory at `from` to `to`.
///
/// # Safety
/// `from .. from + len` lies within one live mapping of shared memory.
pub(super) unsafe fn append_from_device(to: &mut Vec<u8>, from: *const u8, len: usize) {
    to.reserve_exact(len);
    let old = to.len();
    let mut done = 0;
    // Whole words straight into the vector's spare room: filling it with zeros first would cost a second pass.
    if from.align_offset(WORD) == 0 {
        let spare = to.spare_capacity_mut();
        let base = spare.as_mut_ptr().cast::<u8>();
        while len - done >= WORD {
            // SAFETY: `from + done` has eight readable bytes left in the mapping and is aligned.
            let word = unsafe { from.wrapping_add(done).cast::<u64>().read_volatile() };
            // SAFETY: the vector has at least `len` bytes of spare room, of which `done + WORD` are used at most; the
            // write may be unaligned and is done as such.
            unsafe { base.wrapping_add(done).cast::<u64>().write_unaligned(word) };
            done += WORD;
        }
    }
    // SAFETY: the first `done` bytes of the spare room were written above, and `done <= len <= capacity - old`.
    unsafe { to.set_len(old + done) };
    while done < len {
        // SAFETY: `from + done` is within the mapping.
        to.push(unsafe { from.wrapping_add(done).read_volatile() });
        done += 1;
    }
}

/// Zero `len` bytes of device memory at `at`.
///
/// # Safety
/// `at .. at + len` lies within one live mapping of shared memory; both are multiples of eight.
pub(super) unsafe fn zero_device(at: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        // SAFETY: eight bytes at `at + done` are left in the mapping, aligned as the caller guarantees.
        unsafe { at.wrapping_add(done).cast::<u64>().write_volatile(0) };
        done += WORD;
    }
}
