//! What every job must hold, checked with two decoders that share no code with the model.

use std::io::Read;

use super::*;

const FAST: Params = Params {
    hash_bits: 13,
    ways: 1,
    lazy: true,
};

fn job(src: &[u8]) -> Job<'_> {
    Job {
        src,
        history: &[],
        params: FAST,
        format: Format::Raw,
        last: true,
        sync: false,
        tables: Tables::Fixed,
    }
}

/// Runs a job into more room than any job needs.
fn run(engine: &mut Engine, job: &Job<'_>) -> (Report, Vec<u8>) {
    let mut dst = vec![0xa5; job.src.len() * 2 + 2048];
    let report = engine.compress(job, &mut dst).unwrap();
    dst.truncate(report.out_len);
    (report, dst)
}

/// A stored block of the history, in front of a raw body, is how a decoder without dictionaries learns it.
fn behind_history(history: &[u8], body: &[u8], last: bool) -> Vec<u8> {
    let mut whole = vec![0];
    let len = u16::try_from(history.len()).unwrap();
    whole.extend(len.to_le_bytes());
    whole.extend((!len).to_le_bytes());
    whole.extend(history);
    whole.extend(body);
    if !last {
        whole.extend([1, 0, 0, 0xff, 0xff]);
    }
    whole
}

/// Decodes with zlib-rs and with libdeflate; both must agree on the bytes and take the whole of the output.
fn decode(job: &Job<'_>, out: &[u8]) -> Vec<u8> {
    let whole_len = job.history.len() + job.src.len();
    let mut by_libdeflate = vec![0; whole_len];
    let mut by_zlib = Vec::new();
    let mut libdeflate = libdeflater::Decompressor::new();
    match job.format {
        Format::Raw => {
            let whole = behind_history(job.history, out, job.last);
            let mut reader = flate2::bufread::DeflateDecoder::new(&whole[..]);
            reader.read_to_end(&mut by_zlib).unwrap();
            assert_eq!(
                reader.total_in(),
                whole.len() as u64,
                "bytes behind the end"
            );
            let got = libdeflate
                .deflate_decompress(&whole, &mut by_libdeflate)
                .unwrap();
            assert_eq!(got, whole_len);
        }
        Format::Zlib if job.last => {
            let mut reader = flate2::bufread::ZlibDecoder::new(out);
            reader.read_to_end(&mut by_zlib).unwrap();
            assert_eq!(reader.total_in(), out.len() as u64, "bytes behind the end");
            let got = libdeflate.zlib_decompress(out, &mut by_libdeflate).unwrap();
            assert_eq!(got, whole_len);
        }
        Format::Gzip if job.last => {
            let mut reader = flate2::bufread::GzDecoder::new(out);
            reader.read_to_end(&mut by_zlib).unwrap();
            assert!(reader.into_inner().is_empty(), "bytes behind the end");
            let got = libdeflate.gzip_decompress(out, &mut by_libdeflate).unwrap();
            assert_eq!(got, whole_len);
        }
        Format::Zlib => {
            assert_eq!(out[..2], [0x78, 0x01]);
            let raw = Job {
                format: Format::Raw,
                ..*job
            };
            return decode(&raw, &out[2..]);
        }
        Format::Gzip => {
            assert_eq!(out[..3], [0x1f, 0x8b, 8]);
            let raw = Job {
                format: Format::Raw,
                ..*job
            };
            return decode(&raw, &out[10..]);
        }
    }
    assert!(by_zlib == by_libdeflate, "the decoders disagree");
    by_zlib.split_off(job.history.len())
}

fn check(engine: &mut Engine, job: &Job<'_>) -> (Report, Vec<u8>) {
    let (report, out) = run(engine, job);
    assert!(decode(job, &out) == job.src, "decoded to other bytes");
    assert_eq!(report.crc32, libdeflater::crc32(job.src));
    assert_eq!(report.adler32, libdeflater::adler32(job.src));
    (report, out)
}

/// Reproducible bytes, incompressible (xorshift64*).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        })
        .collect()
}

/// Reproducible prose-like bytes with repeats at many distances.
fn words(len: usize, seed: u64) -> Vec<u8> {
    let dictionary = noise(4096, seed);
    let choices = noise(len, seed ^ 0xffff);
    let mut text = Vec::with_capacity(len + 32);
    for pair in choices.as_chunks::<2>().0 {
        let from = usize::from(pair[0]) * 15;
        let to = from + 1 + usize::from(pair[1] % 19);
        text.extend(dictionary[from..to].iter().map(|byte| byte % 26 + b'a'));
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len);
    text
}

#[test]
fn the_shortest_jobs_have_known_bytes() {
    let mut engine = Engine::new();
    assert_eq!(check(&mut engine, &job(b"")).1, [0x03, 0x00]);
    assert_eq!(check(&mut engine, &job(b"a")).1, [0x4b, 0x04, 0x00]);
    let sync = Job {
        last: false,
        sync: true,
        ..job(b"")
    };
    assert_eq!(check(&mut engine, &sync).1, [0x02, 0, 0, 0, 0xff, 0xff]);
}

#[test]
fn short_jobs_of_every_kind_decode() {
    let mut engine = Engine::new();
    for len in [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 255, 256, 257, 258, 259, 260, 263,
    ] {
        for src in [vec![0; len], noise(len, 7), words(len, 7)] {
            for format in [Format::Raw, Format::Zlib, Format::Gzip] {
                for last in [true, false] {
                    let job = Job {
                        format,
                        last,
                        sync: !last,
                        ..job(&src)
                    };
                    check(&mut engine, &job);
                }
            }
        }
    }
}
