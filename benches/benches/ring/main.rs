//! Round trip of the rings; see `round_trip`. The driver needs x86-64 Linux.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod round_trip;

fn main() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    round_trip::run();
    #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
    eprintln!("not measured: the driver needs x86-64 Linux");
}
