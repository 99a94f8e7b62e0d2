//! Bytes that go in over HTTP come back whole: every format by every backend, decoded by programs
//! of other makers, at every size where something changes, over the whole corpus.
//!
//! The corpus is `$FAAM_CORPUS`, else `.cache/corpus` (`make corpus`), else the committed
//! `benches/sample`; which one it was is printed. The tables go to standard output: cargo shows
//! them with `--nocapture`, nextest as configured in `.config/nextest.toml`.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod decoders;
mod gateway_process;
mod process_log;
mod served;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use decoders::Decoder;
use gateway_process::{Client, GatewayProcess, POLICIES};

const FORMATS: [&str; 3] = ["gzip", "zlib", "deflate"];
/// Input bytes of one block: `faam_gateway::job::BLOCK_BYTES`, here as the interface's own fact.
const BLOCK: usize = 128 << 10;
/// What a card takes and gives in one job (`bitstreams/doc/registers.md`).
const CARD_JOB_BYTES_MAX: usize = 1 << 20;
/// Cases that run at once: two engines' worth, and as many again in decoders.
const CASES_AT_ONCE: usize = 4;
/// Seed of everything random here.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Bytes to send, and what they are called.
struct Source {
    name: String,
    bytes: Vec<u8>,
}

/// One member as the gateway made it.
struct Member<'a> {
    source: &'a Source,
    format: &'static str,
    policy: &'static str,
    bytes: Vec<u8>,
}

#[test]
fn sizes_around_the_block_come_back_by_every_format_and_backend() {
    let gateway = GatewayProcess::start(&["--devices", "sim"]);
    let text = corpus()
        .1
        .into_iter()
        .max_by_key(|source| source.bytes.len())
        .expect("a file")
        .bytes;
    let text = &text[text.len() / 3..];
    let sizes = [
        0,
        1,
        11,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        2 * BLOCK - 1,
        2 * BLOCK,
        2 * BLOCK + 1,
    ];
    let mut sources: Vec<_> = sizes
        .iter()
        .map(|&size| source(&format!("text {size}"), cycled(text, size)))
        .collect();
    // Incompressible data takes the stored path, whose blocks end elsewhere.
    sources.extend(
        sizes
            .iter()
            .map(|&size| source(&format!("random {size}"), random(size))),
    );
    let members = compress_all(&gateway, &sources, &FORMATS, &POLICIES);
    for member in &members {
        check_growth(member);
    }
    decompress_all(&gateway, &members);
    gateway.check_at_rest();
}

#[test]
fn fifty_megabytes_of_zeros_and_twenty_of_noise_come_back() {
    let gateway = GatewayProcess::start(&["--devices", "sim"]);
    let sources = [
        source("zeros 50 MB", vec![0; 50_000_000]),
        source("random 20 MB", random(20_000_000)),
    ];
    let members = compress_all(&gateway, &sources, &FORMATS, &POLICIES);
    for member in &members {
        let (from, to) = (member.source.bytes.len(), member.bytes.len());
        if member.source.name.starts_with("random") {
            check_growth(member);
        } else {
            assert!(
                to * 100 < from,
                "{} {}: zeros shrank from {from} to {to} only",
                member.format,
                member.policy
            );
        }
    }
    // Beyond a card's job limit in both directions; who may use the CPU is served all the same.
    let few: Vec<_> = members
        .into_iter()
        .filter(|member| member.policy == "auto")
        .collect();
    decompress_all(&gateway, &few);
    gateway.check_at_rest();
    let (resident, huge) = gateway.memory_kib_max();
    println!("peak memory of the gateway: {resident} KiB resident, {huge} KiB in huge pages");
}

#[test]
fn the_corpus_comes_back_and_every_backend_compresses_it() {
    let gateway = GatewayProcess::start(&["--devices", "sim"]);
    let (place, sources) = corpus();
    println!("corpus: {}", place.display());
    let members = compress_all(&gateway, &sources, &FORMATS, &POLICIES);
    print_ratios(&sources, &members);
    for policy in POLICIES {
        // Over what compresses at all. By the table of levels both engines give more than 3.3 on this
        // corpus; a path that stores what it should compress, or codes it without matches, falls below 2.
        let (from, to) = total(&members, policy, |name| {
            !["random", "zeros", "already_gz"].contains(&name)
        });
        assert!(from > 2 * to, "{policy}: {from} bytes became {to}");
    }
    gateway.check_at_rest();
}

#[test]
fn zstd_and_lz4_come_back_by_every_backend_that_may_serve_them() {
    let gateway = GatewayProcess::start(&["--devices", "sim"]);
    let (_, corpus) = corpus();
    let mut sources: Vec<_> = [0, 1, 11, BLOCK - 1, BLOCK, BLOCK + 1]
        .into_iter()
        .flat_map(|size| [random(size), cycled(b"0123456789abcdef\n", size)])
        .map(|bytes| source(&format!("{} bytes", bytes.len()), bytes))
        .collect();
    sources.extend(corpus);
    sources.push(source("zeros 50 MB", vec![0; 50_000_000]));
    let policies = ["auto", "cpu"];
    let members = compress_all(&gateway, &sources, &["zstd", "lz4"], &policies);
    let few: Vec<_> = members
        .into_iter()
        .filter(|member| member.policy == "auto")
        .collect();
    decompress_all(&gateway, &few);
    gateway.check_at_rest();
}

#[test]
fn a_member_beyond_the_cards_job_limit_is_refused_under_require_hw_and_said_so() {
    let gateway = GatewayProcess::start(&["--devices", "sim"]);
    let client = gateway.client();
    // At the limit it is served. One byte beyond it is too much to write; noise is too much to read.
    let at_limit = source(
        "at the limit",
        cycled(b"0123456789abcdef\n", CARD_JOB_BYTES_MAX),
    );
    let to_write = source(
        "too much to write",
        cycled(b"0123456789abcdef\n", CARD_JOB_BYTES_MAX + 1),
    );
    let to_read = source("too much to read", random(CARD_JOB_BYTES_MAX + 1));
    for (source, served) in [(&at_limit, true), (&to_write, false), (&to_read, false)] {
        for format in FORMATS {
            let member = compress(client, source, format, "cpu").expect("compressed");
            let path = format!("/v1/decompress?format={format}");
            let answer = client
                .post(&path, &[("Faam-Backend", "require-hw")], &member.bytes)
                .expect("an answer");
            if served {
                answer.check_served("require-hw").expect(&source.name);
                assert!(
                    answer.body == source.bytes,
                    "{format} {}: other bytes",
                    source.name
                );
                continue;
            }
            assert_eq!(
                answer.status,
                503,
                "{format} {}: {}",
                source.name,
                answer.problem()
            );
            assert_eq!(answer.header("Content-Type"), "application/problem+json");
            let problem = answer.problem();
            assert!(problem.contains("/problems/no-engine"), "{problem}");
            assert!(
                problem.contains("1048576") && problem.contains("prefer-hw"),
                "the limit and the way out: {problem}"
            );
            // The same member, where the caller lets it: served, by the CPU.
            let answer = client
                .post(&path, &[("Faam-Backend", "prefer-hw")], &member.bytes)
                .expect("an answer");
            answer.check_served("prefer-hw").expect(&source.name);
            assert!(
                answer.body == source.bytes,
                "{format} {}: other bytes by prefer-hw",
                source.name
            );
        }
    }
    gateway.check_at_rest();
}

/// Compress every source in every format by every policy and check each member with every decoder.
fn compress_all<'a>(
    gateway: &GatewayProcess,
    sources: &'a [Source],
    formats: &[&'static str],
    policies: &[&'static str],
) -> Vec<Member<'a>> {
    let mut cases = Vec::new();
    for source in sources {
        for format in formats {
            cases.extend(policies.iter().map(|policy| (source, *format, *policy)));
        }
    }
    let began = Instant::now();
    let missing = Mutex::new(BTreeSet::new());
    let members = in_parallel(&cases, |&(source, format, policy)| {
        let member = compress(gateway.client(), source, format, policy)?;
        let lacking = decoders::check_all(format, &member.bytes, &source.bytes)
            .map_err(|error| format!("{} as {format} by {policy}: {error}", source.name))?;
        missing.lock().expect("no thread panics with it").extend(
            lacking
                .iter()
                .map(|decoder: &Decoder| format!("{decoder:?}")),
        );
        Ok(member)
    });
    let missing = missing.into_inner().expect("no thread panicked with it");
    let bytes: usize = members.iter().map(|member| member.source.bytes.len()).sum();
    println!(
        "{} members of {} MB checked in {:.1} s",
        members.len(),
        bytes / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    if !missing.is_empty() {
        println!("NOT CHECKED by {missing:?}: not installed here");
    }
    members
}

fn compress<'a>(
    client: &Client,
    source: &'a Source,
    format: &'static str,
    policy: &'static str,
) -> Result<Member<'a>, String> {
    let case = || format!("{} as {format} by {policy}", source.name);
    let answer = client
        .post(
            &format!("/v1/compress?format={format}"),
            &[("Faam-Backend", policy)],
            &source.bytes,
        )
        .map_err(|error| format!("{}: no complete answer: {error}", case()))?;
    answer
        .check_served(policy)
        .map_err(|error| format!("{}: {error}", case()))?;
    Ok(Member {
        source,
        format,
        policy,
        bytes: answer.body,
    })
}

/// Send every member back through every backend; where it is beyond a card, `require-hw` is left out.
fn decompress_all(gateway: &GatewayProcess, members: &[Member<'_>]) {
    let mut cases = Vec::new();
    for member in members {
        let fits = FORMATS.contains(&member.format)
            && member.source.bytes.len().max(member.bytes.len()) <= CARD_JOB_BYTES_MAX;
        for policy in POLICIES
            .into_iter()
            .filter(|policy| fits || *policy != "require-hw")
        {
            cases.push((member, policy, member.format));
            // Raw DEFLATE has no header to be known by.
            if member.format != "deflate" {
                cases.push((member, policy, "auto"));
            }
        }
    }
    in_parallel(&cases, |&(member, policy, format)| {
        let case = || {
            format!(
                "{}, {} by {}, back as {format} by {policy}",
                member.source.name, member.format, member.policy
            )
        };
        let answer = gateway
            .client()
            .post(
                &format!("/v1/decompress?format={format}"),
                &[("Faam-Backend", policy)],
                &member.bytes,
            )
            .map_err(|error| format!("{}: no complete answer: {error}", case()))?;
        answer
            .check_served(policy)
            .map_err(|error| format!("{}: {error}", case()))?;
        if answer.body == member.source.bytes {
            Ok(())
        } else {
            Err(format!("{}: other bytes", case()))
        }
    });
    println!("{} decompressions checked", cases.len());
}

/// Run `check` over all cases, some at a time; the results in their order, or a panic with every failure.
#[track_caller]
fn in_parallel<C: Sync, T: Send>(
    cases: &[C],
    check: impl Fn(&C) -> Result<T, String> + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<_>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CASES_AT_ONCE {
            scope.spawn(|| {
                while let Some((index, case)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|i| Some((i, cases.get(i)?)))
                {
                    let result = check(case);
                    results
                        .lock()
                        .expect("no thread panics with it")
                        .push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panicked with it");
    results.sort_by_key(|(index, _)| *index);
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    for (_, result) in results {
        match result {
            Ok(value) => passed.push(value),
            Err(error) => failed.push(error),
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} failed:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
    passed
}

/// Nothing grows by 0.1 % and 64 bytes or more.
#[track_caller]
fn check_growth(member: &Member<'_>) {
    let (from, to) = (member.source.bytes.len(), member.bytes.len());
    assert!(
        to < from + from / 1000 + 64,
        "{} as {} by {}: {from} bytes became {to}",
        member.source.name,
        member.format,
        member.policy
    );
}

fn total(members: &[Member<'_>], policy: &str, which: impl Fn(&str) -> bool) -> (usize, usize) {
    let members = members
        .iter()
        .filter(|m| m.format == "gzip" && m.policy == policy && which(&m.source.name));
    members.fold((0, 0), |(from, to), member| {
        (from + member.source.bytes.len(), to + member.bytes.len())
    })
}

fn print_ratios(sources: &[Source], members: &[Member<'_>]) {
    let ratio = |(from, to): (usize, usize)| format!("{:>11.3}", from as f64 / to.max(1) as f64);
    println!("gzip, bytes in / bytes out at the default level, cards simulated");
    println!(
        "{:<20}{:>11}{}",
        "file",
        "bytes",
        POLICIES.map(|policy| format!("{policy:>11}")).concat()
    );
    for source in sources {
        let row = POLICIES.map(|policy| ratio(total(members, policy, |name| name == source.name)));
        println!(
            "{:<20}{:>11}{}",
            source.name,
            source.bytes.len(),
            row.concat()
        );
    }
    let bytes: usize = sources.iter().map(|source| source.bytes.len()).sum();
    println!(
        "{:<20}{:>11}{}",
        "all",
        bytes,
        POLICIES
            .map(|policy| ratio(total(members, policy, |_| true)))
            .concat()
    );
}

/// The corpus's files in order of their names, and where they are.
fn corpus() -> (PathBuf, Vec<Source>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let fetched = root.join(".cache/corpus");
    let place = match std::env::var_os("FAAM_CORPUS") {
        Some(chosen) => PathBuf::from(chosen),
        None if fetched.join("SHA256SUMS").is_file() => fetched,
        None => root.join("benches/sample"),
    };
    let entries =
        std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display()));
    let mut sources: Vec<_> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| {
            path.is_file()
                && path
                    .file_name()
                    .is_some_and(|name| name != "SHA256SUMS" && name != "README.md")
        })
        .map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            source(&name, std::fs::read(&path).expect("a readable file"))
        })
        .collect();
    assert!(!sources.is_empty(), "{} holds no files", place.display());
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    (place, sources)
}

fn source(name: &str, bytes: Vec<u8>) -> Source {
    Source {
        name: name.to_owned(),
        bytes,
    }
}

fn cycled(text: &[u8], size: usize) -> Vec<u8> {
    text.iter().copied().cycle().take(size).collect()
}

/// xorshift64* (Vigna 2016) from [`SEED`].
fn random(size: usize) -> Vec<u8> {
    let mut state = SEED;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
