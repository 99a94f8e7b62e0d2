//! What the fuzz targets hold the decompressors and the verifier to.

pub mod comparator;
pub mod decompress;
