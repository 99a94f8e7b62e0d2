//! Userspace driver for FaaM cards: transports, DMA arena, rings, queue-pair workers.

pub mod huffman;
