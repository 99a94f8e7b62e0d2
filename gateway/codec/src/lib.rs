//! CPU engines, DEFLATE framing, joining, verification.
