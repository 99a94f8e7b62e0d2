//! Where the other tests hold us against ISA-L, it is there: what is only compared with it where it is installed would
//! otherwise pass unseen without it.

use faam_codec::{
    CpuEngines, Engine, IsalDecoder, IsalEngine, Level, Maker, Position, output_bytes_max,
};

/// The library, or `None` where it may be missing: anywhere but in continuous integration on the processors that it is
/// packaged for.
fn isal() -> Option<(IsalEngine, IsalDecoder)> {
    let found = IsalEngine::new().zip(IsalDecoder::new());
    let required = std::env::var("CI").is_ok_and(|value| value == "true")
        && std::env::var_os("FAAM_NO_ISAL").is_none_or(|value| value != "1")
        && cfg!(all(target_os = "linux", target_arch = "x86_64"));
    assert!(
        found.is_some() || !required,
        "ISA-L is missing, and its verdicts with it: .ci/install installs libisal-dev"
    );
    if found.is_none() {
        eprintln!("skipped: ISA-L is not part of this build, or not installed");
    }
    found
}

#[test]
fn its_decoder_has_a_verdict_of_its_own() {
    let Some((mut engine, mut decoder)) = isal() else {
        return;
    };
    let data = b"one, two, one, two, three; ".repeat(400);
    for level in [1, 2] {
        let level = Level::new(level).expect("a level");
        let mut block = Vec::with_capacity(output_bytes_max(data.len()));
        engine
            .compress_block(&data, level, Position::Last, &mut block)
            .expect("the engine serves every input");
        let mut out = vec![0; data.len()];
        let done = decoder.decode(&block, &mut out).expect("its own stream");
        assert_eq!((done.consumed, done.produced), (block.len(), data.len()));
        assert_eq!(out, data);
        assert_eq!(
            decoder.decode(&block[..block.len() - 1], &mut out),
            None,
            "cut"
        );
        assert_eq!(decoder.decode(&block, &mut out[1..]), None, "no room");
        block[0] |= 0b110;
        assert_eq!(decoder.decode(&block, &mut out), None, "a reserved type");
    }
}

#[test]
fn it_serves_its_levels() {
    if isal().is_none() {
        return;
    }
    let mut engines = CpuEngines::new();
    assert!(engines.has_isal());
    for level in Level::all() {
        let mut out = Vec::new();
        let maker = engines
            .compress_block(&[b'x'; 1_000], level, Position::Last, &mut out)
            .expect("the engines serve every input");
        assert_eq!(maker == Maker::IsaL, level.get() <= 2, "{level}");
        assert_eq!(engines.take_fault(), None);
    }
}
