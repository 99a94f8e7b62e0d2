//! Decoders of other makers: gzip, pigz, 7-Zip, Python, zstd and lz4, each as the program that people run.
//!
//! Invariant: a decoder that is missing fails the test, unless `FAAM_ALLOW_MISSING_TOOLS=1`
//! says that this machine cannot have it; then it is named. None of those for the DEFLATE family
//! shares code with the engines under test: ISA-L, libdeflate, the card's model, and zlib-rs as their verifier.
//! The programs zstd and lz4 are their formats' own.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of output that are read and compared at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// One member and nothing behind it, its length as the trailer says (RFC 1952, 2.3.1), or an error.
const PYTHON_ONE_MEMBER: &str = r#"
import sys, zlib
form, path = sys.argv[1:]
data = open(path, "rb").read()
decoder = zlib.decompressobj({"gzip": 31, "zlib": 15, "deflate": -15}[form])
out = decoder.decompress(data) + decoder.flush()
if not decoder.eof:
    sys.exit("the member does not end")
if decoder.unused_data or decoder.unconsumed_tail:
    sys.exit("%d bytes behind the first member" % len(decoder.unused_data or decoder.unconsumed_tail))
if form == "gzip" and int.from_bytes(data[-4:], "little") != len(out) & 0xFFFFFFFF:
    sys.exit("ISIZE is not the length")
sys.stdout.buffer.write(out)
"#;

/// A program that decodes a file to its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    Gzip,
    Pigz,
    SevenZip,
    Python,
    Zstd,
    Lz4,
}

impl Decoder {
    /// Those that know `format`. 7-Zip reads no bare zlib stream, and only Python's module a raw one.
    fn of(format: &str) -> &'static [Self] {
        match format {
            "gzip" => &[Self::Gzip, Self::Pigz, Self::SevenZip, Self::Python],
            "zlib" => &[Self::Pigz, Self::Python],
            "zstd" => &[Self::Zstd],
            "lz4" => &[Self::Lz4],
            _ => &[Self::Python],
        }
    }

    /// Names under which it is installed.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Gzip => &["gzip"],
            Self::Pigz => &["pigz"],
            Self::SevenZip => &["7z", "7zz"],
            Self::Python => &["python3"],
            Self::Zstd => &["zstd"],
            Self::Lz4 => &["lz4"],
        }
    }

    fn command(self, program: &str, format: &str, file: &Path) -> Command {
        let mut command = Command::new(program);
        match (self, format) {
            // The others go by the file's suffix, where they may; -c keeps them from it.
            (Self::Gzip, _) => command.args(["-d", "-c"]).stdin(open(file)),
            (Self::Pigz, "zlib") => command.args(["-d", "-c", "-z"]).stdin(open(file)),
            (Self::Pigz, _) => command.args(["-d", "-c"]).stdin(open(file)),
            (Self::Zstd | Self::Lz4, _) => command.args(["-d", "-c"]).stdin(open(file)),
            (Self::SevenZip, _) => command
                .args(["x", "-so", "-tgzip"])
                .arg(file)
                .stdin(Stdio::null()),
            (Self::Python, _) => command
                .args(["-I", "-c", PYTHON_ONE_MEMBER, format])
                .arg(file)
                .stdin(Stdio::null()),
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Decode `file` and compare with `expected`; `Ok(false)` if the program is missing and may be.
    fn check(self, format: &str, file: &Path, expected: &[u8]) -> Result<bool, String> {
        for program in self.programs() {
            let mut child = match self.command(program, format, file).spawn() {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("{program}: {error}")),
            };
            let compared = child.stdout.take().map(|stdout| compare(stdout, expected));
            let end = child
                .wait_with_output()
                .map_err(|error| format!("{program}: {error}"))?;
            if !end.status.success() {
                return Err(format!(
                    "{program}: {}: {}",
                    end.status,
                    String::from_utf8_lossy(&end.stderr).trim()
                ));
            }
            return match compared {
                Some(Ok(())) => Ok(true),
                Some(Err(difference)) => Err(format!("{program}: {difference}")),
                None => Err(format!("{program}: no output")),
            };
        }
        if std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1") {
            return Ok(false);
        }
        Err(format!(
            "none of {:?} is installed; `make test` installs them, FAAM_ALLOW_MISSING_TOOLS=1 does without",
            self.programs()
        ))
    }
}

/// Check that `member` is one whole member of `format` that every decoder turns into `expected`.
/// Returns the decoders that are missing here.
pub(crate) fn check_all(
    format: &str,
    member: &[u8],
    expected: &[u8],
) -> Result<Vec<Decoder>, String> {
    let file = tempfile::NamedTempFile::with_suffix(".gz")
        .map_err(|error| format!("temporary file: {error}"))?;
    std::fs::write(file.path(), member).map_err(|error| format!("temporary file: {error}"))?;
    let mut missing = Vec::new();
    for decoder in Decoder::of(format) {
        if !decoder.check(format, file.path(), expected)? {
            missing.push(*decoder);
        }
    }
    Ok(missing)
}

fn open(file: &Path) -> Stdio {
    std::fs::File::open(file).map_or_else(|_| Stdio::null(), Stdio::from)
}

/// Compare all of `output` with `expected`; reads on to the end so that the writer is never blocked.
fn compare(mut output: impl Read, expected: &[u8]) -> Result<(), String> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut at, mut difference) = (0usize, None);
    loop {
        let count = output.read(&mut chunk).map_err(|error| error.to_string())?;
        if count == 0 {
            break;
        }
        if difference.is_none() && expected.get(at..at + count) != Some(&chunk[..count]) {
            difference = Some(format!(
                "other bytes than the source from about byte {at} of {}",
                expected.len()
            ));
        }
        at += count;
    }
    match difference {
        Some(difference) => Err(difference),
        None if at != expected.len() => Err(format!("{at} bytes, expected {}", expected.len())),
        None => Ok(()),
    }
}
