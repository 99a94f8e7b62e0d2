//! A run, shown: as text, and as a page.

pub(crate) mod html;
pub(crate) mod plot;
mod profiles;
pub(crate) mod table;
