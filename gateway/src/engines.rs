//! Which CPU engine serves a level of a format, as this process would use it.
//!
//! Owns the table that the catalogue, the metrics and the start's log tell. Invariant: it is read from the engines
//! themselves, once, since what a machine has installed does not change while a process runs. What cards make, and data
//! that is stored because it does not shrink, is not in it.

use std::sync::OnceLock;

use faam_codec::{CpuEngines, EngineLevel, Format, Level, StreamCompressor};

/// Who serves one level of one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedLevel {
    /// The format.
    pub format: Format,
    /// The caller's level.
    pub level: Level,
    /// The engine, and the level in its own numbering.
    pub engine: EngineLevel,
}

/// Every level of every format, in the order of [`Format::ALL`], levels ascending.
#[must_use]
pub fn served() -> &'static [ServedLevel] {
    static SERVED: OnceLock<Vec<ServedLevel>> = OnceLock::new();
    SERVED.get_or_init(|| {
        let blocks = CpuEngines::new();
        let of_format = |format| {
            let blocks = &blocks;
            Level::all().map(move |level| ServedLevel {
                format,
                level,
                engine: StreamCompressor::engine_of(format, level)
                    .unwrap_or_else(|| blocks.engine_of(level)),
            })
        };
        Format::ALL.into_iter().flat_map(of_format).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_every_format_has_its_engine() {
        let served = served();
        assert_eq!(served.len(), Format::ALL.len() * Level::all().count());
        let of = |format, level| {
            let found = served
                .iter()
                .find(|one| one.format == format && one.level.get() == level);
            found.map(|one| one.engine.to_string()).unwrap_or_default()
        };
        assert_eq!(of(Format::Gzip, 6), "libdeflate 6");
        assert_eq!(of(Format::Zlib, 12), "libdeflate 12");
        assert!(of(Format::Zstd, 3).starts_with("zstd "));
        assert!(of(Format::Lz4, 1).starts_with("lz4 "));
        let fastest = if CpuEngines::new().has_isal() {
            "isa-l 1"
        } else {
            "libdeflate 1"
        };
        assert_eq!(of(Format::Deflate, 1), fastest);
    }
}
