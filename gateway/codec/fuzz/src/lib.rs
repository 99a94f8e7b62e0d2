//! What the fuzz targets hold the decompressors to.

pub mod decompress;
