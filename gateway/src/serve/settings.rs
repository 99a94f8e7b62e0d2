//! Every setting of a gateway: its key in the file, its variable, its flag, its meaning.
//!
//! Owns the one table from which the configuration file, the environment, the flags, their help
//! and `faam serve --check` all come: a line here makes a setting. Invariant: every field of the
//! limits that a gateway is started with is reachable (a test compares). It does not know where a
//! value came from.

mod field;

use faam_gateway::cards::SimulatedSlots;
use faam_gateway::config::GatewayConfig;
use faam_sim::Model;

use self::Kind::{Bytes, Count, List, Millis, Rules, Secret, Text};
use self::field::{Field, NOT_SET, number, one, plain};
use super::devices::{CardFaults, Devices, SimulatedCard};
use super::listeners::Listeners;
use crate::quantity;

/// What settings change, before it is a [`GatewayConfig`].
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) gateway: GatewayConfig,
    pub(crate) devices: Vec<Devices>,
    pub(crate) simulated: SimulatedCard,
    pub(crate) listeners: Listeners,
}

impl Default for Draft {
    fn default() -> Self {
        let gateway = GatewayConfig::default();
        // Where there is no driver, the default is no card.
        let devices = if gateway.dispatch.cards.is_empty() {
            Devices::None
        } else {
            Devices::Simulated(1)
        };
        Self {
            gateway,
            devices: vec![devices],
            simulated: SimulatedCard {
                model: Model::Functional,
                engines: 1,
                pace_mhz: None,
                slots: SimulatedSlots::default(),
                faults: CardFaults::default(),
            },
            listeners: Listeners::default(),
        }
    }
}

impl Draft {
    /// The configuration that it describes.
    ///
    /// # Errors
    /// Devices that cannot stand together, or half of TLS.
    pub(crate) fn finish(&self) -> Result<GatewayConfig, String> {
        let mut config = self.gateway.clone();
        config.dispatch.data_dir.clone_from(&config.data_dir);
        let faults = &self.simulated.faults;
        if !faults.allowed && (faults.file.is_some() || !faults.rules.is_empty()) {
            return Err(
                "sim_fault and sim_faults make cards that fail on purpose: start with --allow-faults, or leave them out"
                    .to_owned(),
            );
        }
        config.dispatch.cards = Devices::cards(&self.devices, &self.simulated)?;
        config.tls = self.listeners.tls()?;
        config.unix_listen = self.listeners.unix();
        Ok(config)
    }
}

/// What a value is, which decides how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An address, a path or a word.
    Text,
    /// As [`Kind::Text`], never shown.
    Secret,
    /// Several words.
    List,
    /// Several, with commas of their own: a variable has semicolons between them.
    Rules,
    /// A whole number in these bounds.
    Count(u64, u64),
    /// Bytes in these bounds; may be written with a unit.
    Bytes(u64, u64),
    /// Milliseconds in these bounds; may be written with a unit.
    Millis(u64, u64),
}

/// One setting.
pub(crate) struct Setting {
    /// Its key in the file, dotted; a unit and a qualifier last.
    pub(crate) key: &'static str,
    /// The field that it sets, as in the source.
    #[cfg(test)]
    pub(crate) field: &'static str,
    /// What it decides.
    pub(crate) about: &'static str,
    /// How its value is written.
    pub(crate) kind: Kind,
    /// Its flag and what the flag's value is called, if it has one. Limits have none: they belong in a file.
    pub(crate) flag: Option<(&'static str, &'static str)>,
    /// Its variable, where that is not `FAAM_` and the key.
    variable: Option<&'static str>,
    read: fn(&Draft) -> Vec<String>,
    write: fn(&mut Draft, &[String]) -> Result<(), String>,
}

impl Setting {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        match self.variable {
            Some(name) => name.to_owned(),
            None => format!("FAAM_{}", self.key.replace('.', "_").to_uppercase()),
        }
    }

    /// Its value, as it is written.
    pub(crate) fn read(&self, draft: &Draft) -> Vec<String> {
        (self.read)(draft)
    }

    /// Its value for people: with a unit they can read, and no secret.
    pub(crate) fn shown(&self, draft: &Draft) -> String {
        let text = self.read(draft).join(", ");
        let with_unit = |show: fn(u64) -> String| match text.parse() {
            Ok(number) if show(number) != format!("{number} B") => {
                format!("{text} ({})", show(number))
            }
            _ => text.clone(),
        };
        match self.kind {
            Secret if text != NOT_SET => "(set, not shown)".to_owned(),
            Bytes(..) => with_unit(quantity::show_bytes),
            Millis(..) => with_unit(quantity::show_ms),
            _ => text,
        }
    }

    /// Sets it; `values` are one text, or several for a list.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn write(&self, draft: &mut Draft, values: &[String]) -> Result<(), String> {
        let quantity = match self.kind {
            Count(min, max) => Some((
                min,
                max,
                number as fn(&str) -> Result<u64, String>,
                plain as fn(u64) -> String,
            )),
            Bytes(min, max) => Some((
                min,
                max,
                quantity::parse_bytes as _,
                quantity::show_bytes as _,
            )),
            Millis(min, max) => Some((min, max, quantity::parse_ms as _, quantity::show_ms as _)),
            _ => None,
        };
        let Some((min, max, parse, show)) = quantity else {
            return (self.write)(draft, values);
        };
        let text = one(values)?;
        if text == NOT_SET {
            return (self.write)(draft, values);
        }
        let number = parse(text)?;
        if !(min..=max).contains(&number) {
            return Err(match max {
                u64::MAX => format!("expected at least {}, got {text}", show(min)),
                _ => format!("expected {} to {}, got {text}", show(min), show(max)),
            });
        }
        (self.write)(draft, &[number.to_string()])
    }

    /// Whether `text` would be taken, for the command line's own check.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn check(&self, text: &str) -> Result<String, String> {
        self.write(&mut Draft::default(), &[text.to_owned()])
            .map(|()| text.to_owned())
    }
}

macro_rules! setting {
    ($key:literal, $($path:ident).+, $kind:expr, $about:literal $(, flag $flag:literal $value:literal)? $(, variable $variable:literal)?) => {
        Setting {
            key: $key,
            #[cfg(test)]
            field: stringify!($($path).+),
            about: $about,
            kind: $kind,
            flag: setting!(@option $(($flag, $value))?),
            variable: setting!(@option $($variable)?),
            read: |draft| Field::show(&draft.$($path).+),
            write: |draft, values| {
                draft.$($path).+ = Field::parse(values)?;
                Ok(())
            },
        }
    };
    (@option $value:expr) => { Some($value) };
    (@option) => { None };
}

/// Longest time that a setting takes: a day.
const MS_MAX: u64 = 86_400_000;
const ENGINES_MAX: u64 = faam_sim::ENGINES_MAX as u64;
const CLOCK_MHZ_MAX: u64 = faam_sim::CLOCK_MHZ_MAX as u64;

/// Every setting, in the order in which they are shown.
#[rustfmt::skip]
pub(crate) static SETTINGS: &[Setting] = &[
    setting!("listen", gateway.listen, Text, "Address for callers; port 0 lets the system choose", flag "listen" "ADDRESS"),
    setting!("admin_listen", gateway.admin_listen, Text, "Address for probes and metrics, without credentials, and for operators, with the key in admin.key", flag "admin-listen" "ADDRESS"),
    setting!("unix_listen", listeners.unix, Text, "A Unix socket for callers, besides; plain HTTP", flag "unix-listen" "PATH"),
    setting!("unix_mode", listeners.unix_mode, Text, "Permission bits of the Unix socket, octal", flag "unix-mode" "MODE"),
    setting!("tls.cert", listeners.tls_certificate, Text, "Certificate and its chain, PEM: serves HTTPS; read again when it changes, and on SIGHUP", flag "tls-cert" "FILE"),
    setting!("tls.key", listeners.tls_key, Text, "The certificate's private key, PEM", flag "tls-key" "FILE"),
    setting!("tls.client_ca", listeners.tls_client_ca, Text, "Authorities, PEM: callers need a certificate that one of them signed", flag "tls-client-ca" "FILE"),
    setting!("otlp_endpoint", gateway.otlp_endpoint, Text, "A collector's base, http://HOST:PORT: sends it a span for each request; without, none is made", flag "otlp-endpoint" "URL", variable "OTEL_EXPORTER_OTLP_ENDPOINT"),
    setting!("data_dir", gateway.data_dir, Text, "Where keys and sockets are kept", flag "data-dir" "DIR"),
    // No flag: it would show in the process list.
    setting!("bootstrap_key", gateway.bootstrap_key, Secret, "The demo tenant's key, in place of one that is made"),
    setting!("admin_key", gateway.admin_key, Secret, "The operator's key on the admin listener, in place of one that is made"),
    setting!("admin_hosts", gateway.admin_hosts, List, "Names by which the admin listener may be called, beside addresses and localhost; * is any"),
    setting!("devices", devices, List, "Cards: sim[:CARDS], pci:ADDRESS[+ADDRESS], vfio-user:DIR or none; may be given several times", flag "devices" "DEVICES"),
    setting!("engines", simulated.engines, Count(1, ENGINES_MAX), "Engines a function of the simulated cards", flag "engines" "NUMBER"),
    setting!("sim_model", simulated.model, Text, "What is inside the simulated cards: functional, the model, or rtl, the gateware clock by clock, in builds with the feature rtl", flag "sim-model" "MODEL"),
    setting!("pace_mhz", simulated.pace_mhz, Count(1, CLOCK_MHZ_MAX), "Clock that the simulated cards keep, MHz; without it they run as fast as they can", flag "pace" "MHZ", variable "FAAM_PACE"),
    setting!("sim_slots", simulated.slots, Text, "What the slots of the simulated cards hold at their start: factory (a kernel that does everything) or empty", flag "sim-slots" "WHAT"),
    setting!("sim_faults", simulated.faults.file, Text, "With --allow-faults: rules of faults for the simulated cards, as TOML", flag "sim-faults" "FILE"),
    setting!("sim_fault", simulated.faults.rules, Rules, "With --allow-faults: rules of faults for the simulated cards, such as engine-hangs,function=1,after=100,times=1; may be given several times", flag "sim-fault" "RULE"),
    setting!("cpu_workers", gateway.dispatch.cpu_workers, Count(1, 1024), "Threads of the CPU engines", flag "cpu-workers" "THREADS"),
    setting!("arena_bytes", gateway.dispatch.arena_bytes, Bytes(1 << 20, 1 << 40), "DMA memory shared by the gateway's own cards"),
    setting!("hw_wait_ms_max", gateway.dispatch.hw_wait, Millis(1, MS_MAX), "How long a request that requires a card waits for one to come into service"),
    setting!("slots.policy", gateway.dispatch.slots.policy, Text, "Whether kernels are loaded into the slots of cards and evicted by demand; false: an operator alone does"),
    setting!("slots.idle_ms", gateway.dispatch.slots.idle, Millis(0, MS_MAX), "How long a kernel stays in its slot that nobody wants; 0: for good"),
    setting!("slots.prewarm", gateway.dispatch.slots.prewarm, Text, "Whether a slot that holds nothing is loaded with what is expected to be wanted, before anybody waits"),
    setting!("queue_blocks_max", gateway.dispatch.queue_blocks_max, Count(1, 1 << 20), "Blocks that one tenant may have queued"),
    setting!("queue_wait_ms_max", gateway.dispatch.queue_wait, Millis(1, MS_MAX), "How long a block of a request without a deadline waits for room there"),
    setting!("sim_program", gateway.dispatch.sim_program, Text, "The program that is a simulated card when called with `sim`"),
    setting!("verify", gateway.dispatch.verification, Text, "How much of what engines make is decoded and compared before it is answered: on, sampled, sampled:N (one result in N) or off; every answer says which", flag "verify" "HOW"),
    setting!("body_memory_bytes_max", gateway.admission.body_memory_bytes_max, Bytes(1 << 20, 1 << 50), "Bytes of bodies, in and out, that are in memory at once"),
    setting!("spill_bytes_max", gateway.admission.spill_bytes_max, Bytes(0, 1 << 60), "Bytes of answers on disk, in the data directory, for callers who do not read yet"),
    setting!("spill_tenant_bytes_max", gateway.admission.spill_tenant_bytes_max, Bytes(0, 1 << 60), "The same of one tenant"),
    setting!("spill_request_bytes_max", gateway.admission.spill_request_bytes_max, Bytes(0, 1 << 60), "The same of one request"),
    setting!("spill_files_max", gateway.admission.spill_files_max, Count(1, 1 << 20), "Answers on disk at once, as far as descriptors allow; beyond it callers are waited for"),
    setting!("spill_tenant_files_max", gateway.admission.spill_tenant_files_max, Count(1, 1 << 20), "The same of one tenant"),
    setting!("drain_delay_ms", gateway.drain_delay, Millis(0, MS_MAX), "How long the gateway goes on taking requests once it was told to stop, while /readyz says 503 already; on Kubernetes as long as it takes to be out of every Service, 5000 or so", flag "drain-delay-ms" "MS"),
    setting!("drain_ms_max", gateway.drain, Millis(0, MS_MAX), "How long requests in flight may take to end after that"),
    setting!("http.body_bytes_max", gateway.limits.body_bytes_max, Bytes(1, u64::MAX), "Largest request body"),
    setting!("http.body_idle_ms_max", gateway.limits.body_idle, Millis(1, MS_MAX), "Longest silence in the middle of a body"),
    setting!("http.body_grace_ms", gateway.limits.body_grace, Millis(0, MS_MAX), "Time before the least rate of a body counts"),
    setting!("http.body_bytes_per_second_min", gateway.limits.body_bytes_per_second_min, Bytes(0, 1 << 40), "Least average rate of a body after that"),
    setting!("http.refusal_drain_bytes_max", gateway.limits.refusal_drain_bytes_max, Bytes(0, u64::MAX), "Bytes of an unread body that are drained after a refusal"),
    setting!("http.refusal_drain_ms_max", gateway.limits.refusal_drain, Millis(0, MS_MAX), "Time for which an unread body is drained after a refusal"),
    setting!("http.connections_max", gateway.limits.connections_max, Count(1, 1 << 20), "Connections at once, as far as descriptors allow; when all are taken, the longest without a request ends for a new one"),
    setting!("http.peer_connections_max", gateway.limits.peer_connections_max, Count(1, 1 << 20), "Connections at once of one address (IPv6: of one /64); leave it out behind a proxy"),
    setting!("http.tls_handshake_ms_max", gateway.limits.tls_handshake, Millis(1, MS_MAX), "Time for a TLS handshake"),
    setting!("http.tls_poll_ms", gateway.limits.tls_poll, Millis(1, MS_MAX), "How often the TLS files are looked at for changes"),
    setting!("http.header_bytes_max", gateway.limits.header_bytes_max, Bytes(1 << 10, 16 << 20), "Bytes of a request's line and headers"),
    setting!("http.header_read_ms_max", gateway.limits.header_read, Millis(1, MS_MAX), "Time for a request's headers, and of an idle connection"),
    setting!("http.write_stall_ms_max", gateway.limits.write_stall, Millis(1, MS_MAX), "Time for which a response may make no progress at all"),
    setting!("http.answer_bytes_per_second_min", gateway.limits.answer_bytes_per_second_min, Bytes(0, 1 << 40), "Least average rate at which an answer that waits for its caller is taken"),
    setting!("http.spill_after_ms", gateway.limits.spill_after, Millis(0, MS_MAX), "How long a caller that does not read while its body arrives is waited for before its answer is spilled to disk"),
    // Of every tenant whose own record does not say otherwise.
    setting!("tenant.weight", gateway.tenant_limits.weight, Count(1, 1_000_000), "Share of what is left when guarantees are met, against the others' weights"),
    setting!("tenant.cir_us_per_s", gateway.tenant_limits.cir_us_per_s, Count(0, 1 << 52), "Guaranteed rate, microseconds of the reference engine a second"),
    setting!("tenant.pir_us_per_s", gateway.tenant_limits.pir_us_per_s, Count(1, 1 << 52), "Peak rate, in the same unit"),
    setting!("tenant.pir_burst_us", gateway.tenant_limits.pir_burst_us, Count(1, 1 << 52), "What may be taken at once beyond the peak rate, microseconds"),
    setting!("tenant.bytes_per_s", gateway.tenant_limits.bytes_per_s, Count(1, 1 << 52), "Bytes of bodies a second"),
    setting!("tenant.requests_per_s", gateway.tenant_limits.requests_per_s, Count(1, 1 << 52), "Requests a second"),
    setting!("tenant.bytes_per_day", gateway.tenant_limits.bytes_per_day, Count(0, 1 << 52), "Bytes of bodies a day (UTC)"),
    setting!("tenant.reference_us_per_day", gateway.tenant_limits.reference_us_per_day, Count(0, 1 << 52), "Charged microseconds of the reference engine a day (UTC)"),
    setting!("tenant.in_flight_max", gateway.tenant_limits.in_flight_max, Count(1, 1 << 20), "Requests that one tenant may have in flight"),
    setting!("tenant.queued_blocks_max", gateway.tenant_limits.queued_blocks_max, Count(1, 1 << 20), "Blocks that one tenant may have queued, up to queue_blocks_max"),
    setting!("tenant.memory_bytes_max", gateway.tenant_limits.memory_bytes_max, Bytes(1 << 20, 1 << 50), "Bytes of one tenant's bodies in memory"),
    setting!("tenant.spill_bytes_max", gateway.tenant_limits.spill_bytes_max, Bytes(0, 1 << 60), "Bytes of one tenant's answers on disk, up to spill_tenant_bytes_max"),
    setting!("tenant.body_bytes_max", gateway.tenant_limits.body_bytes_max, Bytes(1, u64::MAX), "Bytes of one body, up to http.body_bytes_max"),
    setting!("tenant.output_bytes_max", gateway.tenant_limits.output_bytes_max, Bytes(1, u64::MAX), "Bytes that one decompression may give"),
    setting!("tenant.ratio_max", gateway.tenant_limits.ratio_max, Count(1, u32::MAX as u64), "Output bytes an input byte that one decompression may give"),
    setting!("tenant.kernels", gateway.tenant_limits.kernels, List, "Kernels that a tenant may call: compress, decompress"),
    setting!("tenant.backends", gateway.tenant_limits.backends, List, "Engines that may serve a tenant: cpu, cards"),
    setting!("tenant.card_kernels", gateway.tenant_limits.card_kernels, List, "Kernels of cards that may serve a tenant: deflate-fast, deflate-tables, inflate"),
    setting!("tenant.images", gateway.tenant_limits.images, List, "Images that may serve a tenant from slots of cards; with a list, what is in no slot may not"),
    setting!("images.trust", gateway.images.trusted, List, "Public keys whose images are taken, as `faam image keygen` prints them: ed25519:HEX"),
    setting!("images.revoked", gateway.images.revoked, List, "What is taken no more, whoever trusts it: key:ID, image:UUID"),
    setting!("store_bytes_max", gateway.store_bytes_max, Bytes(1 << 20, 1 << 44), "Bytes of the store's database (tenants, keys, usage, events) in the data directory; at that it is read and takes nothing new"),
    setting!("price.currency", gateway.prices.currency, Text, "Currency of the prices (ISO 4217); XXX is none"),
    setting!("price.per_request", gateway.prices.per_request, Text, "Price of a request: a text with a decimal number, as all prices; all are of what is billable alone"),
    setting!("price.per_gib_in", gateway.prices.per_gib_in, Text, "Price of 2^30 bytes of bodies"),
    setting!("price.per_gib_out", gateway.prices.per_gib_out, Text, "Price of 2^30 bytes of answers"),
    setting!("price.per_device_s", gateway.prices.per_device_s, Text, "Price of a second on cards"),
    setting!("price.per_cpu_s", gateway.prices.per_cpu_s, Text, "Price of a second of CPU engines and verification"),
    setting!("price.per_reference_s", gateway.prices.per_reference_s, Text, "Price of a second of the reference engine, as the scheduler charges it, whichever engine served"),
];

/// The setting with this key.
pub(crate) fn by_key(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::time::Duration;

    use super::*;

    /// Fields of a structure, from its own Debug form.
    fn fields(of: &impl Debug) -> Vec<String> {
        let text = format!("{of:#?}");
        let field = |line: &str| {
            let (name, _) = line.strip_prefix("    ")?.split_once(": ")?;
            (!name.starts_with(' ')).then(|| name.to_owned())
        };
        text.lines().filter_map(field).collect()
    }

    #[test]
    fn every_limit_of_a_gateway_is_reachable() {
        let draft = Draft::default();
        let gateway = &draft.gateway;
        // Set otherwise: `cards` by devices, engines and pace; the second `data_dir` follows the first; `events` and `images`,
        // a source of them in place of the store's, are no limits; `slots` is looked into below.
        let otherwise = [
            "gateway.dispatch.cards",
            "gateway.dispatch.data_dir",
            "gateway.dispatch.events",
            "gateway.dispatch.images",
            "gateway.dispatch.slots",
        ];
        let structures = [
            ("gateway.limits", fields(&gateway.limits)),
            ("gateway.tenant_limits", fields(&gateway.tenant_limits)),
            ("gateway.admission", fields(&gateway.admission)),
            ("gateway.dispatch", fields(&gateway.dispatch)),
            ("gateway.dispatch.slots", fields(&gateway.dispatch.slots)),
            ("gateway.prices", fields(&gateway.prices)),
        ];
        for (path, fields) in structures {
            assert!(fields.len() >= 3, "{path}: {fields:?}");
            for field in fields {
                let field = format!("{path}.{field}");
                // `stringify!` may put blanks around dots.
                let known = SETTINGS
                    .iter()
                    .any(|setting| setting.field.replace(' ', "") == field);
                assert!(
                    known || otherwise.contains(&field.as_str()),
                    "{field} has no line in SETTINGS: add one"
                );
            }
        }
    }

    #[test]
    fn defaults_are_written_as_they_are_read() {
        for setting in SETTINGS {
            let mut draft = Draft::default();
            let text = setting.read(&draft);
            setting
                .write(&mut draft, &text)
                .unwrap_or_else(|error| panic!("{}: {error}", setting.key));
            assert_eq!(setting.read(&draft), text, "{}", setting.key);
        }
    }

    #[test]
    fn keys_are_unique_and_say_their_unit() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(
                SETTINGS[..index]
                    .iter()
                    .all(|earlier| earlier.key != setting.key),
                "{}",
                setting.key
            );
            let unit = match setting.kind {
                Bytes(..) => "_bytes",
                Millis(..) => "_ms",
                _ => "",
            };
            assert!(
                setting.key.contains(unit),
                "{} names no {unit}",
                setting.key
            );
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bounds() {
        let mut draft = Draft::default();
        let mut set = |key: &str, value: &str| {
            by_key(key)
                .expect("known")
                .write(&mut draft, &[value.to_owned()])
        };
        assert!(set("engines", "0").expect_err("none").contains("1 to"));
        assert!(
            set("http.connections_max", "many")
                .expect_err("no number")
                .contains("whole number")
        );
        assert!(
            set("listen", "8080")
                .expect_err("no address")
                .contains("127.0.0.1:8080")
        );
        set("http.body_bytes_max", "1GiB").expect("a size");
        set("http.body_idle_ms_max", "2m").expect("a time");
        set("pace_mhz", "250").expect("a clock");
        assert_eq!(draft.gateway.limits.body_bytes_max, 1 << 30);
        assert_eq!(draft.gateway.limits.body_idle, Duration::from_secs(120));
        assert_eq!(draft.simulated.pace_mhz, Some(250));
    }
}
