//! Bodies of deflate.

#![no_main]

use faam_codec::Format;
use faam_codec_fuzz::decompress::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check(Format::Deflate, bytes));
