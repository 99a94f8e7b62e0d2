//! Which models were built. The list is written by the build (`build/models.rs`), for Rust and for C++ from one.

/// The parameters that a model was Verilated with.
#[cfg(any(rtl_engine, rtl_match))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// log2 of the hash table's sets.
    pub hash_bits: u32,
    /// Most ways that a job may ask for.
    pub ways: u32,
    /// Whether a job may be lazy.
    pub lazy: bool,
    /// Whether it takes tables and counts. False for a matcher alone.
    pub tables: bool,
}

#[cfg(any(rtl_engine, rtl_match))]
impl std::fmt::Display for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            hash_bits,
            ways,
            lazy,
            tables,
        } = self;
        write!(
            f,
            "{}K x {ways}{}{}",
            (1u32 << hash_bits) / 1024,
            if *lazy { ", lazy" } else { "" },
            if *tables { ", tables" } else { "" },
        )
    }
}

include!(concat!(env!("OUT_DIR"), "/models.rs"));
