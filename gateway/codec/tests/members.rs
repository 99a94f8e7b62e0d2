//! Members made of blocks: whatever the data, the level and the cuts, the joined member is exactly one,
//! decodes to the data with zlib-rs, libdeflate and the tools of the system, and stays within its bound.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use faam_codec::{
    BlockChecksum, CpuEngines, Format, Level, Position, Verifier, header_bytes, output_bytes_max,
    trailer_bytes, write_header, write_trailer,
};
use proptest::prelude::*;

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[7]).collect()
    }
}

/// A stretch of data of one kind.
#[derive(Clone, Debug)]
enum Stretch {
    Run(u8, usize),
    Random(u64, usize),
    Words(u64, usize),
    Repeat(Vec<u8>, usize),
}

impl Stretch {
    fn append(&self, data: &mut Vec<u8>) {
        match self {
            Self::Run(byte, len) => data.extend(std::iter::repeat_n(*byte, *len)),
            Self::Random(seed, len) => data.extend(Random(seed | 1).bytes(*len)),
            Self::Words(seed, len) => {
                let words = [
                    "ring ",
                    "queue ",
                    "doorbell ",
                    "\n",
                    "{\"block\":",
                    "},",
                    "0.25",
                    "phase ",
                ];
                let mut random = Random(seed | 1);
                let end = data.len() + len;
                while data.len() < end {
                    let word = usize::try_from(random.next() >> 61).expect("three bits");
                    data.extend_from_slice(words[word].as_bytes());
                }
                data.truncate(end);
            }
            Self::Repeat(unit, len) => data.extend(unit.iter().cycle().take(*len)),
        }
    }
}

fn stretch() -> impl Strategy<Value = Stretch> {
    let len = prop_oneof![0usize..40, 0usize..3_000, 60_000usize..70_000];
    (
        any::<u64>(),
        any::<u8>(),
        prop::collection::vec(any::<u8>(), 1..300),
        len,
        0..4,
    )
        .prop_map(|(seed, byte, unit, len, kind)| match kind {
            0 => Stretch::Run(byte, len),
            1 => Stretch::Random(seed, len),
            2 => Stretch::Words(seed, len),
            _ => Stretch::Repeat(unit, len),
        })
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(stretch(), 0..5).prop_map(|stretches| {
        let mut data = Vec::new();
        stretches
            .iter()
            .for_each(|stretch| stretch.append(&mut data));
        data
    })
}

/// Cuts `data` at `cuts` and makes one member of the blocks, each verified. Checksums are
/// combined from the back, as if the blocks had ended in another order than they began.
fn member(data: &[u8], cuts: &[usize], level: Level, format: Format) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
    cuts.sort_unstable();
    let starts = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(data.len()));
    let blocks: Vec<&[u8]> = starts
        .zip(ends)
        .map(|(start, end)| &data[start..end])
        .collect();

    // Every other member without ISA-L, so that levels 1 and 2 are seen from both engines.
    let mut engines = if data.len().is_multiple_of(2) {
        CpuEngines::new()
    } else {
        CpuEngines::without_isal()
    };
    let mut verifier = Verifier::new();
    let mut out = Vec::new();
    write_header(format, level, &mut out);
    for (index, block) in blocks.iter().enumerate() {
        let position = if index + 1 == blocks.len() {
            Position::Last
        } else {
            Position::Middle
        };
        let start = out.len();
        let draft = engines
            .draft_block(block, level, position, &mut out)
            .expect("the engine serves every input");
        verifier
            .finish(draft, block, &mut out)
            .expect("a right block is accepted");
        let made = &out[start..];
        assert!(
            made.len() <= output_bytes_max(block.len()),
            "{} from {}",
            made.len(),
            block.len()
        );
        verifier
            .check_block(made, position, block)
            .expect("a right block is accepted");
    }
    let checksum = blocks
        .iter()
        .rev()
        .map(|block| BlockChecksum::of(format, block))
        .reduce(|later, earlier| earlier.combine(later))
        .expect("there is always a last block");
    assert_eq!(checksum, BlockChecksum::of(format, data));
    write_trailer(&checksum, &mut out);
    out
}

/// Both foreign decoders read the member as one, to its last byte.
fn assert_one_member(member: &[u8], data: &[u8], format: Format) {
    let mut with_libdeflate = vec![0; data.len()];
    let mut decompressor = libdeflater::Decompressor::new();
    let len = match format {
        Format::Gzip => decompressor.gzip_decompress(member, &mut with_libdeflate),
        Format::Zlib => decompressor.zlib_decompress(member, &mut with_libdeflate),
        Format::Deflate => decompressor.deflate_decompress(member, &mut with_libdeflate),
        Format::Zstd | Format::Lz4 => unreachable!("streams.rs has these"),
    };
    assert_eq!(len, Ok(data.len()));
    assert!(with_libdeflate == data, "libdeflate decodes other bytes");

    // bufread decoders stop at the end of the first member: what they leave is not part of it.
    let mut with_zlib_rs = Vec::new();
    let mut rest = member;
    let read = match format {
        Format::Gzip => flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut with_zlib_rs),
        Format::Zlib => flate2::bufread::ZlibDecoder::new(&mut rest).read_to_end(&mut with_zlib_rs),
        Format::Deflate => {
            flate2::bufread::DeflateDecoder::new(&mut rest).read_to_end(&mut with_zlib_rs)
        }
        Format::Zstd | Format::Lz4 => unreachable!("streams.rs has these"),
    };
    assert_eq!(read.expect("zlib-rs decodes the member"), data.len());
    assert!(with_zlib_rs == data, "zlib-rs decodes other bytes");
    assert!(
        rest.is_empty(),
        "{} bytes after the first member",
        rest.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_data_at_any_level_cut_anywhere_is_one_member(
        data in data(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
        level in 1u8..=12,
        format in prop::sample::select(&Format::DEFLATE_FAMILY[..]),
    ) {
        let level = Level::new(level).expect("in range");
        assert_one_member(&member(&data, &cuts, level, format), &data, format);
    }

    #[test]
    fn checksums_combine_as_if_computed_at_once(
        data in prop::collection::vec(any::<u8>(), 0..5_000),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
        format in prop::sample::select(&Format::DEFLATE_FAMILY[..]),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (data.len() + 1)).collect();
        cuts.sort_unstable();
        let mut combined = BlockChecksum::empty(format);
        let mut start = 0;
        for end in cuts.into_iter().chain([data.len()]) {
            combined = combined.combine(BlockChecksum::of(format, &data[start..end]));
            start = end;
        }
        prop_assert_eq!(combined, BlockChecksum::of(format, &data));
    }
}

/// Lengths at which something changes: nothing, less than a match, the longest stored block, the quantum.
const LENGTHS: [usize; 14] = [
    0, 1, 2, 3, 11, 258, 65_534, 65_535, 65_536, 131_070, 131_071, 131_072, 131_073, 300_001,
];

#[test]
fn boundary_lengths_of_easy_and_impossible_data() {
    for len in LENGTHS {
        let mut text = Vec::new();
        Stretch::Words(9, len).append(&mut text);
        for data in [vec![0; len], Random(0x5eed).bytes(len), text] {
            for format in Format::DEFLATE_FAMILY {
                for level in [1, 3, 6] {
                    let level = Level::new(level).expect("in range");
                    assert_one_member(&member(&data, &[], level, format), &data, format);
                    assert_one_member(
                        &member(&data, &[len / 2, len / 3], level, format),
                        &data,
                        format,
                    );
                }
            }
        }
    }
}

#[test]
fn incompressible_data_grows_by_its_stored_headers_only() {
    let data = Random(20).bytes(20_000_000);
    let cuts: Vec<usize> = (1..data.len().div_ceil(128 << 10))
        .map(|block| block * (128 << 10))
        .collect();
    let packed = member(&data, &cuts, Level::DEFAULT, Format::Gzip);
    assert!(
        packed.len() < data.len() + data.len() / 1000 + 64,
        "{} bytes",
        packed.len()
    );
    assert_one_member(&packed, &data, Format::Gzip);
}

#[test]
fn fifty_megabytes_of_zeros_cut_into_blocks() {
    let data = vec![0; 50_000_000];
    let cuts: Vec<usize> = (1..data.len().div_ceil(1 << 20))
        .map(|block| block << 20)
        .collect();
    let packed = member(&data, &cuts, Level::DEFAULT, Format::Gzip);
    assert!(packed.len() < data.len() / 500, "{} bytes", packed.len());
    assert_one_member(&packed, &data, Format::Gzip);
}

#[test]
fn an_empty_body_is_a_member_in_every_format() {
    for format in Format::DEFLATE_FAMILY {
        let packed = member(&[], &[], Level::DEFAULT, format);
        // An empty final block takes at least ten bits.
        assert!(packed.len() >= header_bytes(format) + 2 + trailer_bytes(format));
        assert_one_member(&packed, &[], format);
        assert_one_member(&member(&[], &[0, 0], Level::DEFAULT, format), &[], format);
    }
}

/// Files that round trips are made of: the committed sample, or the whole corpus where it was fetched
/// (the first MiB of each file, in an unoptimised test).
fn sample_files() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for directory in ["benches/sample", ".cache/corpus"] {
        let Ok(entries) = std::fs::read_dir(root.join(directory)) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("a readable directory").path();
            if path.is_file() {
                let mut data = Vec::new();
                File::open(&path)
                    .expect("a file")
                    .take(1 << 20)
                    .read_to_end(&mut data)
                    .expect("readable");
                files.push((path.display().to_string(), data));
            }
        }
    }
    assert!(
        !files.is_empty(),
        "benches/sample is committed and must be there"
    );
    files
}

#[test]
fn sample_and_corpus_round_trip_in_blocks() {
    for (name, data) in sample_files() {
        let cuts: Vec<usize> = (1..data.len().div_ceil(128 << 10))
            .map(|block| block * (128 << 10))
            .collect();
        for format in Format::DEFLATE_FAMILY {
            println!("{name} {format}");
            assert_one_member(&member(&data, &cuts, Level::DEFAULT, format), &data, format);
        }
    }
}

/// Runs a tool of the system over `input`; `None` if it is not installed.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else { return None };
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the tool ends");
    // A tool that ends early closes the pipe: its status and output say what matters.
    let _ = writer.join().expect("the writer does not panic");
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}

#[test]
fn tools_of_the_system_decode_our_members() {
    // unused_data must be empty: one member and nothing after it.
    let python = |window_bits: i32| {
        format!(
            "import sys, zlib; d = zlib.decompressobj({window_bits}); \
             sys.stdout.buffer.write(d.decompress(sys.stdin.buffer.read()) + d.flush()); \
             sys.exit(not d.eof or len(d.unused_data))"
        )
    };
    let tools: [(&str, Vec<String>, Format); 7] = [
        ("gzip", vec!["-dc".into()], Format::Gzip),
        ("pigz", vec!["-dc".into()], Format::Gzip),
        (
            "7z",
            vec!["x".into(), "-tgzip".into(), "-si".into(), "-so".into()],
            Format::Gzip,
        ),
        ("python3", vec!["-c".into(), python(31)], Format::Gzip),
        ("pigz", vec!["-dcz".into()], Format::Zlib),
        ("python3", vec!["-c".into(), python(15)], Format::Zlib),
        ("python3", vec!["-c".into(), python(-15)], Format::Deflate),
    ];
    let mut data = Vec::new();
    Stretch::Words(4, 400_000).append(&mut data);
    Stretch::Random(4, 200_000).append(&mut data);
    let mut ran = 0;
    for (program, arguments, format) in &tools {
        let packed = member(
            &data,
            &[131_072, 262_144, 393_216, 524_288],
            Level::DEFAULT,
            *format,
        );
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match through(program, &arguments, &packed) {
            Some(unpacked) => {
                assert!(
                    unpacked == data,
                    "{program} decodes other bytes from {format}"
                );
                ran += 1;
            }
            None => println!("skipped: {program} is not installed ({format})"),
        }
    }
    println!("{ran} of {} decodings ran", tools.len());
}
