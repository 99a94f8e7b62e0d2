//! The command line's clients, as a shell sees them: files, standard streams, exit status, signals,
//! terminals; against a gateway, and against peers that do what no gateway should.

#![expect(
    clippy::panic,
    reason = "a helper that panics fails its test, with its reason"
)]

mod bench;
mod device;
mod doctor;
mod faam;
mod files;
mod front;
mod habits;
mod links;
mod manual;
mod peer;
mod refusals;
mod settings;
mod signals;
mod streams;
mod terminal;
