//! The table of engines and levels: what each HTTP level costs and gives in each format, over the corpus.
//!
//! Invariant: a speed is megabytes (10^6) of uncompressed data a second of the thread's own CPU time; a comparison of two
//! is the median of ratios within pairs of passes, run one after the other in alternating order over the same blocks.
//! Every block is a body of its own, header and checksum included.
//!
//! Knows nothing of the gateway: one thread, no queue, no HTTP.

mod codec;
mod measure;
mod page;
mod report;

pub use codec::{BLOCK_BYTES, CodecError, Library, Ours};
pub use measure::{Cell, Row, Settings, Skipped, Table, measure};
pub use page::html;
pub use report::text;
