//! The published bounds, and our own promises, over arbitrary loads in virtual time. proptest prints the input of a failure,
//! reduced, and keeps its seed.

mod corrections;
mod ledger;
mod machine;
mod places;
mod rates;
mod shares;
