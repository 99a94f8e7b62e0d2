//! The command line's clients, as a shell sees them: files, standard streams, exit status, signals,
//! terminals; against a gateway, and against peers that do what no gateway should.

#![expect(
    clippy::panic,
    reason = "a helper that panics fails its test, with its reason"
)]

mod allowed_images;
mod backup;
mod bench;
mod certificates;
mod device;
mod device_fault;
mod doctor;
mod events;
mod explain;
mod faam;
mod files;
#[path = "../free_port/mod.rs"]
mod free_port;
mod front;
mod habits;
mod image_against;
mod image_backup;
mod images;
mod links;
mod listed_images;
mod manual;
mod peer;
mod plan;
#[path = "../process_log/mod.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod process_log;
mod refusals;
mod settings;
mod signals;
mod signatures;
mod slot_images;
mod slots;
mod streams;
mod tenants;
mod terminal;
mod top;
mod usage;
