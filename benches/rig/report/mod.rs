//! A run, shown: as text, and as a page.

pub(crate) mod html;
pub(crate) mod plot;
pub(crate) mod table;
