//! Two looks at a gateway, as the lines of one frame.
//!
//! Invariants: no line is longer than the terminal is wide, nor are there more than it has; a rate is what came between the
//! looks over the time between them; whatever a member of an answer is not is shown as nothing. It draws, and asks nobody.

use std::cmp::Ordering;

use serde_json::Value;

use super::Look;
use crate::columns::{columns, printable};

/// Tenants of a frame, at most.
const TENANTS_MAX: usize = 64;

/// A frame of at most `lines_max` lines of at most `columns_max` characters.
pub(super) fn frame(
    before: &Look,
    now: &Look,
    columns_max: usize,
    lines_max: usize,
) -> Vec<String> {
    let span = Span {
        seconds: now
            .at
            .saturating_duration_since(before.at)
            .as_secs_f64()
            .max(1e-3),
        before: &before.seen,
        now: &now.seen,
    };
    let mut lines = span.head();
    lines.push(String::new());
    lines.extend(table(&span.phases()));
    let devices = span.devices();
    if devices.len() > 1 {
        lines.push(String::new());
        lines.extend(table(&devices));
    }
    lines.push(String::new());
    lines.extend(table(&span.tenants()));
    lines.truncate(lines_max);
    for line in &mut lines {
        if let Some((end, _)) = line.char_indices().nth(columns_max) {
            line.truncate(end);
        }
    }
    lines
}

/// What happened between two looks.
struct Span<'v> {
    seconds: f64,
    before: &'v Value,
    now: &'v Value,
}

impl Span<'_> {
    fn head(&self) -> Vec<String> {
        let now = |name| number(self.now, name);
        let draining = match self.now.get("draining") {
            Some(Value::Bool(true)) => ", draining",
            _ => "",
        };
        let (mut requests, mut failed) = (0.0, 0.0);
        for tenant in list(self.now, "tenants") {
            let before = named(self.before, "tenants", "tenant", tenant);
            requests += grown(before, tenant, "requests");
            failed += grown(before, tenant, "failed");
        }
        let bytes = |name| bytes((now(name) - number(self.before, name)).max(0.0) / self.seconds);
        let mut lines = vec![
            format!(
                "faam top: gateway {}, pid {}, up {}{draining}; q quits",
                text(self.now, "version"),
                now("pid"),
                span_text(now("uptime_s")),
            ),
            format!(
                "requests {:.1}/s, {:.1}/s of them not ok   in {}/s, out {}/s   in flight {}   bodies {}, on disk {}",
                requests / self.seconds,
                failed / self.seconds,
                bytes("bytes_in"),
                bytes("bytes_out"),
                now("in_flight"),
                self::bytes(now("body_memory_bytes")),
                self::bytes(now("spill_bytes")),
            ),
        ];
        let backlog: Vec<_> = list(self.now, "backlog")
            .into_iter()
            .map(|pool| format!("{} {}", text(pool, "pool"), ms(number(pool, "seconds"))))
            .collect();
        lines.push(format!(
            "backlog {}   oldest block {}   guaranteed rates held {:.0} %",
            backlog.join(", "),
            ms(now("queue_oldest_s")),
            now("cir_scale") * 100.0,
        ));
        let refused: Vec<_> = list(self.now, "refused")
            .into_iter()
            .filter_map(|one| {
                let before = named(self.before, "refused", "reason", one);
                let rate = grown(before, one, "count") / self.seconds;
                (rate > 0.0).then(|| format!("{} {rate:.1}/s", text(one, "reason")))
            })
            .collect();
        lines.push(match refused.is_empty() {
            true => "refused: nothing".to_owned(),
            false => format!("refused: {}", refused.join(", ")),
        });
        lines
    }

    fn phases(&self) -> Vec<[String; 5]> {
        let mut rows = vec![["PHASE", "REQUESTS/S", "MEAN", "P50", "P99"].map(str::to_owned)];
        for phase in list(self.now, "phases") {
            let before = named(self.before, "phases", "phase", phase);
            let counts = counts(before, phase);
            let all: f64 = counts.iter().sum();
            let sum = grown(before, phase, "sum_s");
            let shown = |quantile| {
                let bound = quantile_of(&counts, &numbers(phase, "bounds_s"), quantile);
                bound.map_or_else(
                    || "-".to_owned(),
                    |(more, bound)| format!("{more}{}", ms(bound)),
                )
            };
            rows.push([
                text(phase, "phase"),
                format!("{:.1}", all / self.seconds),
                match all > 0.0 {
                    true => ms(sum / all),
                    false => "-".to_owned(),
                },
                shown(0.5),
                shown(0.99),
            ]);
        }
        rows
    }

    fn devices(&self) -> Vec<[String; 6]> {
        let mut rows =
            vec![["DEVICE", "STATE", "KIND", "BUSY", "IN FLIGHT", "FAULTS"].map(str::to_owned)];
        for device in list(self.now, "devices") {
            let busy = device.get("busy").and_then(Value::as_f64);
            rows.push([
                text(device, "name"),
                text(device, "state"),
                match device.get("simulated") {
                    Some(Value::Bool(false)) => "hardware".to_owned(),
                    _ => "simulated".to_owned(),
                },
                busy.map_or_else(|| "-".to_owned(), |busy| format!("{:.0} %", busy * 100.0)),
                number(device, "in_flight").to_string(),
                number(device, "faults").to_string(),
            ]);
        }
        rows
    }

    /// Those first that do most.
    fn tenants(&self) -> Vec<[String; 7]> {
        let tenants = list(self.now, "tenants").into_iter().map(|tenant| {
            let before = named(self.before, "tenants", "tenant", tenant);
            let charged = grown(before, tenant, "reference_s") / self.seconds;
            (tenant, before, charged)
        });
        let mut tenants: Vec<_> = tenants.collect();
        tenants.sort_by(|(one, _, charged), (other, _, others)| {
            let done = |tenant| number(tenant, "requests");
            others.partial_cmp(charged).unwrap_or(Ordering::Equal).then(
                done(other)
                    .partial_cmp(&done(one))
                    .unwrap_or(Ordering::Equal),
            )
        });
        let headings = [
            "TENANT",
            "REQUESTS/S",
            "NOT OK/S",
            "CHARGED",
            "CARDS",
            "CPU",
            "WAITING",
        ];
        let mut rows = vec![headings.map(str::to_owned)];
        for (tenant, before, charged) in tenants.into_iter().take(TENANTS_MAX) {
            let rate = |name| format!("{:.1}", grown(before, tenant, name) / self.seconds);
            let share = |seconds: f64| format!("{:.1} %", seconds * 100.0);
            let used = |name| share(grown(before, tenant, name) / self.seconds);
            rows.push([
                text(tenant, "tenant"),
                rate("requests"),
                rate("failed"),
                share(charged),
                used("device_s"),
                used("cpu_s"),
                number(tenant, "queue_depth").to_string(),
            ]);
        }
        rows
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    columns(rows).lines().map(str::to_owned).collect()
}

/// The bucket's upper bound below which so many are, and whether it is more than that: what is beyond the last bound.
fn quantile_of(counts: &[f64], bounds: &[f64], quantile: f64) -> Option<(&'static str, f64)> {
    let all: f64 = counts.iter().sum();
    if all <= 0.0 {
        return None;
    }
    let mut below = 0.0;
    for (count, bound) in counts.iter().zip(bounds) {
        below += count;
        if below >= all * quantile {
            return Some(("<=", *bound));
        }
    }
    Some((">", *bounds.last()?))
}

/// How many more there are in each bucket.
fn counts(before: Option<&Value>, now: &Value) -> Vec<f64> {
    let before = before
        .map(|before| numbers(before, "counts"))
        .unwrap_or_default();
    let before = before.into_iter().chain(std::iter::repeat(0.0));
    let now = numbers(now, "counts").into_iter();
    now.zip(before)
        .map(|(now, before)| (now - before).max(0.0))
        .collect()
}

/// How much a count has grown; one that is new has grown from nothing.
fn grown(before: Option<&Value>, now: &Value, name: &str) -> f64 {
    let before = before.map_or(0.0, |before| number(before, name));
    (number(now, name) - before).max(0.0)
}

/// The member of a list that has the same name as `one`.
fn named<'v>(value: &'v Value, of: &str, key: &str, one: &Value) -> Option<&'v Value> {
    let name = one.get(key)?;
    list(value, of)
        .into_iter()
        .find(|other| other.get(key) == Some(name))
}

fn list<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    let list = value.get(name).and_then(Value::as_array);
    list.into_iter().flatten().collect()
}

fn numbers(value: &Value, name: &str) -> Vec<f64> {
    let list = list(value, name).into_iter();
    list.map(|number| number.as_f64().unwrap_or_default())
        .collect()
}

fn number(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.map_or_else(|| "-".to_owned(), printable)
}

fn ms(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s => format!("{:.3} ms", s * 1e3),
    }
}

fn bytes(bytes: f64) -> String {
    const UNITS: [(&str, f64); 3] = [
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
    ];
    let unit = UNITS.into_iter().find(|(_, size)| bytes >= *size);
    match unit {
        Some((name, size)) => format!("{:.1} {name}", bytes / size),
        None => format!("{bytes:.0} B"),
    }
}

fn span_text(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn look(at: Instant, times: u64) -> Look {
        let seen = json!({
            "version": "1.0", "pid": 7, "uptime_s": 60.0, "in_flight": 3, "body_memory_bytes": 2048, "spill_bytes": 0,
            "queue_oldest_s": 0.25, "cir_scale": 0.5, "bytes_in": times * 2_097_152, "bytes_out": times * 1024,
            "backlog": [{ "pool": "card", "seconds": 0.5 }],
            "refused": [{ "reason": "saturated", "count": times * 4 }, { "reason": "internal", "count": 1 }],
            "tenants": [
                { "tenant": "small", "requests": 5, "failed": 0, "queue_depth": 0, "reference_s": 1.0 },
                { "tenant": "large", "requests": times * 10, "failed": times, "queue_depth": 9, "reference_s": times },
            ],
            "phases": [{
                "phase": "queue", "sum_s": 0.1 * f64::from(u32::try_from(times).expect("small")),
                "bounds_s": [0.001, 0.01], "counts": [times * 9, times, 0],
            }],
            "devices": [{ "name": "fpga0.0", "state": "in-service", "simulated": true, "busy": 0.5, "in_flight": 1, "faults": 0 }],
        });
        Look { at, seen }
    }

    #[test]
    fn rates_are_of_what_happened_in_between() {
        let began = Instant::now();
        let (before, now) = (look(began, 1), look(began + Duration::from_secs(2), 3));
        let lines = frame(&before, &now, 200, 100);
        for line in [
            "faam top: gateway 1.0, pid 7, up 60 s; q quits",
            "requests 10.0/s, 1.0/s of them not ok   in 2.0 MiB/s, out 1.0 KiB/s   in flight 3   bodies 2.0 KiB, on disk 0 B",
            "backlog card 500.000 ms   oldest block 250.000 ms   guaranteed rates held 50 %",
            "refused: saturated 4.0/s",
            "queue  10.0        10.000 ms  <=1.000 ms  <=10.000 ms",
            "fpga0.0  in-service  simulated  50 %  1          0",
            "large   10.0        1.0       100.0 %  0.0 %  0.0 %  9",
            "small   0.0         0.0       0.0 %    0.0 %  0.0 %  0",
        ] {
            assert!(
                lines.iter().any(|got| got == line),
                "{line:?} is not in\n{}",
                lines.join("\n")
            );
        }
        // Who is charged more stands first.
        let place = |name: &str| lines.iter().position(|line| line.starts_with(name));
        assert!(place("large") < place("small"));
    }

    #[test]
    fn a_frame_fits_its_terminal_whatever_came() {
        let began = Instant::now();
        for seen in [
            json!(null),
            json!({ "tenants": [{ "tenant": "x\u{1b}[2J", "requests": -1 }, 3], "phases": "none", "backlog": [null] }),
            json!({ "phases": [{ "phase": "p", "counts": [1], "bounds_s": [] }, { "counts": ["x"], "bounds_s": [1e308] }] }),
            look(began, 3).seen,
        ] {
            let before = Look {
                at: began,
                seen: json!({}),
            };
            let now = Look { at: began, seen };
            for (columns, lines) in [(80, 24), (10, 3), (1, 1)] {
                let shown = frame(&before, &now, columns, lines);
                assert!(shown.len() <= lines);
                assert!(shown.iter().all(|line| line.chars().count() <= columns));
                assert!(!shown.concat().contains('\u{1b}'));
            }
        }
    }

    #[test]
    fn a_quantile_is_the_bound_that_enough_are_below() {
        let bounds = [1.0, 2.0];
        assert_eq!(
            quantile_of(&[5.0, 5.0, 0.0], &bounds, 0.5),
            Some(("<=", 1.0))
        );
        assert_eq!(
            quantile_of(&[4.0, 5.0, 1.0], &bounds, 0.5),
            Some(("<=", 2.0))
        );
        assert_eq!(
            quantile_of(&[0.0, 0.0, 1.0], &bounds, 0.5),
            Some((">", 2.0))
        );
        assert_eq!(quantile_of(&[0.0, 0.0, 0.0], &bounds, 0.5), None);
    }
}
