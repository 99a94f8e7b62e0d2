//! What a carrier costs: register reads, doorbell to interrupt, maps. One source for all of them.
//!
//!     carriers vfio-user:DIR/fn0 [FAULTS]      a simulated card's function, by its socket
//!     carriers pci:0000:00:06.0 [FAULTS]       a function bound to vfio-pci
//!
//! FAULTS is the way to a simulated card's fault socket, if it has one: with it the card is asked how many maps it sees.
//! Every figure is of a simulated card where there is no other, and says so; in a guest under emulation it is no more
//! than a comparison.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    carriers::main()
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod carriers {
    use std::error::Error;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use faam_driver::transport::DmaAccess;
    use faam_driver::{Arena, Function, FunctionConfig, KernelVfio, PageSize, Transport, VfioUser};
    use faam_hwif::Iova;

    type Result<T> = std::result::Result<T, Box<dyn Error>>;

    const READS: usize = 1000;
    const INTERRUPTS: usize = 300;
    const MAPS: usize = 5;
    const LIMIT: Duration = Duration::from_secs(5);
    /// What is mapped, bytes.
    const MAP_BYTES: usize = 4 << 20;
    /// Where: above everything else, below 2^38.
    const MAP_IOVA: Iova = Iova(1 << 37);

    pub(super) fn main() -> Result<()> {
        let mut arguments = std::env::args().skip(1);
        let path = arguments
            .next()
            .ok_or("expected vfio-user:SOCKET or pci:ADDRESS")?;
        let mut faults = arguments
            .next()
            .map(|path| Faults::open(&path))
            .transpose()?;
        let transport = open(&path)?;
        let arena = Arena::new(4 << 20)?;
        let config = FunctionConfig::default();
        let function = Function::bring_up(Arc::clone(&transport), arena, config)?;
        let identity = function.identity();
        let card = match identity.model.is_simulated() {
            true => "simulated card",
            false => "hardware",
        };
        let label = format!("{path} ({:?}, {card})", identity.transport);
        println!("{label}");

        let reads = (0..READS).map(|_| {
            let before = Instant::now();
            function.heartbeat().map(|_| before.elapsed())
        });
        println!(
            "  register read: {}",
            spread(reads.collect::<std::result::Result<_, _>>()?)
        );

        let mut pair = function.create_queue_pair()?;
        let interrupts = (0..INTERRUPTS).map(|_| pair.interrupt_round_trip(LIMIT));
        println!(
            "  doorbell to interrupt: {}",
            spread(interrupts.collect::<std::result::Result<_, _>>()?)
        );
        let (count, before) = (10_000, Instant::now());
        pair.round_trip(count, LIMIT * 10)?;
        println!(
            "  commands that do nothing, ring full, both sides polling: {:.2} us each",
            before.elapsed().as_secs_f64() * 1e6 / f64::from(count)
        );

        for pages in [PageSize::Huge, PageSize::Base] {
            match Arena::on_pages(MAP_BYTES, pages) {
                Ok(memory) => maps(&*transport, &memory, faults.as_mut())?,
                Err(error) => println!("  map on {pages:?} pages: skipped: {error}"),
            }
        }
        function.delete_queue_pair(pair)?;
        function.reset(LIMIT)?;
        Ok(())
    }

    fn open(path: &str) -> Result<Arc<dyn Transport>> {
        match path.split_once(':') {
            Some(("vfio-user", socket)) => Ok(Arc::new(VfioUser::connect(socket.as_ref())?)),
            Some(("pci", address)) => Ok(Arc::new(KernelVfio::open(address.parse()?)?)),
            _ => Err("expected vfio-user:SOCKET or pci:ADDRESS".into()),
        }
    }

    fn maps(transport: &dyn Transport, arena: &Arena, faults: Option<&mut Faults>) -> Result<()> {
        let pages = arena.memory().page_size();
        let mut faults = faults;
        let (mut mapped, mut unmapped, mut seen) = (Vec::new(), Vec::new(), None);
        for _ in 0..MAPS {
            let without = faults.as_mut().map(|faults| faults.maps()).transpose()?;
            let before = Instant::now();
            transport.map_dma(arena.memory(), MAP_IOVA, DmaAccess::ReadWrite)?;
            mapped.push(before.elapsed());
            let with = faults.as_mut().map(|faults| faults.maps()).transpose()?;
            seen = with.zip(without).map(|(with, without)| with - without);
            let before = Instant::now();
            transport.unmap_dma(MAP_IOVA, arena.bytes() as u64)?;
            unmapped.push(before.elapsed());
        }
        let seen = seen.map_or_else(String::new, |seen| format!(", {seen} maps at the card"));
        println!(
            "  map {} MiB on {pages:?} pages: {}{seen}",
            arena.bytes() >> 20,
            spread(mapped)
        );
        println!("  unmap it: {}", spread(unmapped));
        Ok(())
    }

    fn spread(mut took: Vec<Duration>) -> String {
        took.sort_unstable();
        let at = |percent: usize| {
            let at = took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
            at.map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        format!(
            "p50 {:.1} us, p99 {:.1} us ({} times)",
            at(50),
            at(99),
            took.len()
        )
    }

    /// The card's fault socket: a request and an answer a line, each with the request's number.
    struct Faults {
        input: BufReader<Box<dyn Read>>,
        output: Box<dyn Write>,
        number: u32,
    }

    impl Faults {
        fn open(path: &str) -> Result<Self> {
            let (input, output): (Box<dyn Read>, Box<dyn Write>) = match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(LIMIT))?;
                    (Box::new(stream.try_clone()?), Box::new(stream))
                }
                // A virtual machine's serial port that leads to it.
                Err(_) => {
                    let port = std::fs::OpenOptions::new()
                        .read(true)
                        .write(true)
                        .open(path)?;
                    (Box::new(port.try_clone()?), Box::new(port))
                }
            };
            let input = BufReader::new(input);
            Ok(Self {
                input,
                output,
                number: 7_000_000,
            })
        }

        /// Maps that the card's first function has.
        fn maps(&mut self) -> Result<i64> {
            self.number += 1;
            writeln!(self.output, "{} maps 0", self.number)?;
            let wanted = format!("{} ", self.number);
            loop {
                let mut line = String::new();
                if self.input.read_line(&mut line)? == 0 {
                    return Err("the card's fault socket is closed".into());
                }
                // Answers to a client before this one may still come.
                if let Some(answer) = line.strip_prefix(&wanted) {
                    let count = answer.trim().strip_prefix("ok ").ok_or(answer.to_owned())?;
                    return Ok(count.parse()?);
                }
            }
        }
    }
}
