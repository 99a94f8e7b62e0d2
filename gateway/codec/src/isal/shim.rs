//! The C shim's functions, as safe calls on owned handles.
//!
// UNSAFETY: foreign functions of shim.c, and the two handle types that are `Send`. Every block below states what the shim
// asks of its caller. No structure of ISA-L's crosses: handles are opaque, lengths are plain integers.
#![expect(unsafe_code, reason = "ISA-L is a C library")]

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

#[rustfmt::skip]
unsafe extern "C" {
    fn faam_isal_available() -> c_int;
    fn faam_isal_compressor_new(level: c_int) -> *mut c_void;
    fn faam_isal_compressor_free(handle: *mut c_void);
    fn faam_isal_compress(
        handle: *mut c_void, input: *const u8, input_len: u32, output: *mut u8, output_len: u32, last: c_int,
        made: *mut u32,
    ) -> c_int;
    fn faam_isal_decompressor_new() -> *mut c_void;
    fn faam_isal_decompressor_free(handle: *mut c_void);
    fn faam_isal_decompress(
        handle: *mut c_void, input: *const u8, input_len: u32, output: *mut u8, output_len: u32,
        consumed: *mut u32, produced: *mut u32,
    ) -> c_int;
}

/// Whether the library is here.
pub(super) fn available() -> bool {
    // SAFETY: no arguments; any thread may call it, it loads the library once.
    unsafe { faam_isal_available() != 0 }
}

/// A compressor of the shim's.
pub(super) struct CompressorHandle(NonNull<c_void>);

// SAFETY: the handle is a heap allocation that only its owner reaches (`&mut self` below); the shim keeps no
// thread-local state, and its one global is written once, before any handle exists.
unsafe impl Send for CompressorHandle {}

impl CompressorHandle {
    /// A compressor of ISA-L's `level`, 1 or 2; `None` without the library or memory.
    pub(super) fn new(level: u8) -> Option<Self> {
        if !available() || !(1..=2).contains(&level) {
            return None;
        }
        // SAFETY: the library is available, as the shim asks; the level is one of those it knows.
        NonNull::new(unsafe { faam_isal_compressor_new(c_int::from(level)) }).map(Self)
    }

    /// A compressor of a level that ISA-L does not know: it refuses whatever it is given.
    #[cfg(test)]
    pub(super) fn refusing() -> Option<Self> {
        if !available() {
            return None;
        }
        // SAFETY: the library is available, as the shim asks; it takes any level and hands it on to ISA-L, which refuses
        // those it does not know before it looks at the buffer.
        NonNull::new(unsafe { faam_isal_compressor_new(99) }).map(Self)
    }

    /// Compresses `input` onto `out`, into room for `room` bytes that is made there first; how many bytes it appended. On
    /// an error nothing is appended.
    pub(super) fn compress(
        &mut self,
        input: &[u8],
        room: usize,
        last: bool,
        out: &mut Vec<u8>,
    ) -> Result<usize, CompressStop> {
        let too_long = |_| CompressStop::Refused("a block of 4 GiB or more");
        let input_len = u32::try_from(input.len()).map_err(too_long)?;
        out.reserve(room);
        let output = out.spare_capacity_mut();
        let output_len = u32::try_from(output.len().min(room)).unwrap_or(u32::MAX);
        let mut made = 0u32;
        // SAFETY: the handle is live and ours alone; both ranges are borrowed for the call, `output` mutably, with
        // lengths that are theirs or less; `made` is a local. The shim keeps none of the pointers, and only writes to
        // `output`, which need not be initialised.
        let outcome = unsafe {
            faam_isal_compress(
                self.0.as_ptr(),
                input.as_ptr(),
                input_len,
                output.as_mut_ptr().cast::<u8>(),
                output_len,
                c_int::from(last),
                &raw mut made,
            )
        };
        let len = match (outcome, usize::try_from(made)) {
            (COMP_OK, Ok(len)) if (1..=output.len()).contains(&len) => len,
            (STATELESS_OVERFLOW, _) => return Err(CompressStop::NoRoom),
            (code, _) => return Err(CompressStop::Refused(meaning(code))),
        };
        let end = out.len() + len;
        // SAFETY: the shim wrote the first `len` bytes of the spare capacity, and `len` is no more than that has.
        unsafe { out.set_len(end) };
        Ok(len)
    }
}

/// Why nothing was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompressStop {
    /// The result is larger than the room.
    NoRoom,
    /// ISA-L did not do it, for this reason: nothing that an input can bring about.
    Refused(&'static str),
}

/// ISA-L's return codes (igzip_lib.h) that are told apart.
const COMP_OK: c_int = 0;
const STATELESS_OVERFLOW: c_int = -1;

/// ISA-L's name of a code (igzip_lib.h), or what the shim means by it.
fn meaning(code: c_int) -> &'static str {
    match code {
        COMP_OK => "success, with a length that cannot be",
        1 => "success, with input left over",
        -3 => "ISAL_INVALID_STATE",
        -4 => "ISAL_INVALID_LEVEL",
        -5 => "ISAL_INVALID_LEVEL_BUF",
        -7 => "INVALID_FLUSH",
        -8 => "INVALID_PARAM",
        -9 => "ISAL_INVALID_OPERATION",
        _ => "an unknown return code",
    }
}

impl Drop for CompressorHandle {
    fn drop(&mut self) {
        // SAFETY: from `faam_isal_compressor_new`, and not freed before: only drop does, once.
        unsafe { faam_isal_compressor_free(self.0.as_ptr()) }
    }
}

/// A decompressor of the shim's.
pub(super) struct DecompressorHandle(NonNull<c_void>);

// SAFETY: as for `CompressorHandle`.
unsafe impl Send for DecompressorHandle {}

impl DecompressorHandle {
    /// A decompressor; `None` without the library or memory.
    pub(super) fn new() -> Option<Self> {
        if !available() {
            return None;
        }
        // SAFETY: the library is available, as the shim asks.
        NonNull::new(unsafe { faam_isal_decompressor_new() }).map(Self)
    }

    /// Decodes the stream that `input` begins with into `output`: bytes consumed and produced. `None` if that fails, or the
    /// input is too long for one call.
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Option<(usize, usize)> {
        let input_len = u32::try_from(input.len()).ok()?;
        let output_len = u32::try_from(output.len()).unwrap_or(u32::MAX);
        let (mut consumed, mut produced) = (0u32, 0u32);
        // SAFETY: the handle is live and ours alone; both ranges are borrowed for the call, `output` mutably, with
        // lengths that are theirs or less; the two results are locals. The shim keeps none of the pointers.
        let ended = unsafe {
            faam_isal_decompress(
                self.0.as_ptr(),
                input.as_ptr(),
                input_len,
                output.as_mut_ptr(),
                output_len,
                &raw mut consumed,
                &raw mut produced,
            )
        };
        if ended == 0 {
            return None;
        }
        Some((
            usize::try_from(consumed).ok()?,
            usize::try_from(produced).ok()?,
        ))
    }
}

impl Drop for DecompressorHandle {
    fn drop(&mut self) {
        // SAFETY: from `faam_isal_decompressor_new`, and not freed before: only drop does, once.
        unsafe { faam_isal_decompressor_free(self.0.as_ptr()) }
    }
}
